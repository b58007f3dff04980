"""Values that became known while the gate runs: they join the scanner, and may go back to where they came from.

Policy and the built-in bindings come first. What they do not speak of has a home by where it was found:

- in a file: the hosts that the file names for it, in its usual places.
- in a response: the host that gave it, which knows it, so anywhere in a request; but in headers alone where requests publish
  what is in them (gists, packages), and at hosts of the same registrable domain (auth.docker.io and registry-1.docker.io,
  sts and s3.eu-west-1.amazonaws.com). Besides, where no kind says more, as in the next line, once: OAuth's tokens are for others.
- else nowhere is known: the first allowed host that it is used at in ``Authorization`` becomes its home, and the only one. A
  host below a suffix where anybody can have a name (PSL's private section: buckets, pages, tunnels) never does. An id-token is
  made to be exchanged elsewhere, mostly in a body.

A value that was known before gains no home by being found again: who may write files must not be able to say where the job's
tokens may go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from ebbgate.policy.suffixes import public_suffix_list, registry_suffix_list
from ebbgate.secrets.bindings import AUTHORIZATION_HEADERS
from ebbgate.secrets.finding import Carrier, Finding
from ebbgate.secrets.found import RESPONSE
from ebbgate.secrets.scanner import Scanner
from ebbgate.secrets.secret import Secret

MAX_LEARNED = 400  # values from each kind of source: a job that floods one with files must not keep tokens from being seen
PLAIN = (("raw",), ("base64",), ("base64url",))  # as it is, or in Basic's base64 of "user:password"
_EXCHANGED = ("gcloud (", "azure (")  # files of refresh tokens, which are exchanged for others in a request's body
_ID_TOKENS = ("(value)", "(id_token)", "(refresh_token)")  # of responses: as GitHub's and OpenID Connect's are called there
_PUBLISHING = (
    "github.com", "githubusercontent.com", "gitlab.com", "bitbucket.org", "codeberg.org", "npmjs.org", "pypi.org", "crates.io",
    "rubygems.org", "nuget.org", "huggingface.co", "docker.io", "ghcr.io", "quay.io", "slack.com", "discord.com", "telegram.org",
)  # fmt: skip
_BODY_CODINGS = ("gzip", "deflate", "br", "zstd", "percent", "json", "escapes")
# Besides Authorization: AWS' session token, and the headers in which package registries and Vault take theirs.
_HEADERS = (*AUTHORIZATION_HEADERS, "x-amz-security-token", "private-token", "x-vault-token", "x-nuget-apikey", "x-jfrog-art-api")
_ONE_OWNER = ".googleapis.com"  # in the list's private section, but every name below it is Google's


@dataclass(slots=True)
class _Home:
    """hosts: exact, or ``*.suffix``; of a response, the issuer first. open: whether the first use adds one."""

    origin: str
    hosts: tuple[str, ...]
    open: bool


class KnownValues:
    """Feed it with ``add``; ask with ``permits`` about findings that no binding permits.

    scanner: what the values join. allowed: whether some rule speaks for a host. bound: whether the policy or a built-in binding
    speaks of a secret. learned: told what joined. over: told once of which origin there were more than MAX_LEARNED.
    """

    def __init__(
        self,
        scanner: Scanner,
        salt: bytes,
        *,
        allowed: Callable[[str], bool],
        bound: Callable[[Secret], bool],
        learned: Callable[[list[Secret]], None] = lambda _new: None,
        over: Callable[[str], None] = lambda _origin: None,
    ) -> None:
        self._scanner, self._salt = scanner, salt
        self._allowed, self._bound, self._learned, self._over = allowed, bound, learned, over
        self._counts: dict[str, int] = {}
        self._homes: dict[str, _Home] = {}
        self._names: dict[str, list[Secret]] = {}  # by fingerprint
        self._given: dict[str, list[Secret]] = {}  # by name
        self._full: set[str] = set()

    def add(self, found: Iterable[Secret]) -> None:
        """Values of one source. Those that are known already change nothing."""
        within: list[Secret] = []
        for secret in found:
            if self._counts.get(secret.origin, 0) + len(within) < MAX_LEARNED:
                within.append(secret)
            elif secret.origin not in self._full:
                self._full.add(secret.origin)
                self._over(secret.origin)
        new = self._scanner.add(within) if within else []
        for secret in new:
            self._counts[secret.origin] = self._counts.get(secret.origin, 0) + 1
            self.settle(secret)
        if new:
            self._learned(new)

    def name(self, secrets: Iterable[Secret]) -> None:
        """Names under which values were given: one value can have several, and goes where any of them may."""
        for secret in secrets:
            self._names.setdefault(secret.fingerprint(self._salt), []).append(secret)
            self._given.setdefault(secret.name, []).append(secret)

    def named(self, finding: Finding) -> list[Finding]:
        """A finding under each name that its value has, the document's that it was in among them."""
        outer = outermost(finding.secret)
        within = self._given.get(outer, ()) if outer != finding.secret else ()
        same = [*self._names.get(finding.fingerprint, ()), *within]
        found = [finding, *(replace(finding, secret=one.name, kind=one.kind, marks=one.marks) for one in same)]
        return list(dict.fromkeys((*found, replace(finding, secret=outer))))

    def names_in(self, data: bytes) -> tuple[str, ...]:
        """Names of the values that stand in data plainly. Of a document the whole says enough."""
        names = dict.fromkeys(one.name for one in self._scanner.secrets if one.reveal() in data)
        return tuple(name for name in names if outermost(name) == name or outermost(name) not in names)

    def settle(self, secret: Secret) -> None:
        """Give a value that is new its home. Where a binding speaks of it, its first use says nothing."""
        is_open = not self._bound(secret) and (secret.origin == RESPONSE or not secret.sources)
        self._homes[secret.fingerprint(self._salt)] = _Home(secret.origin, secret.sources, is_open)

    def permits(self, finding: Finding, host: str, *, tls: bool) -> bool:
        """Whether a value goes home."""
        home = self._homes.get(finding.fingerprint)
        if home is None or not tls or not host or finding.place.carrier in (Carrier.HOST, Carrier.DNS):
            return False
        if home.origin == RESPONSE and host in home.hosts[:1] and not _publishes(host):
            return True
        if _is_listed(home.hosts, host):
            return _in_header(finding, _HEADERS) or (_is_exchanged(finding) and _in_form(finding))
        if home.origin == RESPONSE and any(_are_siblings(one, host) for one in home.hosts[:1]):
            return _in_header(finding, _HEADERS)
        used = _in_header(finding, AUTHORIZATION_HEADERS) or (_is_id_token(finding) and _in_form(finding))
        if not home.open or not used or is_anybodys(host) or not self._allowed(host):
            return False
        home.hosts, home.open = (*home.hosts, host), False
        return True


