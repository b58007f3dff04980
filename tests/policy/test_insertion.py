"""Learned entries go into a file that a person wrote, and nothing of what was written changes."""

from __future__ import annotations

import pytest

from ebbgate.errors import PolicyError
from ebbgate.policy.insertion import Item, Section, insert
from ebbgate.policy.learned import learn
from ebbgate.policy.load import load_texts
from tests.policy.journals import exchange, finding, requests, run

NEW = Item("{ host: new.example.com, methods: [GET] }", "seen")
LAYOUTS = {
    "a block": "version: 1\nallow:\n  - a.example.com  # why\n  # about a\n\n# the end\n",
    "a block at the margin": "version: 1\nallow:\n- a.example.com # why\n# about what follows\ndeny:\n- b.example.com\n",
    "no end of line": "version: 1\nallow:\n  - a.example.com",
    "no end of line after a comment": "version: 1\nallow:\n  - a.example.com\n  # last",
    "Windows": "version: 1\r\nallow:\r\n  - a.example.com\r\ndeny:\r\n  - b.example.com\r\n",
    "brackets": "version: 1\nallow: [a.example.com, 'b.example.com',]  # both\ndeny: [c.example.com]\n",
    "empty brackets": "version: 1\nallow: []  # nothing yet\nmode: audit\n",
    "brackets over lines": "version: 1\nallow: [\n  a.example.com, # one, with a comma\n  b.example.com # two\n]\n",
    "one line": "{version: 1, allow: [a.example.com]}\n",
    "one line without entries": "{version: 1, jobs: {build: {}}}\n",
    "an end mark": "---\nversion: 1\nallow:\n  - a.example.com\n...\n",
    "entries over lines": "version: 1\nallow:\n  - host: a.example.com\n    paths:\n      - /a\n      - /b\n    # of a\n  # of all\nmode: enforce\n",
    "a text over lines": "version: 1\nallow:\n  - host: a.example.com\n    reason: >-\n      because\n      of that\n\n\n# end\nmode: enforce\n",
    "quoted over lines": 'version: 1\nallow:\n  - host: a.example.com\n    reason: "one\n      two"   # three\nmode: enforce\n',
    "a job": "version: 1\njobs:\n  build:\n    allow:\n      - a.example.com\n  # about publish\n  publish:\n    use: [node]\n# end\n",
    "a job in brackets": "version: 1\njobs:\n  build: { allow: [a.example.com], use: node }\n  publish: {}\n",
    "jobs in brackets": "version: 1\njobs: { publish: { allow: [a.example.com] } }  # all\n",
    "a preset alone": "version: 1\nuse: node  # ours\nallow:\n  - a.example.com\n",
    "presets in a block": "version: 1\nuse:\n  - node\n  # more?\nsecrets:\n  OTHER: { to: [a.example.com] }  # mine\n",
    "deeper first": "version: 1\njobs:\n  build:\n    secrets:\n      OTHER: { to: [a.example.com] }\n      # deep\n    # job\n  # jobs\n# root\n",
    "unicode": 'version: 1\n# ü 🜂\nallow:\n  - host: a.example.com\n    reason: "ü 🜂"\ndeny: [b.example.com]\n',
    "only a version": "version: 1",
}  # fmt: skip


def is_kept(before: str, after: str) -> bool:
    """Whether every character of a text is there still, in order."""
    following = iter(after)
    return all(one in following for one in before)


@pytest.mark.parametrize("job", ["", "build", "publish", "other: job"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_takes_a_section_and_keeps_its_own(name: str, job: str) -> None:
    before = LAYOUTS[name]
    section = Section([Item("python", "seen")], [NEW, NEW], [Item("TOKEN: { to: [api.example.com] }", "seen")])
    after = insert(before, "ci.yml", job, section)
    old, new = (load_texts([("ci.yml", text)], job=job, given_by="--") for text in (before, after))
    learned = [one.ref.text for one in new.allow if one.ref.source == "ci.yml" and str(one.host) == "new.example.com"]
    assert learned == ["tls://new.example.com:443 GET"] * 2
    assert [one for one in new.sources if one == "preset python"] == ["preset python"]
    assert [one.name for one in new.bindings if one.name == "TOKEN"] == ["TOKEN"]
    texts = [one.ref.text for one in new.allow]
    assert all(one.ref.text in texts for one in old.allow)
    assert [one.ref.text for one in new.deny] == [one.ref.text for one in old.deny]
    assert (new.mode, len(new.bindings)) == (old.mode, len(old.bindings) + 1)
    assert after.count("# seen") == 4
    assert is_kept(before, after), after
    comments = [line.partition("#")[2].rstrip("\r") for line in before.split("\n") if "#" in line]
    assert [
        c for c in (line.partition("#")[2].rstrip("\r") for line in after.split("\n") if "#" in line) if c != " seen"
    ] == comments
    assert ("\r\n" in before) == ("\r\n" in after)
    assert after.replace("\r\n", "").count("\r") == 0
    if "\r\n" in before:
        assert after.count("\n") == after.count("\r\n")


def test_comments_stay_with_what_they_are_about() -> None:
    text = "version: 1\nallow:\n  - a.example.com\n  # about a\n\n  # about b\n  - b.example.com\n# about deny\ndeny: [c.example.com]\n"
    after = insert(text, "ci.yml", "", Section(allow=[NEW]))
    assert after == text.replace(
        "  - b.example.com\n", "  - b.example.com\n  # seen\n  - { host: new.example.com, methods: [GET] }\n"
    )


@pytest.mark.parametrize(
    "text", ["version: 1\njobs:\n  build: [a]\n", "version: 1\nallow: {a: b}\n", "- a\n", "version: 1\nuse: [nothing]\n"]
)
def test_a_file_that_is_no_policy_is_refused_and_nothing_is_changed(text: str) -> None:
    with pytest.raises(PolicyError) as caught:
        learn([run(exchange(), job="build")], text, "ci.yml")
    assert "ci.yml" in str(caught.value) + caught.value.cause


def test_learning_into_every_layout_twice_changes_nothing() -> None:
    runs = [
        run(*requests(["https://pypi.org/simple/a/", "https://files.pythonhosted.org/x", "https://n.example.com/v1/x"])),
        run(exchange("https://n.example.com/", findings=(finding(),)), job="build"),
        run(exchange("https://o.example.com/"), job="publish"),
    ]
    for text in LAYOUTS.values():
        once = learn(runs, text, "ci.yml")
        assert once.added
        twice = learn(runs, once.text, "ci.yml")
        assert (twice.text, twice.added) == (once.text, ())
