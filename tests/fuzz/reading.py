"""What reads texts that somebody else wrote: credential files, responses, structured secrets, shapes, parts of requests."""

from __future__ import annotations

import json

from ebbgate.secrets import checks, credential_files, known, minted, parts, shapes, structured
from ebbgate.secrets.credentials import credentials
from ebbgate.secrets.finding import Carrier, Place
from ebbgate.secrets.kinds import kind_of, marks_of
from ebbgate.secrets.secret import Secret, merged
from tests.fuzz.draw import Draw

PLACES = [Place(Carrier.HEADER, name) for name in ("authorization", "cookie", "x-key", "")] + [
    Place(Carrier.URL, "query"),
    Place(Carrier.BODY),
]
TYPES = [
    "",
    "application/x-www-form-urlencoded",
    "application/json",
    "multipart/form-data; boundary=b",
    "multipart/form-data; boundary=\u20ac",
]
NAMES = sorted(checks.CHECKS)
KINDS = [one.id for one in credentials().kinds]


def documents(data: bytes) -> None:
    """Values are found in any text without an exception, in bounded number, and each can be looked for by the scanner."""
    draw = Draw(data)
    file, behind = draw.pick(credential_files.TABLE), draw.number(2)
    rest = draw.rest()
    found = [
        *credential_files.values_of(file, rest),
        *structured.inner_values(rest),
        *minted.minted(rest),
        *structured.inner_values(json.dumps({"token": rest.decode("latin-1")}).encode() if behind else b""),
    ]
    assert len(found) <= 4 * structured.MAX_INNER
    for one in found:
        assert len(one.label) <= structured.MAX_LABEL
        one.value.encode("utf-8", "surrogateescape")
        one.host.encode("utf-8", "surrogateescape")
    with_inner = structured.with_inner([Secret("DOCUMENT", rest, "--secret")])
    assert len(merged(with_inner)) <= 1 + structured.MAX_INNER
    credential_files.kind_of(rest.decode("utf-8", "surrogateescape"))


def values(data: bytes) -> None:
    """Whether something is a secret, and of which kind, can be asked of any name and any value."""
    name, _, value = data.partition(b"\0")
    for errors in ("surrogateescape", "surrogatepass", "replace"):
        try:
            text, called = value.decode("utf-8", errors), name.decode("utf-8", errors)
        except UnicodeDecodeError:
            continue
        known.is_recognisable(text)
        known.is_strong(text)
        known.looks_secret(called)
        structured.host_of(text)
        environ = {called: text, "CI_X": called}
        for one in known.from_environment(environ, known.public_values(environ), "environment"):
            assert one.reveal()
    kind = kind_of(name.decode("utf-8", "surrogateescape"), value)
    marks_of(kind, value, ("example.com",))


def credential_shapes(data: bytes) -> None:
    """Checks of credentials' formats are total, and sightings lie within the data, in order and bounded in number."""
    draw = Draw(data)
    name, kind, at = draw.pick(NAMES), credentials().by_id[draw.pick(KINDS)], draw.number(64)
    rest = draw.rest()
    assert checks.check(name, rest) in (True, False, None)
    checks.claims(rest)
    prefix = kind.prefixes[at % len(kind.prefixes)].encode() if kind.prefixes else b""
    text = rest[:at] + prefix + rest[at:]
    for heads in (True, False):
        sightings, _complete = shapes.shapes(heads=heads).examine(text)
        assert len(sightings) <= shapes.MAX_SIGHTINGS
        assert all(0 <= one.start < one.end <= len(text) for one in sightings)
    shapes.masked(text.decode("utf-8", "surrogateescape"))
    shapes.shape_of(text[at:])


def request_parts(data: bytes) -> None:
    """A part of a request is taken apart or stays whole, and what it consists of is bounded."""
    draw = Draw(data)
    place, content_type = draw.pick(PLACES), draw.pick(TYPES)
    rest = draw.rest()
    node = parts.tree(parts.Part(place, rest, content_type))
    assert len(node.children) <= parts.MAX_NODES
    node.split(lambda name: name.startswith("form"))
    node.deepest(lambda value: b"x" in value)
