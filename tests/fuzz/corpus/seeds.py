"""Inputs that already go far: one of each format, encoding and credential."""

from __future__ import annotations

import dns.message

from ebbgate.policy.load import JOB_KEYS
from ebbgate.policy.presets import preset_names
from ebbgate.secrets.credential_files import TABLE
from ebbgate.secrets.credentials import credentials
from tests.secrets.encodings import BINARY, DISGUISED, TEXTUAL
from tests.secrets.samples import sample

VALUE = b"correct horse battery staple 0123456789+/"
FILLING = b'{"name": "value", "list": [1, 2, 3]}\nKEY=value; other: "words" https://user:word@example.com/path?a=1&b=2\n'


def bodies() -> list[bytes]:
    """For ``scanning.body``: choices, of which each way of writing and packing has one, and filling."""
    written, packed = 1 + len(TEXTUAL) + len(DISGUISED), 1 + len(BINARY)
    choices = [(number, 0) for number in range(written)] + [(0, number) for number in range(packed)]
    choices += [(7 * number % written, number) for number in range(packed)]
    return [
        bytes([1, 0, 9, 6, at % 3, write, pack, at % 8, 1, 0, 40, 0, 20, 0, at, at % 3]) + FILLING
        for at, (write, pack) in enumerate(choices)
    ]


def texts() -> list[bytes]:
    """Every encoding, with every first bytes of choices that decoders and inflaters have."""
    ways = [*TEXTUAL.values(), *DISGUISED.values(), *BINARY.values()]
    return [bytes([at % 32, 0, 0, 0, 0, 5, 0, at]) + way(VALUE) for at, way in enumerate(ways)]


def documents() -> list[bytes]:
    """Credential files, responses, requests."""
    key = (
        b"-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nBKcwggSjAgEAAoIBAQ0123456789\n-----END PRIVATE KEY-----"
    )
    written = [
        b'{"auths": {"registry.example.com": {"auth": "dXNlcjpwYXNzdzByZC0xMjM0NQ=="}}, "token": "Zx9Yq8Wv7Ut6Sr5Qp4On"}',
        b'{"Credentials": {"SecretAccessKey": "Zx9Yq8Wv7Ut6Sr5Qp4OnMl3K", "SessionToken": "AbC123dEf456GhI789"}, "k": "\\ud800"}',
        b"[default]\naws_secret_access_key = Zx9Yq8Wv7Ut6Sr5Qp4OnMl3K\n[registry \"example.com\"]\nexport TOKEN='Zx9Yq8Wv7Ut6'\n",
        b"machine example.com login user password Zx9Yq8Wv7Ut6Sr\ndefault login a password b",
        b"//registry.example.com/:_authToken=Zx9Yq8Wv7Ut6Sr5Qp4On\n_password=UGFzc3dvcmQtMTIzNDU2Nzg5\n",
        b"https://user:Zx9Yq8Wv7Ut6Sr@example.com/a\nhttps://hooks.example.com/services/T000/B000/Zx9Yq8Wv7Ut6Sr5Qp4On\n",
        b'<settings><server><password>Zx9Yq8Wv7Ut6Sr</password></server><add key="p" value="&#x41;b"/></settings>',
        b"host:5432:database:user:Zx9Yq8Wv7Ut6Sr", b"access_token=Zx9Yq8Wv7Ut6Sr5Qp4On&token_type=bearer&x=%41+b", key,
        b"Authorization: Bearer Zx9Yq8Wv7Ut6Sr5Qp4On", b"Basic dXNlcjpwYXNzdzByZC0xMjM0NQ==", b"postgres%3A%2F%2Fu%3Ap%40h%2F",
        b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n{"a": [1, {"b": "c"}]}\r\n--b--\r\n', b"a=1; b=Zx9Yq8; c",
    ]  # fmt: skip
    return [bytes([at % len(TABLE), at % 2]) + text for at in range(len(TABLE)) for text in (written[at % len(written)],)]


def credential_values() -> list[bytes]:
    """One of each kind that has a shape."""
    kinds = [kind for kind in credentials().kinds if kind.regex]
    return [bytes([at % 13, at, 0]) + sample(kind).encode() for at, kind in enumerate(kinds)]


def policies() -> list[bytes]:
    """Each key, each form of an entry."""
    entries = [
        "example.com", "*.example.com:8443", "10.0.0.0/8", "[2001:db8::1]:443", "udp://192.0.2.1:123", "GET example.com/a/**",
        "{host: example.com, ports: [443], methods: [GET], paths: ['/a/*'], reason: because}",
        "{host: db.example.com, protocol: tcp, ports: [5432]}", "{host: 'x.example.com', passthrough: true, reason: words}",
        "{cidr: 10.0.0.0/8, protocol: udp, ports: [1-9]}", "&a [*a]", "!!python/object:x", "\u0661.example.com", "bücher.example",
    ]  # fmt: skip
    made = [b"\x02\x01" + one.encode() for one in entries] + [b"\0\0" + one.encode() for one in (*entries, *preset_names())]
    sections = [
        f"{key}: {value}" for key in JOB_KEYS for value in ("true", "own", "deny", "[a, b]", "{A: {to: [a.com], in: [body]}}")
    ]
    return [*made, *(b"\x01\x01" + one.encode() for one in sections), *(b"\x04\x01" + one.encode() for one in sections)]


def hosts() -> list[bytes]:
    """Names, addresses in every clothing, authorities, paths."""
    return [
        one.encode()
        for one in (
            "example.com", "EXAMPLE.com.", "bücher.example", "xn--bcher-kva.example", "0x7f.1", "127.1", "0177.0.0.1", "4294967295",
            "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]:443", "::1", "fe80::1%eth0", "１２７.0.0.1", "a_b.example:8443", "user@example.com",
            "/a/b%20c/../d", "/a//b", "/%u0041", "/a;b", "ß.example", "a.\u3002b", "1.2.3.4.5", "0x", "[", "[]", "example.com:", "\u200d.com",
        )
    ]  # fmt: skip


def questions() -> list[bytes]:
    """Each kind of question."""
    names = (
        "example.com",
        "a.b.c.localhost",
        "Zx9Yq8Wv7Ut6Sr5Qp4On.example.com",
        ".",
        "x\\000y.example",
        "1.0.0.127.in-addr.arpa",
    )
    kinds = ("A", "AAAA", "TXT", "HTTPS", "ANY", "PTR", "MX", "SOA")
    return [dns.message.make_query(name, kind, use_edns=len(kind) % 2).to_wire() for name in names for kind in kinds]