def outermost(name: str) -> str:
    """The document that a value was in: ``NAME (label)`` was in NAME. Any other is its own."""
    return name.partition(" (")[0]


def is_anybodys(host: str) -> bool:
    """Whether a host is below a suffix at which anybody can have a name, other than those of registries."""
    return public_suffix_list().publicsuffix(host) != registry_suffix_list().publicsuffix(host)


def _publishes(host: str) -> bool:
    """Whether anybody can have the host show what was sent to it."""
    return any(host == one or host.endswith(f".{one}") for one in _PUBLISHING)


def _is_exchanged(finding: Finding) -> bool:
    return finding.secret.startswith(_EXCHANGED) or _is_id_token(finding)


def _is_id_token(finding: Finding) -> bool:
    return finding.secret.endswith(_ID_TOKENS)


def _are_siblings(one: str, other: str) -> bool:
    if one.endswith(_ONE_OWNER) and other.endswith(_ONE_OWNER):
        return True
    domain = public_suffix_list().privatesuffix(one)
    return domain is not None and (other == domain or other.endswith(f".{domain}"))


def _is_listed(hosts: Iterable[str], host: str) -> bool:
    return any(host.endswith(one[1:]) if one.startswith("*.") else host == one for one in hosts)


def _in_header(finding: Finding, names: Iterable[str]) -> bool:
    return finding.place.carrier is Carrier.HEADER and finding.place.name in names and finding.encodings in PLAIN


def _in_form(finding: Finding) -> bool:
    """Tokens that are exchanged for others go in the body of the request (RFC 6749)."""
    return finding.place.carrier is Carrier.BODY and all(one in ("raw", *_BODY_CODINGS) for one in finding.encodings)
