"""An exception in any hook of any addon: the request is denied, the verdict is broken, and no text of it is recorded."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from ebbgate.gate import boundary, engine
from ebbgate.gate.process import ADDONS
from tests.attacks.programs import PYTHON, python, send_tcp
from tests.world import World
from tests.world.guard import ROOT, lay_open
from tests.world.internet import API, MIRROR

HOOKS = [(addon.__module__, addon.__name__, hook) for addon in ADDONS for hook in boundary.HOOKS if hasattr(addon, hook)]
POLICY = """
version: 1
allow:
  - api.example.com
  - { host: db.example.com, port: [5432, 5433], protocol: tcp }
  - { host: files.example.net, tls: passthrough }
"""
_HTTPS = ["curl", "-sS", "-d", "payload", "https://api.example.com/"]
_OPAQUE = python(
    "import socket\n"
    "s = socket.create_connection(('db.example.com', 5432), timeout=5)\n"
    "s.sendall(b'payload')\ns.settimeout(5)\nprint(s.recv(100))"
)
_WEBSOCKET = [
    PYTHON,
    "-c",
    "import websockets.sync.client as c\n"
    "with c.connect('wss://api.example.com:443/ws') as s:\n"
    "    s.send('payload')\n    print(s.recv(timeout=5))",
]
_HANGS_UP = ["sh", "-c", "curl -sS --cacert $WORLD/ca.pem https://api.example.com/"]
# What makes each hook run, if not an ordinary request.
TRIGGERS = {
    "tls_failed_client": _HANGS_UP,
    "websocket_start": _WEBSOCKET,
    "websocket_message": _WEBSOCKET,
    "websocket_end": _WEBSOCKET,
    "tcp_start": _OPAQUE,
    "tcp_message": _OPAQUE,
    "tcp_end": _OPAQUE,
    "tcp_error": send_tcp("db.example.com", 5433),
    "error": ["curl", "-sS", "-d", "payload", "https://gone.example.com/"],
    "http_connect": ["curl", "-sS", "--proxytunnel", "-x", "http://203.0.113.10:80", "https://api.example.com/"],
}
AFTERWARDS = {"client_disconnected", "response", "websocket_end", "tcp_end", "error", "tls_failed_client", "tcp_error"}
RESPONDING = {"responseheaders", "websocket_start", "websocket_message"}  # the request itself had been allowed


def broken_copy(tmp_path: Path, module: str, text: str) -> list[str]:
    """A copy of the package with text appended to a module; the start of a command line that runs it."""
    shutil.copytree(ROOT / "src" / "ebbgate", tmp_path / "ebbgate", ignore=shutil.ignore_patterns("__pycache__"))
    file = tmp_path / Path(*module.split(".")).with_suffix(".py")
    file.write_text(file.read_text() + text)
    lay_open(tmp_path)
    start = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from ebbgate.cli.main import run; run()"
    return [sys.executable, "-c", start]


@pytest.mark.parametrize(("module", "addon", "hook"), HOOKS, ids=[f"{addon}.{hook}" for _module, addon, hook in HOOKS])
def test_an_exception_in_a_hook_denies(world: World, tmp_path: Path, module: str, addon: str, hook: str) -> None:
    text = f"\n\ndef _boom(self, data):\n    raise RuntimeError('text-of-the-exception')\n\n{addon}.{hook} = _boom\n"
    program = broken_copy(tmp_path, module, text)
    world.names["gone.example.com"] = ("203.0.113.99",)
    policy = world.directory / "faults.yml"
    policy.write_text(POLICY.replace("- api", "- gone.example.com\n  - api"))
    outcome = world.guard.run(["--policy", str(policy)], TRIGGERS.get(hook, _HTTPS), program=program, timeout=60)
    assert outcome.code == 93, outcome.stderr
    assert "text-of-the-exception" not in outcome.everything_written().decode()
    assert f"{addon} failed in {hook}: RuntimeError" in outcome.stderr
    if hook not in AFTERWARDS:
        assert outcome.stdout == "" or "got POST" not in outcome.stdout
        assert "ack 7" not in outcome.stdout
    if hook not in AFTERWARDS | RESPONDING:
        assert b"payload" not in world.received(API, "2001:db8::10", MIRROR)


def test_an_exception_in_the_resolver_answers_nothing(world: World, tmp_path: Path) -> None:
    program = broken_copy(
        tmp_path, "ebbgate.gate.resolver", "\n\ndef _boom(*_):\n    raise RuntimeError\n\nResolver._decide = _boom\n"
    )
    outcome = world.guard.run(
        ["--allow", "api.example.com"], ["curl", "-sS", "--max-time", "3", "https://api.example.com/"], program=program
    )
    assert outcome.code == 93
    assert world.connections == []
    assert world.questions == []


def test_an_exception_in_the_decision_denies(world: World, tmp_path: Path) -> None:
    program = broken_copy(tmp_path, "ebbgate.policy.decide", "\n\ndef _boom(*_):\n    raise RuntimeError\n\n_decide = _boom\n")
    outcome = world.guard.run(["--allow", "api.example.com"], _HTTPS, program=program)
    assert outcome.code in (90, 93)
    assert world.connections == []
    assert world.questions == []


def test_an_exception_in_the_scanner_denies(world: World, tmp_path: Path) -> None:
    text = "\n\ndef _boom(*_, **__):\n    raise RuntimeError\n\nStreamScan.feed = _boom\n"
    program = broken_copy(tmp_path, "ebbgate.secrets.scanner", text)
    command = ["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' a | curl -sS -T - https://api.example.com/"]
    outcome = world.guard.run(["--allow", "api.example.com"], command, program=program)
    assert outcome.code == 93, outcome.stderr
    assert b"aaaaaa" not in world.received(API, "2001:db8::10")


def test_an_exception_in_the_warden_ends_the_command(world: World, tmp_path: Path) -> None:
    text = "\n\ndef _boom(*_, **__):\n    raise RuntimeError\n\nRun._record = _boom\n"
    program = broken_copy(tmp_path, "ebbgate.warden.run", text)
    outcome = world.guard.run(
        ["--allow", "api.example.com"], ["sh", "-c", "curl -sS https://api.example.com/; sleep 60"], program=program, timeout=40
    )
    assert outcome.code == 93, outcome.stderr


def test_a_report_that_cannot_be_rendered_does_not_look_clean(world: World, tmp_path: Path) -> None:
    program = broken_copy(
        tmp_path, "ebbgate.report.terminal", "\n\ndef _boom(*_):\n    raise RuntimeError\n\n_destinations = _boom\n"
    )
    outcome = world.guard.run([], ["true"], program=program)
    assert outcome.code == 93
    assert "Traceback" not in outcome.stderr


def test_a_connection_whose_layers_fail_is_ended() -> None:
    """mitmproxy logs the exception and feeds the layers on, in whatever state they are in."""
    from mitmproxy.connection import Client
    from mitmproxy.options import Options
    from mitmproxy.proxy import events
    from mitmproxy.proxy.context import Context

    client = Client(peername=("192.0.2.1", 1), sockname=("192.0.2.2", 2))
    crashes: list[str] = []
    top = engine._Top(Context(client, Options()), lambda client_id, _problem: crashes.append(client_id))
    top._next = None  # type: ignore[assignment]
    for event in (events.Start(), events.DataReceived(client, b"more")):
        assert list(top.handle_event(event)) == []
    assert crashes == [client.id]
