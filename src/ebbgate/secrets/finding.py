"""A secret seen in outgoing data: which one, where, how it was written. Never its bytes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Carrier(StrEnum):
    """The part of the traffic in which data was looked at."""

    URL = "url"  # path and query
    HEADER = "header"
    BODY = "body"
    TRAILER = "trailer"
    WEBSOCKET = "websocket"
    OPAQUE = "opaque"  # bytes of an opaque TCP connection
    HOST = "host"  # labels of a TLS server name or HTTP authority
    DNS = "dns"  # labels of a DNS question


@dataclass(frozen=True, slots=True)
class Place:
    """Where exactly data was looked at, as bindings name places.

    carrier: see Carrier.
    name: lower-case header name for HEADER and TRAILER ("authorization"), else "".
    """

    carrier: Carrier
    name: str = ""

    def __str__(self) -> str:
        return f"{self.carrier}:{self.name}" if self.name else str(self.carrier)


@dataclass(frozen=True, slots=True)
class Finding:
    """One sighting.

    secret: its name (an environment variable's, or the one given to ``--secret``).
    fingerprint: short keyed hash of the value, comparable within one run only.
    place: where it was seen.
    encodings: from the outside in, e.g. ("gzip", "base64"); ("raw",) when it was written plainly.
    offset: byte offset of the outermost encoded run in the place's data as sent; -1 when unknown.
    kind: id of the secret's kind (``secrets.credentials``), "" when unknown. marks: what it says of where it belongs.
    aliases: other names that its value had from the start.
    """

    secret: str
    fingerprint: str
    place: Place
    encodings: tuple[str, ...]
    offset: int
    kind: str = ""
    marks: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
