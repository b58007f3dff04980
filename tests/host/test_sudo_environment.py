"""The variables that sudo adds: with the real sudo, on a machine in namespaces."""

from __future__ import annotations

from pathlib import Path

import pytest

from ebbgate.host import sudo_environment
from tests.machine import Machine

pytestmark = pytest.mark.root
FILE = Path("/run/sudo.env")
SHOWN = ["sudo", "sh", "-c", 'echo "$EXAMPLE|$OTHER"']


def install(machine: Machine, **variables: str) -> str:
    return machine.inside(lambda: sudo_environment.install(variables, FILE))


def test_sudo_sets_them_whole_and_a_caller_has_no_say(machine: Machine) -> None:
    assert install(machine, EXAMPLE="-Da=/b -Dc=d", OTHER="/run/x.pem") == ""
    assert machine.run(SHOWN, env={"EXAMPLE": "mine"}).stdout == "-Da=/b -Dc=d|/run/x.pem\n"
    machine.inside(sudo_environment.remove)
    machine.inside(sudo_environment.remove)
    assert machine.run(SHOWN, env={"EXAMPLE": "mine"}).stdout == "|\n"


def test_a_guard_that_left_without_a_word_leaves_a_sudo_that_works(machine: Machine) -> None:
    assert install(machine, EXAMPLE="x") == ""
    machine.inside(FILE.unlink)
    assert machine.run(SHOWN).stdout == "|\n"


def test_a_machine_that_has_such_a_file_keeps_it(machine: Machine) -> None:
    machine.write("/etc/own.env", "OTHER=own\n", user="root")
    machine.write("/etc/sudoers.d/own", "Defaults env_file=/etc/own.env\n", mode=0o440, user="root")
    assert install(machine, EXAMPLE="x") == "sudoers names an env_file already"
    assert machine.run(SHOWN).stdout == "|own\n"


def test_a_sudo_that_does_not_understand_it_is_left_alone(machine: Machine) -> None:
    machine.inside(lambda: Path("/usr/sbin/visudo").unlink())
    machine.write("/usr/sbin/visudo", "#!/bin/sh\nexit 1\n", mode=0o755, user="root")  # stands for sudo-rs
    assert install(machine, EXAMPLE="x") == "this sudo knows no env_file"
    assert not machine.inside(lambda: Path("/", sudo_environment.DROP_IN).exists())
    assert machine.run(SHOWN).stdout == "|\n"
