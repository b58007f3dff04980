"""The other ways in which data can be read: decode, then match.

Each decoder is one function in one visible table. It is given bytes and yields what they may mean. Decoding goes on with what
came out, to a depth and within budgets; whatever is over a budget is said to be uninspected, never silently clean.
"""

from __future__ import annotations

import base64
import binascii
import html
import io
import itertools
import re
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from ebbgate.secrets import inflate

MAX_DEPTH = 3  # of 70 measured encodings, depth 1 reads 35 and depth 3 reads 47; deeper ones are chains nobody uses
MAX_BYTES = 8 << 20  # expanded bytes of one scan
MAX_VIEWS = 200
MAX_SECONDS = 0.5  # of one scan; the gate serves others meanwhile
MAX_MEMBERS = 32  # of one archive
MAX_MEMBER = 1 << 20  # bytes of one archive member or one compressed run
MIN_RUN = 16  # characters; shorter runs are words
_PRINTABLE_SHARE = 7 / 8  # of a decoded run; base64 of anything else is noise and would multiply
_PRINTABLE = bytes(range(32, 127)) + b"\t\n\r"

_BASE64_RUN = re.compile(rb"[A-Za-z0-9+/_-]{%d,}={0,2}" % MIN_RUN)
_HEX_RUN = re.compile(rb"(?:[0-9a-fA-F]{2}){%d,}" % (MIN_RUN // 2))
_ESCAPE = re.compile(rb"\\(?:u\{?([0-9a-fA-F]{4})\}?|x([0-9a-fA-F]{2})|([0-7]{3})|([\"'\\/bfnrt]))")
_PERCENT_U = re.compile(rb"%u([0-9a-fA-F]{4})")
_SIMPLE_ESCAPES = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_JSON_VALUE = re.compile(rb'"((?:[^"\\]|\\.)*)"(?=\s*[,}\]])')
# What begins with these bytes in the middle of something else is hardly ever anything else: 3 bytes meet by chance in 16 MB.
_COMPRESSED = re.compile(rb"\x1f\x8b\x08|\x28\xb5\x2f\xfd|BZh[1-9]1AY&SY|\xfd7zXZ\x00")
_ZIP_END = 22  # bytes of the end of central directory, without its comment
_URL_ALPHABET = bytes.maketrans(b"-_", b"+/")
_SEPARATORS = b" \t\r\n\"',;"


@dataclass(frozen=True, slots=True)
class View:
    """data: one reading. encodings: how it was reached, outermost first. offset: of the run in the original, -1 unknown."""

    data: bytes
    encodings: tuple[str, ...]
    offset: int


@dataclass(slots=True)
class Budget:
    """What one scan may still spend. spent: why it had to stop. notes: what one decoder could not read; the others go on."""

    deadline: float
    bytes_left: int = MAX_BYTES
    views_left: int = MAX_VIEWS
    spent: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def uninspected(self) -> str:
        """Why some of the data was not read; "" when all of it was."""
        return self.spent or next(iter(self.notes), "")

    def take(self, size: int) -> bool:
        """Pay for one view."""
        self.bytes_left -= size
        self.views_left -= 1
        if self.bytes_left < 0 or self.views_left < 0 or time.monotonic() > self.deadline:
            self.spent = "decode budget"
            return False
        return True


def views(data: bytes, content_encoding: str, budget: Budget) -> Iterator[View]:
    """All readings of data but the plain one, breadth first."""
    start = _undo_codings(View(data, (), 0), content_encoding, budget)
    waiting = [(View(data, (), 0), 0)]
    if start is not None and start.encodings:
        yield start
        waiting = [(start, 0)]
    if budget.notes:
        waiting.append((View(data, (), 0), 0))  # not what it was said to be: read it as it is, too
    seen = {hash(data)}
    while waiting:
        current, depth = waiting.pop(0)
        for view in _decoded(current, budget):
            if hash(view.data) in seen:
                continue
            seen.add(hash(view.data))
            if not budget.take(len(view.data)):
                return
            yield view
            if depth + 1 < MAX_DEPTH and _worth_decoding(view.data):
                waiting.append((view, depth + 1))


def _undo_codings(view: View, header: str, budget: Budget) -> View | None:
    for coding in inflate.codings(header):
        machine = inflate.inflater(coding, limit=MAX_BYTES)
        if machine is None:
            budget.notes.append(f"unknown content-encoding {coding[:20]}")
            return view
        try:
            view = View(machine.feed(view.data), (*view.encodings, coding), -1)
        except inflate.BoundReached:
            budget.notes.append("decode budget")
            return view
        except inflate.Malformed:
            budget.notes.append(inflate.malformed(coding))
            return view
        if not budget.take(len(view.data)):
            return None
    return view


def _worth_decoding(data: bytes) -> bool:
    if inflate.coding_by_magic(data) or data.startswith(b"PK\x03\x04"):
        return True
    sample = data[:4096]
    return len(sample.translate(None, _PRINTABLE)) <= len(sample) * (1 - _PRINTABLE_SHARE)


def _decoded(view: View, budget: Budget) -> Iterator[View]:
    for name, decoder in DECODERS:
        try:
            for data, offset in decoder(view.data):
                if data and data != view.data:
                    place = offset if not view.encodings else view.offset
                    yield View(data, (*view.encodings, name), place)
                if budget.spent:
                    return
        except inflate.BoundReached:
            budget.notes.append("decode budget")
        except Exception:
            budget.notes.append(f"{name} decoder failed")


Decoded = Iterator[tuple[bytes, int]]


def _percent(data: bytes) -> Decoded:
    if b"%" in data:
        yield unquote_to_bytes(data.replace(b"+", b" ")), -1
        yield unquote_to_bytes(data), -1
        if b"%u" in data:
            yield _PERCENT_U.sub(lambda match: chr(int(match[1], 16)).encode("utf-8", "surrogatepass"), data), -1


def _escapes(data: bytes) -> Decoded:
    if b"\\" in data:
        yield _ESCAPE.sub(_unescape, data), -1


def _unescape(match: re.Match[bytes]) -> bytes:
    four, two, octal, simple = match.groups()
    if four:
        return chr(int(four, 16)).encode("utf-8", "surrogatepass")
    if two:
        return bytes([int(two, 16)])
    if octal:
        return bytes([int(octal, 8) & 0xFF])
    return _SIMPLE_ESCAPES.get(simple, simple)


def _entities(data: bytes) -> Decoded:
    if b"&" in data and b";" in data:
        yield html.unescape(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape"), -1


def _base64(data: bytes) -> Decoded:
    for match in _BASE64_RUN.finditer(data):
        run = match[0].rstrip(b"=").translate(_URL_ALPHABET)
        for skip in range(4):
            aligned = run[skip:]
            aligned = aligned[: len(aligned) - (len(aligned) % 4 == 1)]
            decoded = binascii.a2b_base64(aligned + b"=" * (-len(aligned) % 4))
            if _worth_decoding(decoded):
                yield decoded, match.start()
                break


def _hex(data: bytes) -> Decoded:
    for match in _HEX_RUN.finditer(data):
        for run in (match[0], match[0][1:-1]):
            decoded = bytes.fromhex(run.decode())
            if _worth_decoding(decoded):
                yield decoded, match.start()
                break


def _base32(data: bytes) -> Decoded:
    for match in re.finditer(rb"[A-Z2-7]{%d,}={0,6}" % MIN_RUN, data):
        run = match[0].rstrip(b"=")
        run = run[: len(run) - (len(run) % 8 in (1, 3, 6))]
        yield base64.b32decode(run + b"=" * (-len(run) % 8)), match.start()


def _joined(data: bytes) -> Decoded:
    """Without white space, quotes and commas: wrapped lines, one character a line, JSON arrays of characters."""
    joined = data.translate(None, _SEPARATORS)
    if len(joined) < len(data):
        yield joined, -1


def _hex_dump(data: bytes) -> Decoded:
    """``de:ad:be``, ``\\xde\\xad``, ``0xde, 0xad``: hexadecimal with anything regular between the bytes."""
    if re.search(rb"(?:[0-9a-fA-F]{2}(?:[:. -]|, ?0x|\\x)){8}", data):
        yield re.sub(rb"0x|\\x|[:. ,-]", b"", data), -1


def _utf16(data: bytes) -> Decoded:
    if data.count(0) * 3 > len(data):
        yield data.replace(b"\0", b""), -1


def _compressed(data: bytes) -> Decoded:
    """From the first byte, or further in: a file in a multipart body, a message with its length in front (gRPC)."""
    starts = [0, *(match.start() for match in itertools.islice(_COMPRESSED.finditer(data, 1), MAX_MEMBERS))]
    for start in starts:
        coding = inflate.coding_by_magic(data[start : start + inflate.LONGEST_MAGIC])
        machine = inflate.inflater(coding, limit=MAX_BYTES) if coding else None
        if machine is not None:
            try:
                yield machine.feed(data[start:]), start
            except inflate.Malformed as broken:
                yield broken.made, start


def _zip(data: bytes) -> Decoded:
    start, end = data.find(b"PK\x03\x04"), data.rfind(b"PK\x05\x06")
    if start < 0 or end < 0:
        return
    try:
        archive = zipfile.ZipFile(io.BytesIO(data[start : end + _ZIP_END]))
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return
    with archive:
        if len(archive.infolist()) > MAX_MEMBERS:
            raise inflate.BoundReached
        for member in archive.infolist():
            with archive.open(member) as file:
                content = file.read(MAX_MEMBER + 1)
            if len(content) > MAX_MEMBER:
                raise inflate.BoundReached
            yield content, start + member.header_offset


def _values(data: bytes) -> Decoded:
    """The values of a form, a query or a JSON document without what stands between them: a secret in pieces."""
    if b"=" in data and b"&" in data:
        yield b"".join(part.partition(b"=")[2] for part in data.split(b"&")), -1
    if b'"' in data:
        yield b"".join(_JSON_VALUE.findall(data)), -1


# One decoder a line; the order is that in which they are tried.
DECODERS: tuple[tuple[str, Callable[[bytes], Decoded]], ...] = (
    ("percent", _percent),
    ("escapes", _escapes),
    ("entities", _entities),
    ("base64", _base64),
    ("hex", _hex),
    ("base32", _base32),
    ("joined", _joined),
    ("hex-dump", _hex_dump),
    ("utf-16", _utf16),
    ("compressed", _compressed),
    ("zip", _zip),
    ("values", _values),
)


def new_budget() -> Budget:
    """A budget that starts now."""
    return Budget(time.monotonic() + MAX_SECONDS)
