"""One decoder a line. Adding one is a function in one of the files here, a line in one of these tables and one in the tests'."""

from __future__ import annotations

from ebbgate.secrets.decoders import containers, escapes, numbers, runs, spread
from ebbgate.secrets.views import Decoder

# Found anywhere in any bytes; in streams by who reads them from their beginning.
CONTAINERS: tuple[tuple[str, Decoder], ...] = (("compressed", containers.contained),)
# Found in any bytes.
ANYWHERE: tuple[tuple[str, Decoder], ...] = (
    ("utf-16", escapes.wide),
    ("unicode", spread.decorated),
)
# Found in text. The order is that in which they are tried.
TEXTS: tuple[tuple[str, Decoder], ...] = (
    ("percent", escapes.percent),
    ("escapes", escapes.backslashes),
    ("entities", escapes.entities),
    ("quoted-printable", escapes.quoted_printable),
    ("base64", runs.base64),
    ("hex", runs.hexadecimal),
    ("base32", runs.base32),
    ("base58", runs.base58),
    ("uuencode", runs.uuencoded),
    ("numbers", numbers.lists),
    ("joined", spread.joined),
    ("unicode", spread.plain_characters),
    ("values", spread.values),
)
