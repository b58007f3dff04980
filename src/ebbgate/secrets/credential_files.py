"""Files in which tools keep credentials: one table from names to how each is read and where its values belong.

Who wrote such a file may be hostile: what it says is bounded and never raises (``structured``), and where it says a value belongs
counts only for values that nobody knew before (``gate.known_values``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ebbgate.secrets.known import Public
from ebbgate.secrets.structured import MAX_TEXT, Inner, distinct, document, netrc, urls

_AMAZON = ("*.amazonaws.com", "*.amazonaws.com.cn", "*.api.aws")
_GOOGLE = ("*.googleapis.com",)


def _stored(text: str) -> Iterator[Inner]:
    """The credential store of git: one URL a line."""
    return urls(text)


def _bare(text: str) -> Iterator[Inner]:
    """One token and nothing else, or a document."""
    yield Inner("token", text)
    yield from document(text)


def _colons(text: str) -> Iterator[Inner]:
    """``host:port:database:user:password``"""
    for line in text.splitlines():
        host, *_, password = line.split(":")
        yield Inner("password", password, host)


@dataclass(frozen=True, slots=True)
class CredentialFile:
    """kind: what it is called in findings. names: of the file, as regular expressions. folder: name of its directory, "" any.

    hosts: where values belong of which the file does not say it. home: its path below a home directory.
    """

    kind: str
    names: str
    folder: str
    home: str
    hosts: tuple[str, ...] = ()
    read: Callable[[str], Iterator[Inner]] = document


TABLE = (
    CredentialFile("git config", r"\.gitconfig", "", ".gitconfig"),
    CredentialFile("git config", r"config(?:\.worktree)?", ".git", ".config/git/config"),
    CredentialFile("git config", r"config", "git", ".config/git/config"),
    CredentialFile("checkout", r"git-credentials-[0-9a-f-]+\.config", "", ""),
    CredentialFile("git credentials", r"\.git-credentials", "", ".git-credentials", read=_stored),
    CredentialFile("git credentials", r"credentials", "git", ".config/git/credentials", read=_stored),
    CredentialFile("npmrc", r"\.npmrc|npmrc", "", ".npmrc", ("registry.npmjs.org",)),
    CredentialFile("yarnrc", r"\.yarnrc(?:\.yml)?", "", ".yarnrc.yml", ("registry.npmjs.org", "registry.yarnpkg.com")),
    CredentialFile("pypirc", r"\.pypirc", "", ".pypirc", ("upload.pypi.org", "test.pypi.org")),
    CredentialFile("pip", r"pip\.conf", "", ".config/pip/pip.conf"),
    CredentialFile("pip", r"pip\.conf", ".pip", ".pip/pip.conf"),
    CredentialFile("uv", r"credentials\.toml", "credentials", ".local/share/uv/credentials/credentials.toml"),
    CredentialFile("poetry", r"auth\.toml", "pypoetry", ".config/pypoetry/auth.toml", ("upload.pypi.org",)),
    CredentialFile("netrc", r"[._]netrc", "", ".netrc", read=netrc),
    CredentialFile("docker", r"config\.json", ".docker", ".docker/config.json"),
    CredentialFile("docker", r"auth\.json", "containers", ".config/containers/auth.json"),
    CredentialFile("aws", r"credentials|config", ".aws", ".aws/credentials", _AMAZON),
    CredentialFile("gh", r"hosts\.yml", "gh", ".config/gh/hosts.yml", ("github.com",)),
    CredentialFile("hub", r"hub", ".config", ".config/hub", ("github.com",)),
    CredentialFile("glab", r"config\.yml", "glab-cli", ".config/glab-cli/config.yml", ("gitlab.com",)),
    CredentialFile("kubeconfig", r"config", ".kube", ".kube/config"),
    CredentialFile("cargo", r"credentials(?:\.toml)?", ".cargo", ".cargo/credentials.toml", ("crates.io",)),
    CredentialFile("maven", r"settings(?:-security)?\.xml", ".m2", ".m2/settings.xml"),
    CredentialFile("gradle", r"gradle\.properties", ".gradle", ".gradle/gradle.properties"),
    CredentialFile("gcloud", r"application_default_credentials\.json", "",
                   ".config/gcloud/application_default_credentials.json", _GOOGLE),
    CredentialFile("gcloud", r"gha-creds-[0-9a-f]+\.json", "", "", _GOOGLE),
    CredentialFile("azure", r"msal_token_cache\.json|accessTokens\.json", ".azure", ".azure/msal_token_cache.json",
                   ("login.microsoftonline.com",)),
    CredentialFile("composer", r"auth\.json", ".composer", ".composer/auth.json"),
    CredentialFile("composer", r"auth\.json", "composer", ".config/composer/auth.json"),
    CredentialFile("terraform", r"credentials\.tfrc\.json", "", ".terraform.d/credentials.tfrc.json"),
    CredentialFile("terraform", r"\.terraformrc", "", ".terraformrc"),
    CredentialFile("nuget", r"nuget\.config", "", ".nuget/NuGet/NuGet.Config", ("www.nuget.org",)),
    CredentialFile("rubygems", r"credentials", ".gem", ".gem/credentials", ("rubygems.org",)),
    CredentialFile("bundler", r"config", ".bundle", ".bundle/config"),
    CredentialFile("huggingface", r"token|stored_tokens", "huggingface", ".cache/huggingface/token", ("huggingface.co",), _bare),
    CredentialFile("vault", r"\.vault-token", "", ".vault-token", read=_bare),
    CredentialFile("pgpass", r"\.pgpass", "", ".pgpass", read=_colons),
    CredentialFile("env file", r"\.env(?:\.[\w-]+)?", "", ""),
    CredentialFile("ssh key", r"id_(?:rsa|dsa|ecdsa|ed25519)(?:_sk)?", "", ".ssh/id_ed25519"),
)  # fmt: skip
_PATTERNS = tuple((re.compile(one.names, re.IGNORECASE), one) for one in TABLE)


def kind_of(path: str) -> CredentialFile | None:
    """What a file is, by its name and that of its directory; None for any other."""
    folder, _, name = path.rpartition("/")
    folder = folder.rpartition("/")[2]
    return next((one for pattern, one in _PATTERNS if one.folder in ("", folder) and pattern.fullmatch(name)), None)


def values_of(file: CredentialFile, data: bytes, public: Public = frozenset()) -> list[Inner]:
    """The credentials in a file's bytes, each once. Never raises; a file that is not what its name says has none."""
    text = data[:MAX_TEXT].decode("utf-8", "surrogateescape").strip()
    if not text:
        return []
    return distinct(file.read(text), public)


def home_paths() -> tuple[str, ...]:
    """Where the table's files lie below a home directory."""
    return tuple(dict.fromkeys(one.home for one in TABLE if one.home))
