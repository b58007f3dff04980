"""Every way of writing a value that is tried on the scanner, and what is to come of it; the documentation's table is made of this.

``ENCODINGS`` are what attackers use, from the tools that they use. ``MISSES`` are asserted to be missed.
"""

from __future__ import annotations

import base64
import binascii
import bz2
import codecs
import gzip
import html
import io
import json
import lzma
import quopri
import string
import tarfile
import urllib.parse
import zipfile
import zlib
from collections.abc import Callable

import brotli
import zstandard

type Encode = Callable[[bytes], bytes]

_B58 = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_CROCKFORD = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", b"0123456789ABCDEFGHJKMNPQRSTVWXYZ")
_Z85 = bytes.maketrans(
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~",
    b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#",
)


def _b58(data: bytes) -> bytes:
    number, out = int.from_bytes(data, "big"), bytearray()
    while number:
        number, digit = divmod(number, 58)
        out.append(_B58[digit])
    return bytes(reversed(out))


def zipped(data: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("package/metadata.txt", b"Name: x\n" * 20 + data)
    return buffer.getvalue()


def streamed_zip(data: bytes) -> bytes:
    """As made where the size is not known beforehand, and without the directory at the end."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.parts: list[bytes] = []

        def writable(self) -> bool:
            return True

        def write(self, part) -> int:
            self.parts.append(bytes(part))
            return len(part)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("one", b"first member")
        archive.writestr("two", data)
    whole = b"".join(pipe.parts)
    return whole[: whole.index(b"PK\x01\x02")]


def tarred(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo("etc/x")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def git_pack(data: bytes) -> bytes:
    """A packfile of two blobs (gitformat-pack(5)), as a push sends it after its commands."""

    def entry(content: bytes) -> bytes:
        size, head = len(content), bytearray()
        first = 3 << 4 | size & 15
        size >>= 4
        while size:
            head.append(first | 0x80)
            first, size = size & 0x7F, size >> 7
        head.append(first)
        return bytes(head) + zlib.compress(content)

    return b"0000PACK\0\0\0\2\0\0\0\2" + entry(b"hello\n" * 9) + entry(b"key = " + data + b"\n") + b"\x11" * 20


def _raw_deflate(data: bytes) -> bytes:
    machine = zlib.compressobj(9, zlib.DEFLATED, -15)
    return machine.compress(b"some words before " + data) + machine.flush()


def _multipart(data: bytes) -> bytes:
    head = b'--b0undary\r\nContent-Disposition: form-data; name="f"; filename="x.gz"\r\nContent-Type: application/gzip\r\n\r\n'
    return head + gzip.compress(data) + b"\r\n--b0undary--\r\n"


def _grpc(data: bytes) -> bytes:
    message = gzip.compress(b"\x0a\x28" + data)
    return b"\x01" + len(message).to_bytes(4, "big") + message


def _wrapped(data: bytes, width: int) -> bytes:
    return b"\n".join(data[at : at + width] for at in range(0, len(data), width)) + b"\n"


def _spelled(data: bytes, separator: bytes) -> bytes:
    return separator.join(bytes([one]) for one in data)


def _xxd(data: bytes) -> bytes:
    lines = []
    for at in range(0, len(data), 16):
        part = data[at : at + 16]
        pairs = " ".join(part[i : i + 2].hex() for i in range(0, len(part), 2))
        lines.append(f"{at:08x}: {pairs:<39}  {''.join(chr(b) if 32 <= b < 127 else '.' for b in part)}")
    return "\n".join(lines).encode() + b"\n"


# Text in, text out: these can be put into each other.
TEXTUAL: dict[str, Encode] = {
    "raw": lambda v: v,
    "base64": base64.b64encode,
    "base64, one byte before": lambda v: base64.b64encode(b"a" + v),
    "base64, two bytes before": lambda v: base64.b64encode(b"ab" + v),
    "base64url": lambda v: base64.urlsafe_b64encode(b"?>" + v),
    "base64 without padding": lambda v: base64.b64encode(v + b"x").rstrip(b"="),
    "base64 in lines of 76": lambda v: base64.encodebytes(b"abc" * 11 + v),
    "base64 in lines of 20": lambda v: _wrapped(base64.b64encode(v), 20),
    "base32": base64.b32encode,
    "base32, three bytes before": lambda v: base64.b32encode(b"abc" + v),
    "base32 in small letters": lambda v: base64.b32encode(v).lower().rstrip(b"="),
    "base32hex": base64.b32hexencode,
    "Crockford's base32": lambda v: base64.b32encode(v).rstrip(b"=").translate(_CROCKFORD),
    "hex": lambda v: v.hex().encode(),
    "hex in capitals": lambda v: v.hex().upper().encode(),
    "hex with colons": lambda v: v.hex(":").encode(),
    "hex with spaces": lambda v: v.hex(" ").encode(),
    "hex as \\x": lambda v: "".join(f"\\x{b:02x}" for b in v).encode(),
    "hex as 0x": lambda v: ", ".join(f"0x{b:02x}" for b in v).encode(),
    "xxd": _xxd,
    "xxd -p": lambda v: _wrapped(v.hex().encode(), 60),
    "decimal numbers": lambda v: json.dumps(list(v)).encode(),
    "binary digits": lambda v: " ".join(f"{b:08b}" for b in v).encode(),
    "octal escapes": lambda v: "".join(f"\\{b:03o}" for b in v).encode(),
    "percent": lambda v: "".join(f"%{b:02x}" for b in v).encode(),
    "percent where needed": lambda v: urllib.parse.quote(v, safe="").encode(),
    "percent twice": lambda v: urllib.parse.quote("".join(f"%{b:02x}" for b in v), safe="").encode(),
    "percent, every other character": lambda v: b"".join(b"%%%02X" % b if i % 2 else bytes([b]) for i, b in enumerate(v)),
    "form": lambda v: urllib.parse.urlencode({"x": v.decode("latin-1"), "y": "1"}, encoding="latin-1").encode(),
    "json": lambda v: json.dumps({"x": v.decode("latin-1"), "y": [1]}).encode(),
    "json escapes": lambda v: "".join(f"\\u{b:04x}" for b in v).encode(),
    "json of characters": lambda v: json.dumps([chr(b) for b in v]).encode(),
    "html entities": lambda v: "".join(f"&#{b};" for b in v).encode(),
    "html entities in hex": lambda v: "".join(f"&#x{b:x};" for b in v).encode(),
    "xml": lambda v: b"<x>" + html.escape(v.decode("latin-1")).encode() + b"</x>",
    "quoted-printable": lambda v: quopri.encodestring(v, quotetabs=True),
    "quoted-printable throughout": lambda v: _wrapped("".join(f"={b:02X}" for b in v).encode(), 72).replace(b"\n", b"=\n"),
    "one character a line": lambda v: _spelled(v, b"\n"),
    "one character a word": lambda v: _spelled(v, b" "),
}  # fmt: skip
# The value itself, changed; nothing is put into these.
DISGUISED: dict[str, Encode] = {
    "base85": base64.b85encode,
    "ascii85": lambda v: base64.a85encode(v, adobe=True),
    "z85": lambda v: base64.b85encode(v).translate(_Z85),
    "base58": _b58,
    "uuencode": lambda v: b"begin 644 x\n" + b"".join(binascii.b2a_uu(v[at : at + 45]) for at in range(0, len(v), 45)) + b"`\nend\n",
    "reversed": lambda v: v[::-1],
    "base64, reversed": lambda v: base64.b64encode(v)[::-1],
    "reversed, in base64": lambda v: base64.b64encode(v[::-1]),
    "rot13": lambda v: codecs.encode(v.decode("latin-1"), "rot13").encode("latin-1"),
    "rot47": lambda v: bytes(33 + (b - 33 + 47) % 94 if 33 <= b < 127 else b for b in v),
    "upper case": bytes.upper,
    "lower case": bytes.lower,
    "swapped case": bytes.swapcase,
    "points between": lambda v: _spelled(v, b"."),
    "hyphens between": lambda v: _spelled(v, b"-"),
    "spaces of no width between": lambda v: _spelled(v, "\u200b".encode()),
    "wide characters": lambda v: "".join(chr(b + 0xFEE0) if 33 <= b < 127 else chr(b) for b in v).encode(),
    "single-byte xor": lambda v: bytes(b ^ 0x5A for b in v),
    "single-byte xor, in base64": lambda v: base64.b64encode(bytes(b ^ 0xA7 for b in v)),
    "utf-16": lambda v: v.decode("latin-1").encode("utf-16"),
    "utf-16 big-endian": lambda v: v.decode("latin-1").encode("utf-16-be"),
    "utf-32": lambda v: v.decode("latin-1").encode("utf-32-le"),
    "utf-16 in base64": lambda v: base64.b64encode(v.decode("latin-1").encode("utf-16-le")),
    "values of a form, in pieces": lambda v: b"&".join(b"k%d=%s" % (i, urllib.parse.quote(v[i : i + 5], safe="").encode()) for i in range(0, len(v), 5)),
    "json values, in pieces": lambda v: json.dumps({f"k{i}": v[i : i + 5].decode("latin-1") for i in range(0, len(v), 5)}).encode(),
}  # fmt: skip
# Bytes out. They may hold any of the others.
BINARY: dict[str, Encode] = {
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "raw deflate": _raw_deflate,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda v: lzma.compress(v, lzma.FORMAT_ALONE),
    "zstd": zstandard.compress,
    "brotli": lambda v: brotli.compress(b"some words before " + v),
    "zip": zipped,
    "zip, stored": lambda v: zipped(v, zipfile.ZIP_STORED),
    "zip, bzip2": lambda v: zipped(v, zipfile.ZIP_BZIP2),
    "zip, lzma": lambda v: zipped(v, zipfile.ZIP_LZMA),
    "zip, streamed and cut off": streamed_zip,
    "tar.gz": tarred,
    "git packfile": git_pack,
    "gzip in multipart": _multipart,
    "gzip in gRPC": _grpc,
}
MISSES: dict[str, Encode] = {
    "xor with a longer key": lambda v: bytes(b ^ k for b, k in zip(v, b"\x13\x5a\xc7" * len(v), strict=False)),
    "another alphabet of base64": lambda v: base64.b64encode(v).translate(
        bytes.maketrans((string.ascii_letters + string.digits).encode(), (string.digits + string.ascii_letters[::-1]).encode())
    ),
    "letters between": lambda v: _spelled(v, b"x"),
    "shifted by three": lambda v: bytes((b + 3) % 256 for b in v),
    "base62": lambda v: _b62(v),
    "every second half": lambda v: v[::2] + v[1::2],
}


def _b62(data: bytes) -> bytes:
    digits = string.digits + string.ascii_letters
    number, out = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 62)
        out = digits[digit] + out
    return out.encode()
