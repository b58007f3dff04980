"""Credentials of every kind, made up at run time: from the kind's own pattern, with a checksum or structure where it has one."""

from __future__ import annotations

import base64
import json
import re._constants as sre
import re._parser as parser
import secrets
import string
import zlib
from collections.abc import Callable

from ebbgate.secrets.checks import BASE58, BASE62, base62_checksum
from ebbgate.secrets.credentials import CredentialKind, credentials

_PRINTABLE = string.ascii_letters + string.digits


def random_text(count: int, alphabet: bytes | str = BASE62) -> str:
    letters = alphabet if isinstance(alphabet, str) else alphabet.decode()
    return "".join(secrets.choice(letters) for _ in range(count))


def matching(pattern: str) -> str:
    """A random text that a pattern matches."""
    return _of(parser.parse(pattern))


def _of(items: object) -> str:
    return "".join(_one(kind, value) for kind, value in items)


def _one(kind: object, value: object) -> str:
    if kind is sre.LITERAL:
        return chr(value)
    if kind is sre.IN:
        return secrets.choice(_choices(value))
    if kind is sre.MAX_REPEAT:
        low, high, inner = value
        high = min(high, low + 8)
        return "".join(_of(inner) for _ in range(low + secrets.randbelow(high - low + 1)))
    if kind is sre.SUBPATTERN:
        return _of(value[3])
    if kind is sre.BRANCH:
        return _of(secrets.choice(value[1]))
    assert kind is sre.AT, kind
    return ""


def _choices(items: list[tuple[object, object]]) -> str:
    if items[0][0] is sre.NEGATE:
        return _PRINTABLE
    found = ""
    for kind, value in items:
        if kind is sre.LITERAL:
            found += chr(value)
        elif kind is sre.RANGE:
            found += "".join(map(chr, range(value[0], value[1] + 1)))
        else:
            found += " " if value is sre.CATEGORY_SPACE else _PRINTABLE
    return "".join(one for one in found if one.isprintable() and one != "\\") or found


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def jwt(**claims: object) -> str:
    header = base64url(json.dumps({"alg": "RS256", "typ": "JWT"}).encode())
    return f"{header}.{base64url(json.dumps(claims).encode())}.{base64url(secrets.token_bytes(256))}"


def _classic(prefix: str) -> str:
    body = random_text(30)
    return prefix + body + base62_checksum(body.encode()).decode()


def _macaroon(location: str) -> str:
    caveats = b"\x02\x01" + bytes([len(location)]) + location.encode() + b"\x02\x24" + secrets.token_hex(18).encode()
    return "pypi-" + base64url(caveats + b"\x00\x00\x06\x20" + secrets.token_bytes(32))


def _crc32(prefix: str, count: int) -> str:
    body = prefix + random_text(count)
    return f"{body}{zlib.crc32(body.encode()):08X}"


def _grafana_service() -> str:
    body = "glsa_" + random_text(32)
    return f"{body}_{zlib.crc32(body.encode()).to_bytes(4, 'little').hex()}"


def _base58() -> str:
    while True:
        text = "AKCp" + random_text(69, BASE58)
        number = 0
        for one in text:
            number = number * 58 + BASE58.index(one.encode())
        if (number.bit_length() + 7) // 8 == 54:
            return text


def _document(prefix: str, **fields: object) -> str:
    return prefix + base64.b64encode(json.dumps(fields).encode()).decode()


_MADE: dict[str, Callable[[], str]] = {
    "github-pat-classic": lambda: _classic("ghp_"),
    "github-oauth": lambda: _classic("gho_"),
    "github-refresh": lambda: _classic("ghr_"),
    "github-user-to-server": lambda: _classic("ghu_"),
    "github-actions-token": lambda: f"ghs_{secrets.randbelow(10**6)}_{jwt(sub='x', pad=random_text(150))}",
    "npm-token": lambda: _classic("npm_"),
    "pypi-token": lambda: _macaroon("pypi.org"),
    "testpypi-token": lambda: _macaroon("test.pypi.org"),
    "bitbucket-app-password": lambda: _crc32("ATBB", 24),
    "bitbucket-access-token": lambda: _crc32("ATCTT3", 178) ,
    "atlassian-api-token": lambda: _crc32("ATATT3", 178),
    "grafana-sa": _grafana_service,
    "grafana-cloud": lambda: _document("glc_", o="1", n="name", k=random_text(24), m={"r": "eu"}),
    "artifactory-api-key": _base58,
    "artifactory-ref-token": lambda: base64url(b"reftkn:01:1799999999:" + random_text(27).encode()),
    "sentry-org": lambda: _document("sntrys_", iat=1, url="https://sentry.io", region_url="https://us.sentry.io", org="x") + "_" + random_text(43),
    "onepassword-sa": lambda: _document("ops_", signInAddress="my.1password.com", userAuth={}, pad=random_text(200)).rstrip("="),
    "discord-bot": lambda: f"{base64url(b'104567890123456789')}.{random_text(6)}.{random_text(38)}",
    "generic-jwt": lambda: jwt(sub="somebody"),
    "github-oidc-idtoken": lambda: jwt(iss="https://token.actions.githubusercontent.com", aud="pypi"),
    "azure-access-token": lambda: jwt(iss="https://sts.windows.net/tenant/", aud="https://management.azure.com"),
    "k8s-sa-jwt": lambda: jwt(iss="kubernetes/serviceaccount"),
}  # fmt: skip


def sample(kind: CredentialKind | str) -> str:
    """A credential that nobody has."""
    found = credentials().by_id[kind] if isinstance(kind, str) else kind
    return _MADE[found.id]() if found.id in _MADE else matching(found.regex)
