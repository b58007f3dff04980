"""Parts of secrets: found where they are parts, and not in anything else."""

from __future__ import annotations

import glob
import json
import secrets
import sysconfig
from pathlib import Path

import pytest

from ebbgate.gate.pieces import SHARE, Pieces
from ebbgate.secrets.finding import Carrier, Place
from ebbgate.secrets.fragments import Fragments
from ebbgate.secrets.secret import Secret
from tests.secrets.test_matrix import ALPHABETS, random_value

URL = Place(Carrier.URL, "query")


def name(_owner: int) -> tuple[str, str]:
    return "S0", "print"


@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_most_of_a_value_in_several_requests(alphabet: str) -> None:
    value = random_value(48, ALPHABETS[alphabet])
    look, pieces = Fragments([Secret("S0", value, "x")]), Pieces()
    found = []
    for number in range(4):
        part = b"q=" + value[number * 12 : number * 12 + 12]
        found.append(bool(pieces.take(f"x{number}", "api.example.com", URL, look.search(part), name)))
    assert found == [False, False, SHARE * 48 <= 36, True]


def test_one_request_with_all_of_it_or_the_same_piece_again_is_none() -> None:
    value = random_value(48)
    look, pieces = Fragments([Secret("S0", value, "x")]), Pieces()
    assert pieces.take("x1", "api.example.com", URL, look.search(value), name) == []
    pieces = Pieces()
    for number in range(9):
        assert pieces.take(f"x{number}", "api.example.com", URL, look.search(value[:20]), name) == []


def test_to_other_places_it_is_counted_anew_and_hosts_of_one_owner_are_one_place() -> None:
    value = random_value(48)
    look, pieces = Fragments([Secret("S0", value, "x")]), Pieces()
    assert pieces.take("x1", "a.example.com", URL, look.search(value[:24]), name) == []
    assert pieces.take("x2", "b.example.net", URL, look.search(value[24:]), name) == []
    assert pieces.take("x3", "c.example.com", URL, look.search(value[24:]), name) != []


def test_words_and_hashes_hold_no_pieces() -> None:
    values = [random_value(40, ALPHABETS[one]) for one in ALPHABETS for _ in range(12)]
    look = Fragments([Secret(f"S{number}", value, "x") for number, value in enumerate(values)])
    sources = glob.glob(f"{sysconfig.get_paths()['stdlib']}/*.py")
    text = b"".join(Path(one).read_bytes() for one in sources)
    hashes = json.dumps([secrets.token_hex(32) for _ in range(60_000)]).encode()
    assert look.search(text) == {}
    assert look.search(hashes) == {}
