"""``ebbgate learn`` as a program: whole or not at all, and again without effect."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ebbgate.events.journal import Journal
from tests.policy.journals import exchange, finding, run

FIRST = run(exchange("https://a.example.com/x"), exchange("https://pastebin.com/x"), job="build")
OTHER = run(exchange("https://b.example.com/y", "PUT", findings=(finding(permitted=False),)))


def journal(directory: Path, name: str, one) -> Path:
    (directory / name).mkdir()
    with Journal((directory / name / "events.jsonl").open("w")) as kept:
        for event in one.events:
            kept.append(event)
    return directory / name


def ebbgate(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "ebbgate", *map(str, arguments)], capture_output=True, text=True, check=False)


def test_without_a_file_the_policy_is_printed_and_the_rest_is_said_beside_it(tmp_path: Path) -> None:
    done = ebbgate("learn", journal(tmp_path, "1", FIRST), journal(tmp_path, "2", OTHER))
    assert done.returncode == 0, done.stderr
    assert "host: a.example.com" in done.stdout
    assert "tls://pastebin.com:443 GET: a paste site" in done.stderr
    assert "tls://b.example.com:443 PUT: it was sent the secret TOKEN" in done.stderr
    assert "pastebin" not in done.stdout


def test_a_new_file_then_the_same_again_then_a_replay(tmp_path: Path) -> None:
    one, file = journal(tmp_path, "1", FIRST), tmp_path / "ci.yml"
    assert ebbgate("learn", one, "--into", file).returncode == 0
    written, began = file.read_bytes(), file.stat().st_mtime_ns
    again = ebbgate("learn", one, "--into", file)
    assert (again.returncode, file.read_bytes(), file.stat().st_mtime_ns) == (0, written, began)
    assert "nothing to learn" in again.stderr
    assert ebbgate("check", file).returncode == 0
    replayed = ebbgate("replay", one, "--policy", file)
    assert replayed.returncode == 90
    assert "would be denied:\n  1x tls://pastebin.com:443 GET /x · no-rule · step build · curl\n" in replayed.stdout
    assert "would be allowed:\n  1x tls://a.example.com:443 GET /x" in replayed.stdout
    assert "pastebin" not in ebbgate("replay", one, "--policy", file, "--changed").stdout
    assert sorted(each.name for each in tmp_path.iterdir()) == ["1", "ci.yml"]


def test_mode_byte_order_mark_and_link_stay(tmp_path: Path) -> None:
    file, link = tmp_path / "ci.yml", tmp_path / "link.yml"
    file.write_bytes(b"\xef\xbb\xbfversion: 1\r\n# mine\r\n")
    file.chmod(0o640)
    link.symlink_to(file)
    assert ebbgate("learn", journal(tmp_path, "1", FIRST), "--into", link).returncode == 0
    assert link.is_symlink()
    assert file.stat().st_mode & 0o777 == 0o640
    assert file.read_bytes().startswith(b"\xef\xbb\xbfversion: 1\r\n# mine\r\njobs:\r\n")


@pytest.mark.parametrize("text", ["version: 1\nallow: [a..b]\n", "version: 1\njobs: [a]\n", "version: 2\n", "x: &a [*a]\n"])
def test_a_broken_file_stays_as_it_is(tmp_path: Path, text: str) -> None:
    file = tmp_path / "ci.yml"
    file.write_text(text)
    done = ebbgate("learn", journal(tmp_path, "1", FIRST), "--into", file)
    assert (done.returncode, file.read_text(), done.stdout) == (2, text, "")
    assert f"{file}:" in done.stderr
    assert sorted(each.name for each in tmp_path.iterdir()) == ["1", "ci.yml"]


@pytest.mark.parametrize("command", [["learn"], ["replay", "--policy", "/dev/null"]])
def test_a_broken_journal_is_named_with_its_line(tmp_path: Path, command: list[str]) -> None:
    one = journal(tmp_path, "1", FIRST) / "events.jsonl"
    one.write_text(one.read_text()[:-30])
    policy = tmp_path / "p.yml"
    policy.write_text("version: 1\n")
    done = ebbgate(command[0], one, *(["--policy", str(policy)] if command[0] == "replay" else []))
    assert done.returncode == 2
    assert f"{one}:{len(FIRST.events)}: cut off" in done.stderr


def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    done = ebbgate("learn", journal(tmp_path, "1", FIRST), "--into", "/proc/version")
    assert done.returncode in (2, 3)
    assert "Traceback" not in done.stderr
