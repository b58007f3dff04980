"""Offline tests of credentials' own formats: checksums and structure that a made-up or cut-off value does not have.

True: it holds. False: it looks like one and is none. None: this form has nothing to test. Sources: GitHub's description of
its token format (2021), of stateless installation tokens (2026), the macaroon v2 format, and what public validators test.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Callable
from typing import Any  # claims of a JSON Web Token

BASE62 = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
BASE58 = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
CHECKSUM = 6  # base62 digits, which hold 32 bits
BODY = 30  # characters before it
_INSTALLATION = re.compile(rb"gh[su]_[0-9]+_(eyJ[0-9A-Za-z._-]+)\Z")
_REFERENCE = re.compile(rb"reftkn:[0-9]+:[0-9]+:[\w/+-]+\Z")
_MACAROON = (b"\x02\x01\x08pypi.org", b"\x02\x01\x0dtest.pypi.org")
_SIGNATURE = b"\x06\x20"  # a field of type 6, 32 bytes long, ends a macaroon


def check(name: str, value: bytes) -> bool | None:
    """Run the check of that name. Never raises: what cannot be read does not hold."""
    if not name:
        return None
    try:
        return _CHECKS[name](value)
    except (ValueError, IndexError, KeyError, TypeError, RecursionError):
        return False


def base62_checksum(body: bytes) -> bytes:
    """The six digits that GitHub and npm put behind 30 random ones: their CRC-32."""
    rest, digits = zlib.crc32(body), bytearray()
    for _ in range(CHECKSUM):
        rest, digit = divmod(rest, 62)
        digits.append(BASE62[digit])
    return bytes(reversed(digits))


def _classic(value: bytes) -> bool | None:
    """Only of the usual length: GitHub keeps the right to make longer ones."""
    body = value.partition(b"_")[2]
    if len(body) != BODY + CHECKSUM:
        return None
    return base62_checksum(body[:BODY]) == body[BODY:]


def _installation(value: bytes) -> bool | None:
    stateless = _INSTALLATION.match(value)
    if stateless:
        return claims(stateless[1]) is not None
    body = value[4:]
    return _classic(value) if len(body) == BODY + CHECKSUM and b"." not in body else None


def claims(token: bytes) -> dict[str, Any] | None:
    """The payload of a JSON Web Token (RFC 7519) whose header names an algorithm; None when it is none."""
    parts = token.split(b".")
    if len(parts) != 3:
        return None
    try:
        header, payload = (json.loads(_base64(part)) for part in parts[:2])
    except (ValueError, RecursionError):
        return None
    sound = isinstance(header, dict) and isinstance(payload, dict) and "alg" in header
    return payload if sound else None


def _base64(text: bytes) -> bytes:
    """Either alphabet, padding or none."""
    plain = text.rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
    return base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)


def _macaroon(value: bytes) -> bool:
    data = _base64(value.removeprefix(b"pypi-"))
    return data.startswith(_MACAROON) and data[-34:-32] == _SIGNATURE


def _crc32_behind(value: bytes) -> bool:
    return zlib.crc32(value[:-8]) == int(value[-8:], 16)


def _grafana_service(value: bytes) -> bool:
    return len(value) == 46 and zlib.crc32(value[:37]) == int.from_bytes(binascii.unhexlify(value[38:]), "little")


def _holds(value: bytes, *keys: str) -> bool:
    document = json.loads(_base64(value))
    return isinstance(document, dict) and set(keys) <= document.keys()


def _base58_of_54_bytes(value: bytes) -> bool:
    number = 0
    for digit in value:
        number = number * 58 + BASE58.index(digit)
    return (number.bit_length() + 7) // 8 == 54


def _jfrog_reference(value: bytes) -> bool:
    return _REFERENCE.match(_base64(value)) is not None


def _sentry_org(value: bytes) -> bool:
    """``sntrys_`` payload ``_`` secret, of which only the payload says anything."""
    return _holds(value.removeprefix(b"sntrys_").rpartition(b"_")[0], "url", "region_url")


def _discord_bot(value: bytes) -> bool:
    return _base64(value.partition(b".")[0]).isdigit()


_CHECKS: dict[str, Callable[[bytes], bool | None]] = {
    "github-classic": _classic,
    "github-installation": _installation,
    "npm": _classic,
    "jwt": lambda value: claims(value) is not None,
    "pypi-macaroon": _macaroon,
    "crc32-hex": _crc32_behind,
    "grafana-service": _grafana_service,
    "grafana-cloud": lambda value: _holds(value.removeprefix(b"glc_"), "o", "n", "k", "m"),
    "base58-54": _base58_of_54_bytes,
    "jfrog-reference": _jfrog_reference,
    "sentry-org": _sentry_org,
    "discord-bot": _discord_bot,
    "onepassword": lambda value: _holds(value.removeprefix(b"ops_"), "signInAddress"),
}
CHECKS = frozenset(_CHECKS)
