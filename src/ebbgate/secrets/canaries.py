"""Credentials that nobody issued, to be planted where thieves look. Bound to nowhere: any sighting is an attempt to steal.

They have the issuers' own formats and checksums, since thieves check before they take. No honest program uses them: the files
name machines that do not exist and a profile that nobody asks for, and no tool reads the variables.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass

from ebbgate.secrets.checks import BASE62, BODY, base62_checksum
from ebbgate.secrets.credentials import CANARY
from ebbgate.secrets.secret import Secret

VARIABLES = ("RELEASE_GITHUB_TOKEN", "PUBLISH_NPM_TOKEN")
_BASE32 = string.ascii_uppercase + "234567"
_HOST = "backup.internal"  # RFC 9476's reserved top-level domain: it leads nowhere


@dataclass(frozen=True, slots=True)
class CanaryFile:
    """path: below the home directory. content: all of it, or what is taken out again where somebody added more."""

    path: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Canaries:
    """One run's."""

    variables: Mapping[str, str]
    files: tuple[CanaryFile, ...]
    secrets: tuple[Secret, ...]


def new_canaries(environ: Mapping[str, str]) -> Canaries:
    """Fresh ones. environ: variables that it has are left alone."""
    makers = dict(zip(VARIABLES, (_github, _npm), strict=True))
    variables = {name: make() for name, make in makers.items() if name not in environ}
    key_id, key, npm, git = _aws_id(), _random(40, f"{BASE62.decode()}+/"), _npm(), _github()
    files = (
        CanaryFile(".aws/credentials", f"[backup]\naws_access_key_id = {key_id}\naws_secret_access_key = {key}\n".encode()),
        CanaryFile(".npmrc", f"//npm.{_HOST}/:_authToken={npm}\n".encode()),
        CanaryFile(".netrc", f"machine git.{_HOST} login backup password {git}\n".encode()),
    )
    named = {
        **variables,
        "~/.aws/credentials key id": key_id,
        "~/.aws/credentials": key,
        "~/.npmrc": npm,
        "~/.netrc": git,
    }
    known = tuple(Secret(f"{name} (canary)", value.encode(), CANARY, kind=CANARY) for name, value in named.items())
    return Canaries(variables, files, known)


def _random(count: int, alphabet: str) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(count))


def _checked(prefix: str) -> str:
    body = _random(BODY, BASE62.decode())
    return f"{prefix}{body}{base62_checksum(body.encode()).decode()}"


def _github() -> str:
    return _checked("ghp_")


def _npm() -> str:
    return _checked("npm_")


def _aws_id() -> str:
    return f"AKIA{_random(16, _BASE32)}"
