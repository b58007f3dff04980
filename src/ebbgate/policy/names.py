"""Host names and address literals in one canonical form, used for policy and for dialling alike.

Whatever a C library would take for an address is an address here: ``0x7f.1`` is 127.0.0.1 (inet_aton(3)), and an IPv4
address in IPv6 clothes (``::ffff:127.0.0.1``, ``64:ff9b::7f00:1``) is the IPv4 address. Names are IDNA 2008 A-labels.
"""

from __future__ import annotations

import ipaddress
import re
import string

import idna

MAX_NAME = 253  # characters, RFC 1035 2.3.4 without the root dot
MAX_LABEL = 63
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?\Z")
_PART = re.compile(r"(0x[0-9a-f]*|[0-9]+)\Z")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
_COMPATIBLE = ipaddress.IPv6Network("::/96")  # RFC 4291 2.5.5.1, deprecated; kernels may still route it
_PORT = re.compile(r"[0-9]{1,5}\Z")


def canonical_host(text: str) -> str:
    """A name or address literal in canonical form. ValueError says what is wrong with it."""
    if not text:
        raise ValueError("empty host")
    if any(character in text for character in string.whitespace) or not text.isprintable():
        raise ValueError("white space or control character in host")
    if text.startswith("[") and text.endswith("]"):
        return _ipv6(text[1:-1])
    if ":" in text:
        return _ipv6(text)
    return _ipv4(text) or _name(text)


def _ipv6(text: str) -> str:
    if "%" in text:
        raise ValueError("an address with a zone is not allowed")
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        raise ValueError(f"not an IPv6 address: {text[:64]}") from None
    return _unmapped(address)


def _unmapped(address: ipaddress.IPv6Address) -> str:
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 0xFFFF):
        return str(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return str(address)


def canonical_address(text: str) -> str:
    """An address in canonical form, IPv4 out of IPv6 clothes. ValueError when it is none."""
    parsed = ipaddress.ip_address(text.partition("%")[0])
    return str(parsed) if parsed.version == 4 else _unmapped(ipaddress.IPv6Address(parsed))


def _ipv4(text: str) -> str | None:
    """inet_aton(3): one to four parts, each decimal, octal or hexadecimal, the last filling what is left."""
    parts = text.lower().removesuffix(".").split(".")
    if not all(_PART.match(part) for part in parts):
        if _PART.match(parts[-1]) and parts[-1] != "":
            raise ValueError("a name whose last label is a number is an address to some programs")
        return None
    if len(parts) > 4:
        raise ValueError("an address of more than four parts")
    numbers = [_number(part) for part in parts]
    last_limit = 256 ** (5 - len(numbers))
    if any(number > 255 for number in numbers[:-1]) or numbers[-1] >= last_limit:
        raise ValueError("an address with a part out of range")
    value = numbers[-1]
    for position, number in enumerate(numbers[:-1]):
        value |= number << (24 - 8 * position)
    return str(ipaddress.IPv4Address(value))


def _number(part: str) -> int:
    if part.startswith("0x"):
        return int(part[2:] or "0", 16)
    if part.startswith("0") and len(part) > 1:
        if not set(part) <= set(string.octdigits):
            raise ValueError("an address with a malformed octal part")
        return int(part, 8)
    return int(part)


def _name(text: str) -> str:
    lowered = text.lower().removesuffix(".")
    if not lowered.isascii():
        try:
            lowered = idna.encode(text, uts46=True, std3_rules=False).decode().lower().removesuffix(".")
        except idna.IDNAError as problem:
            raise ValueError(f"not a valid international name: {problem}") from None
        if (literal := _ipv4(lowered)) is not None:
            return literal  # full-width digits become plain ones in mapping
    if len(lowered) > MAX_NAME:
        raise ValueError("a name longer than 253 characters")
    for label in lowered.split("."):
        if not label:
            raise ValueError("a name with an empty label")
        if len(label) > MAX_LABEL or not _LABEL.match(label):
            raise ValueError(f"not a host name: {text[:64]}")
    return lowered


def is_literal(host: str) -> bool:
    """Whether a canonical host is an address."""
    return ":" in host or (host[-1:].isdigit() and host.count(".") == 3 and host.replace(".", "").isdigit())


def canonical_authority(text: str, default_port: int) -> tuple[str, int]:
    """(host, port) of a Host header or :authority. ValueError for user information, bad ports, anything ambiguous."""
    if "@" in text or "/" in text or "\\" in text or "?" in text or "#" in text:
        raise ValueError("a host with a character that does not belong there")
    host, port = text, ""
    if text.startswith("["):
        bracket, _, rest = text.partition("]")
        if rest and not rest.startswith(":"):
            raise ValueError("text after the address's bracket")
        host, port = bracket + "]", rest[1:]
        has_port = bool(rest)
    else:
        if text.count(":") > 1:
            raise ValueError("an IPv6 address needs brackets here")
        host, colon, port = text.partition(":")
        has_port = bool(colon)
    if has_port and (not _PORT.match(port) or not 0 < int(port) < 65536):
        raise ValueError("not a port")
    return canonical_host(host), int(port) if has_port else default_port


def registrable_domain(host: str) -> str:
    """The domain that somebody registered (public suffix plus one label); the host itself when there is none."""
    from ebbgate.policy.suffixes import public_suffix_list  # noqa: PLC0415 - half a megabyte that decisions never need

    return public_suffix_list().privatesuffix(host) or host
