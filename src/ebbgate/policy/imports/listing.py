"""What another guard's file allows, before it becomes a policy: endpoints with their places, and what has no counterpart here."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ebbgate.events.publish import printable
from ebbgate.policy.entries import Reader, is_shared
from ebbgate.policy.names import canonical_host, is_literal
from ebbgate.policy.observation import Protocol
from ebbgate.policy.presets import preset, preset_names
from ebbgate.policy.suffixes import registry_suffix_list
from ebbgate.policy.yaml_source import Scalar

MAX_ENDPOINTS = 5000  # in one list; Harden-Runner's own limit was 512 until v2.13.2
MAX_LIST = 200_000  # characters of one list
_USUAL_PORT = 443
MAX_SHOWN = 100  # characters of a text that is quoted
_WORD = re.compile(r"(?:\$\{\{.{0,500}?\}\}|\S)+", re.DOTALL)  # an expression counts as part of a word
_BREAK = re.compile(r"\r\n|[\n\r\x85\u2028\u2029]")  # what YAML 1.1 takes for the end of a line


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One destination. host: a canonical name, literal address or range. port: None where the list gives none.

    origin: the pattern that it was taken from, where it is one of several in its place.
    """

    host: str
    wildcard: bool
    port: int | None
    line: int
    column: int
    origin: str = ""

    @property
    def is_address(self) -> bool:
        """Whether it is an address or a range of them."""
        return "/" in self.host or is_literal(self.host)

    @property
    def key(self) -> tuple[str, bool, int | None]:
        """What it means, wherever it stands."""
        return self.host, self.wildcard, self.port


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that the other guard has and the policy will not. why: and what to do instead."""

    text: str
    line: int
    column: int
    why: str


@dataclass(frozen=True, slots=True)
class Listing:
    """One job's list ("" for a file that knows no jobs). audit: whether it is only watched.

    use: presets in place of its defaults. notes: settings worth a comment.
    """

    job: str
    audit: bool
    endpoints: tuple[Endpoint, ...]
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    use: tuple[str, ...] = ()


def shown(text: str) -> str:
    """A text of the file's as it may stand in a comment or on a terminal: one line, without control characters."""
    return printable(text.strip(), MAX_SHOWN)


def words(reader: Reader, scalar: Scalar, text: str) -> Iterator[Scalar]:
    """The words of a list with their own places; what follows ``#`` on a line is a comment.

    text: the whole file, where the words are looked for: a block or a quoted text has one place only.
    """
    if len(scalar.text) > MAX_LIST:
        reader.fail(scalar, f"a list of more than {MAX_LIST} characters", "split it over jobs")
        return
    starts = [0, *(match.end() for match in _BREAK.finditer(text))]
    offset = starts[scalar.line - 1] + scalar.column - 1
    if text[offset : offset + 1] in (">", "|"):
        offset = starts[scalar.line] if scalar.line < len(starts) else len(text)
    line, commented, located = scalar.line, 0, True
    for count, match in enumerate(_WORD.finditer(scalar.text)):
        if count >= MAX_ENDPOINTS:
            reader.fail(scalar, f"more than {MAX_ENDPOINTS} endpoints", "split it over jobs")
            return
        place = text.find(match.group(), offset) if located else -1
        located = place >= 0
        while located and line < len(starts) and starts[line] <= place:
            line += 1
        offset = place + len(match.group()) if located else offset
        if located and line == commented:
            continue
        if located and match.group().startswith("#"):
            commented = line
            continue
        yield (
            Scalar(match.group(), line, place - starts[line - 1] + 1)
            if located
            else Scalar(match.group(), scalar.line, scalar.column)
        )


def endpoint(reader: Reader, word: Scalar, found: list[Endpoint], left_out: list[LeftOut], *, ports: bool) -> None:
    """Read one destination into ``found``, or ``left_out`` if a policy has no word for it. ports: ``HOST[:PORT]``, else 443."""
    text = word.text
    if "${{" in text:
        _leave(left_out, word, "an expression, known in the workflow only: write the hosts out")
    elif "://" in text:
        reader.fail(word, f"a URL, not an endpoint: {shown(text)}", "write the host, without scheme and path")
    elif (network := _network(text)) is not None:
        _range(left_out, found, word, network)
    else:
        host, port = _split(reader, word) if ports else (text, None)
        if host:
            _named(reader, word, host, (port or _USUAL_PORT) if ports else None, found, left_out)


def _named(reader: Reader, word: Scalar, host: str, port: int | None, found: list[Endpoint], left_out: list[LeftOut]) -> None:
    wildcard = host.startswith("*.")
    suffix = host[2:] if wildcard else host
    if "*" in suffix:
        members = _members(host)
        found += [Endpoint(one, False, port, word.line, word.column, shown(host)) for one in members]
        if not members:
            _leave(left_out, word, "a wildcard is only possible as the first label: name the hosts")
        return
    try:
        name = canonical_host(suffix)
    except ValueError as problem:
        reader.fail(word, f"{problem}: {shown(word.text)}", "a host looks like example.com or *.example.com")
        return
    if wildcard and (is_literal(name) or "." not in name or registry_suffix_list().publicsuffix(name) == name):
        _leave(left_out, word, f"everybody's domains are below {name}: name the hosts")
        return
    if wildcard and is_shared(name):
        _leave(left_out, word, f"anybody can have a name below {name}: name the hosts that are yours")
        return
    found.append(Endpoint(name, wildcard, port, word.line, word.column))


def _members(pattern: str) -> list[str]:
    """Hosts that a preset names one by one and a pattern means, such as the twenty ``productionresultssa*``. Never for ``*``."""
    if not pattern.strip("*.") or pattern.startswith("*"):
        return []
    named = (entry.host for name in preset_names() for entry in preset(name).entries)
    return list(dict.fromkeys(one.host for one in named if one and not one.wildcard and fnmatchcase(one.host, pattern.lower())))


def _range(
    left_out: list[LeftOut], found: list[Endpoint], word: Scalar, network: ipaddress.IPv4Network | ipaddress.IPv6Network
) -> None:
    if network.prefixlen == 0:
        _leave(left_out, word, "every address there is: name the hosts")
    else:
        found.append(Endpoint(str(network), False, None, word.line, word.column))


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    if "/" not in text:
        return None
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _split(reader: Reader, word: Scalar) -> tuple[str, int | None]:
    """(host, port); an empty host and a problem where there is no such port."""
    text = word.text
    host, port = text, ""
    if text.startswith("["):
        host, _, rest = text.partition("]")
        host, port = host + "]", rest.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if not port and not text.endswith(":"):
        return host, None
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536) or port.startswith("0"):
        reader.fail(word, f"not a port: {shown(text)}", "write HOST:PORT, such as example.com:443")
        return "", None
    return host, int(port)


def protocol_of(port: int) -> Protocol:
    """What is most likely spoken at a port: lists of hosts and ports do not say."""
    if port in (443, 8443):
        return Protocol.TLS
    return Protocol.HTTP if port in (80, 8080) else Protocol.TCP


def _leave(left_out: list[LeftOut], word: Scalar, why: str) -> None:
    left_out.append(LeftOut(shown(word.text), word.line, word.column, why))
