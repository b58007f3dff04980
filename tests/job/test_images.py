"""Images to and from a registry that wants a password: by a real Docker's daemon in a guarded job, unread and read."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ebbgate.gate.job_rules import CONTAINER
from tests.job.guarded import Job
from tests.machine import Machine, start_docker
from tests.machine.runner import CHECKOUT
from tests.secrets.fifty import FIFTY
from tests.world.images import HOST, USER, image_registry

pytestmark = pytest.mark.root
PASSWORD = secrets.token_urlsafe(24)
IMAGE = f"{HOST}/octo/demo"
POLICY = f"""version: 1
inspect-containers: {{0}}
allow: [{HOST}]
secrets:
  REGISTRY_PASSWORD: {{{{ to: [{HOST}], in: [authorization] }}}}
"""
LOGIN = f'docker login -u {USER} --password-stdin {HOST} <<<"$REGISTRY_PASSWORD"'
STDLIB = sysconfig.get_paths()["stdlib"]
# The daemon reads it for each registry anew; what the system trusts it read when it started.
TRUST = f'sudo mkdir -p /etc/docker/certs.d/{HOST}; sudo cp "$NODE_EXTRA_CA_CERTS" /etc/docker/certs.d/{HOST}/ca.crt'
PULLED = f"""{LOGIN}
docker build -q -t {IMAGE}:1 .
before=$(docker inspect -f '{{{{.Id}}}}' {IMAGE}:1)
docker push {IMAGE}:1
docker rmi -f {IMAGE}:1 curl
docker pull {IMAGE}:1
test "$before" = "$(docker inspect -f '{{{{.Id}}}}' {IMAGE}:1)"
docker run --rm --network none {IMAGE}:1 sh -c 'cat /contents/*' | sha256sum
cat contents/* | sha256sum
docker logout {HOST}
"""


@contextlib.contextmanager
def guarded(directory: Path, *, read: bool, **inputs: str) -> Iterator[Job]:
    """A job on a machine with a daemon, beside a registry."""
    with Machine() as machine, image_registry(machine.world, directory, PASSWORD):
        start_docker(machine)
        for name, data in (("random", secrets.token_bytes(2 << 20)), ("program", Path(shutil.which("busybox")).read_bytes())):
            machine.write(f"{CHECKOUT}/contents/{name}", data)
        for path in Path(STDLIB, "asyncio").glob("*.py"):
            machine.write(f"{CHECKOUT}/contents/{path.name}", path.read_bytes())
        machine.write(f"{CHECKOUT}/Dockerfile", "FROM curl\nCOPY contents /contents\n")
        given = {**FIFTY, "REGISTRY_PASSWORD": PASSWORD}
        with Job(machine, policy=POLICY.format(str(read).lower()), secrets=given, **inputs) as job:
            yield job


def run(job: Job, script: str):
    return job.step(["bash", "-e", "-c", script], name="images", env={"REGISTRY_PASSWORD": PASSWORD}, timeout=120)


def sent(job: Job, awaited: Callable[[dict], bool]) -> list[dict]:
    """Exchanges, once the awaited one is recorded: of what is not read that is when its connection ends."""
    deadline = time.monotonic() + 60
    while not any(map(awaited, found := job.events("Exchange"))):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


@pytest.mark.parametrize("read", [False, True], ids=["unread", "read"])
def test_an_image_is_pushed_and_pulled(tmp_path: Path, read: bool) -> None:
    with guarded(tmp_path, read=read) as job:
        done = run(job, f"{TRUST}\n{PULLED}" if read else PULLED)
        verdict = job.verdict()
        assert done.code == 0, (done.stdout[-2000:], done.stderr[-3000:], verdict.stdout[-2000:])
        lines = done.stdout.splitlines()
        sums = [line.split()[0] for line in lines if line.endswith("  -")]
        assert len(sums) == 2
        assert len(set(sums)) == 1
        assert (verdict.code, verdict.report["incidents"]) == (0, []), verdict.stdout
        exchanges = sent(job, lambda one: one["bytes_out"] > 1 << 20)
        for one in exchanges:
            seen = one["host"], one["protocol"], one["error"], one["would_deny"], one["origin"]["container"]["id"]
            assert seen == (HOST, "tls", "", False, "runtime"), one
            assert one["uninspected"] in (("", "decode budget") if read else (CONTAINER,)), one
        assert read is any(found["secret"] == "REGISTRY_PASSWORD" for one in exchanges for found in one["findings"])
        assert read is any(one["method"] == "PATCH" for one in exchanges)


def test_a_password_in_a_layer_is_cut(tmp_path: Path) -> None:
    with guarded(tmp_path, read=True, on_exfiltration="fail") as job:
        job.machine.write(f"{CHECKOUT}/contents/token", PASSWORD)
        assert run(job, f"{TRUST}\n{LOGIN}\ndocker build -q -t {IMAGE}:2 .").code == 0
        pushing = job.begin(["docker", "push", "-q", f"{IMAGE}:2"])  # the daemon tries again, for minutes
        try:
            cut = [one for one in sent(job, lambda one: one["blocked"]) if one["blocked"]]
            assert pushing.poll() is None
        finally:
            pushing.kill()
            pushing.wait()
        found = [found for one in cut for found in one["findings"] if not found["permitted"]]
        assert {(one["secret"], one["place"]) for one in found} == {("REGISTRY_PASSWORD", "body")}
        assert job.verdict().code == 91
        assert not list(tmp_path.glob("storage/**/tags/2"))
