"""What fuzzing has found, by target: input and what happened. Each is run with every change."""

from __future__ import annotations

FOUND: dict[str, dict[str, bytes]] = {
    "inflaters": {
        "properties of LZMA that are shorter than they are": bytes([8, 0, 0, 9, 0, 0, 0, 0]) + b"\x09\x04\x00\x00" + b"\x5d" * 9,
        "deflate whose first byte came alone": bytes([2, 0, 0, 0, 0, 0, 0, 0]) + b"\x08\x01\x00\xfe\xffx",
        "zstd of a size that it does not have": bytes.fromhex("c51918000005380000"),
    },
    "values": {"half a surrogate pair in a value": b"TOKEN\0correct horse \xed\xa0\x80 battery 123"},
    "documents": {
        "half a surrogate pair before other values": b'\x0b\0{"token": "\\ud800 9f8e7d6c5b4a", "password": "Zx9Yq8Wv7Ut6Sr"}'
    },
}
