"""What a part of a request consists of: the parameters of a query, the fields of a form, the credentials of a header.

Only read when a secret was seen in it, to say in which of them, and to judge whether it is nowhere else. A tree, since one
text can be meant as a whole or in pieces::

    header:authorization "Basic dXNl..." ─▶ auth:basic "dXNl..." ─┬▶ auth:basic.user
                                                                 └▶ auth:basic.pass
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from ebbgate.secrets.finding import Carrier, Place

MAX_PARSED = 1 << 20  # bytes of a body; as many as the gate holds back to read whole
MAX_NODES = 4000  # of one part; a body with more fields is judged as a whole
MAX_LEVELS = 64  # of a JSON document
_DISPOSITION = re.compile(rb'^content-disposition:[^\r\n]*?[; ]name="?([^"\r\n;]*)"?', re.IGNORECASE | re.MULTILINE)
_BOUNDARY = re.compile(r'boundary="?([^";,]+)"?', re.IGNORECASE)
_SIGV4 = re.compile(rb"Credential=([^/,\s]+)")


@dataclass(frozen=True, slots=True)
class Part:
    """Data of a place, as it was sent. content_type: of a body."""

    place: Place
    data: bytes
    content_type: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """A text, the name that bindings have for it ("" when none can mean it), and what it consists of."""

    name: str
    value: bytes
    children: tuple[Node, ...] = ()

    def split(self, wanted: Callable[[str], bool]) -> tuple[list[bytes], list[bytes]]:
        """(texts whose names are wanted, all other text)."""
        if self.name and wanted(self.name):
            return [self.value], []
        if not self.children:
            return [], [self.value]
        inside: list[bytes] = []
        outside: list[bytes] = []
        for child in self.children:
            found, others = child.split(wanted)
            inside += found
            outside += others
        return inside, outside

    def deepest(self, carries: Callable[[bytes], bool]) -> str:
        """The most exact name of a text that carries something; "" when only the whole does."""
        for child in self.children:
            inner = child.deepest(carries)  # first: an encoded whole does not show what its pieces are
            if inner or carries(child.value):
                return inner or child.name
        return ""


def tree(part: Part) -> Node:
    """Take a part apart. What cannot be read that way stays whole."""
    whole = Node("", part.data)
    if len(part.data) > MAX_PARSED:
        return whole
    try:
        children = tuple(_children(part))
    except (ValueError, RecursionError):
        return whole
    return Node("", part.data, children) if 0 < len(children) <= MAX_NODES else whole


def _children(part: Part) -> Iterator[Node]:
    place, data = part.place, part.data
    if place.carrier is Carrier.HEADER:
        yield from _header(place.name, data)
    elif place == Place(Carrier.URL, "query"):
        yield from _pairs("query", data, b"&")
    elif place.carrier is Carrier.BODY:
        yield from _body(data, part.content_type)


def _header(name: str, data: bytes) -> Iterator[Node]:
    if name in ("authorization", "proxy-authorization"):
        yield from _credentials(data.strip())
    elif name == "cookie":
        yield from _pairs("cookie", data, b";")
    elif name:
        yield Node(f"header:{name}", data)


def _credentials(data: bytes) -> Iterator[Node]:
    """RFC 9110, 11.4: a scheme and what belongs to it; some send a token alone."""
    scheme, space, text = data.partition(b" ")
    if not space:
        yield Node("auth:raw", data)
        return
    name = f"auth:{scheme.decode('latin-1').lower()}"
    yield Node("", scheme)
    yield Node(name, text.strip(), tuple(_scheme(name, text.strip())))


def _scheme(name: str, text: bytes) -> Iterator[Node]:
    if name == "auth:basic":
        user, _, password = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True).partition(b":")
        yield Node("auth:basic.user", user)
        yield Node("auth:basic.pass", password)
    elif name.startswith("auth:aws4-"):
        match = _SIGV4.search(text)
        if match:
            yield Node("sigv4.id", match[1])
            yield Node("", text[: match.start(1)] + b"\n" + text[match.end(1) :])


def _pairs(kind: str, data: bytes, separator: bytes) -> Iterator[Node]:
    for pair in data.split(separator):
        name, _, value = pair.strip().partition(b"=")
        if kind != "cookie":
            name, value = unquote_to_bytes(name), unquote_to_bytes(value)
        yield Node("", name)
        yield Node(f"{kind}:{name.decode('utf-8', 'replace')}", value)


def _body(data: bytes, content_type: str) -> Iterator[Node]:
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        yield from _pairs("form", data, b"&")
    elif kind == "application/json" or kind.endswith("+json"):
        yield from _json("json:", data)
    elif kind == "multipart/form-data":
        yield from _multipart(data, content_type)


def _json(prefix: str, data: bytes) -> Iterator[Node]:
    """Leaves by the names on the way to them, joined with dots; positions in lists have none. Names are texts too."""
    yield from _leaves(prefix, "", json.loads(data, object_pairs_hook=_Pairs), 0)


class _Pairs(list[tuple[str, object]]):
    """An object as it is written, keys that come twice included."""


def _leaves(prefix: str, path: str, value: object, level: int) -> Iterator[Node]:
    if level > MAX_LEVELS:
        raise ValueError("nested too deeply")
    if isinstance(value, _Pairs):
        for key, inner in value:
            yield Node("", key.encode("utf-8", "surrogatepass"))
            yield from _leaves(prefix, f"{path}.{key}" if path else key, inner, level + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(prefix, path, inner, level + 1)
    else:
        yield Node(prefix + path, str(value).encode("utf-8", "surrogatepass"))


def _multipart(data: bytes, content_type: str) -> Iterator[Node]:
    """RFC 7578: parts between boundaries, each with headers that name it."""
    match = _BOUNDARY.search(content_type)
    if match is None:
        return
    for piece in data.split(b"--" + match[1].strip().encode("latin-1", "replace")):
        head, _, content = piece.partition(b"\r\n\r\n")
        content = content.removesuffix(b"\r\n")
        named = _DISPOSITION.search(head)
        yield Node("", head)
        if named:
            name = f"multipart:{named[1].decode('utf-8', 'replace')}"
            yield Node(name, content, tuple(_inner_json(f"{name}#", content)))
        else:
            yield Node("", content)


def _inner_json(prefix: str, content: bytes) -> list[Node]:
    try:
        return list(_json(prefix, content)) if content.lstrip().startswith(b"{") else []
    except (ValueError, RecursionError):
        return []
