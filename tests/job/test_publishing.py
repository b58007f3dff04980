"""Publishing from a guarded job, with the registries' own tokens: packages and commits arrive as without the guard.

Their servers are the test's, under the names that the built-in bindings speak of. The counterparts send the same tokens along in
what is published, or to a neighbour.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.job.guarded import Job
from tests.machine import Machine
from tests.machine.runner import CHECKOUT
from tests.secrets.fifty import FIFTY
from tests.secrets.samples import sample
from tests.world.guard import ROOT
from tests.world.registries import GIT, INDEX, NPM, Registries
from tests.world.served import serving

pytestmark = pytest.mark.root
TOKENS = {INDEX: sample("pypi-token"), NPM: sample("npm-token"), GIT: sample("github-actions-token")}
NAMES = {INDEX: "TWINE_PASSWORD", NPM: "NODE_AUTH_TOKEN", GIT: "GITHUB_TOKEN"}
GIVEN = {**FIFTY, **{NAMES[host]: value for host, value in TOKENS.items()}}
PYTHON, UV = sys.executable, str(ROOT / ".tools/bin/uv")
STDLIB = sysconfig.get_paths()["stdlib"]
NOISE = secrets.token_bytes(2 << 20)
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
DIRECT = dict.fromkeys(("REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"), BUNDLE)
RANDOM = "/opt/random.bin"
# Text, a program and what cannot be compressed: some megabytes, so that they are streamed. The same in both machines.
CONTENTS = f"mkdir probe; cp {STDLIB}/email/*.py {RANDOM} $(command -v bash) probe"
PYPROJECT = """[project]
name = "probe"
version = "1"
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[tool.hatch.build.targets.sdist]
include = ["probe"]
"""
DATE = "1700000000 +0000"
GIT_AS = "git -c user.name=somebody -c user.email=somebody@example.com -c init.defaultBranch=main"
COMMIT = f"{GIT_AS} init -q; git add .; GIT_AUTHOR_DATE='{DATE}' GIT_COMMITTER_DATE='{DATE}' {GIT_AS} commit -q -m first"
# As actions/checkout does it.
HEADER = 'git config http.https://github.com/.extraheader "AUTHORIZATION: basic $(printf x-access-token:%s "$GITHUB_TOKEN" | base64 -w0)"'
HELPER = "git config credential.helper '!f() { echo username=x-access-token; echo password=$GITHUB_TOKEN; }; f'"


@dataclass(frozen=True)
class Publisher:
    """One way to publish. exe: how the path ends of the program that sends. program: without which it cannot be tried.

    uninspected: what is said of the part that is not read, if there is one.
    """

    host: str
    prepare: str
    publish: str
    exe: str
    program: str = "sh"
    uninspected: str = ""


BUILD, NPMRC = f"{PYTHON} -m hatchling build >/dev/null", "echo '//registry.npmjs.org/:_authToken=${NODE_AUTH_TOKEN}' >.npmrc"
INTERPRETER, GIT_EXE, REPOSITORY = os.path.realpath(PYTHON), "/git-remote-http", "github.com/octo/demo.git"
TWINE = f"TWINE_USERNAME=__token__ {PYTHON} -m twine upload --non-interactive"
PUBLISHERS = {
    "twine": Publisher(INDEX, BUILD, f"{TWINE} dist/*", INTERPRETER),
    "uv": Publisher(INDEX, BUILD, f"UV_PUBLISH_TOKEN=$TWINE_PASSWORD {UV} publish dist/*", "/uv"),
    "npm": Publisher(NPM, NPMRC, "npm publish", "/node", "npm", "decode budget"),
    "git with a header": Publisher(GIT, f"{COMMIT}; {HEADER}", f"git push -q https://{REPOSITORY} HEAD:header", GIT_EXE),
    "git with a helper": Publisher(GIT, f"{COMMIT}; {HELPER}", f"git push -q https://{REPOSITORY} HEAD:helper", GIT_EXE),
    "git with a URL": Publisher(GIT, COMMIT, f"git push -q https://ci:$GITHUB_TOKEN@{REPOSITORY} HEAD:url", GIT_EXE),
    "git push and fetch": Publisher(
        GIT,
        f"{COMMIT}; {HEADER}; git push -q https://{REPOSITORY} HEAD:fetched",
        f"git init -q again; cd again; {HEADER}; git fetch -q https://{REPOSITORY} fetched; git checkout -q FETCH_HEAD -- probe",
        GIT_EXE,
    ),
}


class Place:
    """A machine with the registries, which has a guard or has none."""

    def __init__(self, machine: Machine, registries: Registries, job: Job | None) -> None:
        self.machine, self.registries, self.job = machine, registries, job

    def run(self, name: str, script: str, publisher: Publisher):
        """Run a script in a project of its own, with its publisher's token, in the guarded job's environment if there is one."""
        project = f"{CHECKOUT}/{name.replace(' ', '-')}"
        self.machine.run(["mkdir", project])
        self.machine.write(f"{project}/pyproject.toml", PYPROJECT)
        self.machine.write(f"{project}/package.json", '{"name": "probe", "version": "1.0.0"}')
        env = {NAMES[publisher.host]: TOKENS[publisher.host], "SOURCE_DATE_EPOCH": "1700000000"}
        command = ["bash", "-e", "-c", script]
        if self.job is None:
            return self.machine.run(command, cwd=project, env={**DIRECT, **env}, timeout=120)
        return self.job.step(command, name=name, cwd=project, env=env, timeout=120)

    def exchanges(self, step: str, awaited: Callable[[dict], bool]) -> list[dict]:
        """Those of a step, once the awaited one is recorded: a client may end before that."""
        deadline = time.monotonic() + 30
        while True:
            found = [one for one in self.job.events("Exchange") if (one["origin"]["step"] or {}).get("name") == step]
            if any(map(awaited, found)):
                return found
            assert time.monotonic() < deadline, found
            time.sleep(0.02)

    def published(self) -> dict[tuple[str, str], str]:
        """What the registries have by (host, name): hashes of packages, and of branches of a repository that lacks nothing."""
        git = ["git", "-C", str(self.registries.repositories / "octo/demo.git")]
        subprocess.run([*git, "fsck", "--strict"], check=True, capture_output=True)
        listed = subprocess.run([*git, "show-ref"], check=False, capture_output=True, text=True).stdout.splitlines()
        return {**self.registries.published, **{(GIT, line.split()[1]): line.split()[0] for line in listed}}


@contextlib.contextmanager
def place(directory: Path, *, guarded: bool, **inputs: str) -> Iterator[Place]:
    repository = directory / "octo/demo.git"
    subprocess.run(["git", "init", "-q", "--bare", str(repository)], check=True)
    registries = Registries(TOKENS, directory)
    with contextlib.ExitStack() as stack:
        machine = stack.enter_context(Machine())
        stack.enter_context(serving(machine.world, registries.handler, *TOKENS))
        machine.write(RANDOM, NOISE, user="root")
        options = {"allow": " ".join(TOKENS), "secrets": GIVEN, **inputs}
        yield Place(machine, registries, stack.enter_context(Job(machine, **options)) if guarded else None)


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("direct"), guarded=False) as one:
        yield one


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("guarded"), guarded=True) as one:
        yield one


@pytest.mark.parametrize("name", PUBLISHERS)
def test_it_arrives_as_without_the_guard(direct: Place, guarded: Place, name: str) -> None:
    publisher = PUBLISHERS[name]
    if not shutil.which(publisher.program):
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"NEEDS {publisher.program}: not on this machine")
    for one in (direct, guarded):
        one.registries.published.clear()
        before = one.published()
        done = one.run(name, f"{CONTENTS}; {publisher.prepare}; {publisher.publish}", publisher)
        assert done.code == 0, (done.stdout[-2000:], done.stderr[-3000:])
        assert before.keys() < one.published().keys()
    assert guarded.published() == direct.published()
    verdict = guarded.job.verdict()
    assert (verdict.code, verdict.report["incidents"]) == (0, []), verdict.stdout
    # Its token was seen, and was where it belongs.
    exchanges = guarded.exchanges(name, lambda one: one["method"] in ("POST", "PUT") and one["findings"])
    for one in exchanges:
        shown = {key: one[key] for key in ("method", "host", "path", "inspection", "uninspected", "error", "findings", "origin")}
        assert (one["host"], one["protocol"], one["would_deny"]) == (publisher.host, "tls", False), shown
        assert one["error"] in ("", "Client disconnected."), shown  # uv leaves once it knows the answer's status
        assert one["uninspected"] in ("", publisher.uninspected), shown
        assert {found["secret"] for found in one["findings"]} <= {NAMES[publisher.host]}, shown
        assert one["origin"]["process"]["exe"].endswith(publisher.exe), shown


@dataclass(frozen=True)
class Leak:
    """A publisher's own token in the wrong place. place: where it is seen. contents: what is published beside it."""

    publisher: str
    prepare: str
    place: str
    publish: str = ""
    contents: str = CONTENTS


LEAKS = {
    "in a wheel": Leak("twine", 'echo "password = $TWINE_PASSWORD" >probe/pypirc.txt', "body"),
    "in a package of npm": Leak("npm", 'echo "token=$NODE_AUTH_TOKEN" >probe.txt', "body", contents=":"),
    "in a commit": Leak("git with a helper", 'echo "$GITHUB_TOKEN" >probe/token.txt', "body"),
    "in a commit's message": Leak("git with a helper", ":", "body", f'{GIT_AS} commit -q --allow-empty -m "$GITHUB_TOKEN"; git push -q https://{REPOSITORY} HEAD:x'),
    "at another registry": Leak("twine", ":", "header:authorization", f"{TWINE} --repository-url https://{NPM}/legacy/ dist/*.whl"),
    "with another name": Leak("npm", ":", "header:x-token", f'curl -sS --fail -H "X-Token: $NODE_AUTH_TOKEN" https://{NPM}/probe'),
}  # fmt: skip


@pytest.fixture(scope="module")
def leaking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("leaking"), guarded=True, on_exfiltration="fail") as one:
        yield one


@pytest.mark.parametrize("name", LEAKS)
def test_the_same_token_in_the_wrong_place_is_cut(leaking: Place, name: str) -> None:
    leak = LEAKS[name]
    publisher = PUBLISHERS[leak.publisher]
    if not shutil.which(publisher.program):
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"NEEDS {publisher.program}: not on this machine")
    before = leaking.published()
    leaking.registries.offered.clear()
    script = f"{leak.contents}; {leak.prepare}; {publisher.prepare}; {leak.publish or publisher.publish}"
    assert leaking.run(f"token {name}", script, publisher).code != 0
    assert leaking.published() == before
    assert {host for host, value in leaking.registries.offered if value == TOKENS[publisher.host]} <= {publisher.host}
    cut = [one for one in leaking.exchanges(f"token {name}", lambda one: one["blocked"]) if one["blocked"]]
    assert {(found["secret"], found["place"]) for one in cut for found in one["findings"] if not found["permitted"]} == {
        (NAMES[publisher.host], leak.place)
    }


def test_a_token_in_a_large_package_of_npm_is_not_seen_but_the_package_is_said_to_be_read_in_part(leaking: Place) -> None:
    """Base64 of a compressed stream that is longer than a window is undone up to the window's end."""
    publisher = PUBLISHERS["npm"]
    if not shutil.which(publisher.program):
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"NEEDS {publisher.program}: not on this machine")
    script = f'{CONTENTS}; echo "$NODE_AUTH_TOKEN" >probe/z.txt; {publisher.prepare}; npm publish'
    assert leaking.run("large package", script, publisher).code == 0
    sent = leaking.exchanges("large package", lambda one: one["method"] == "PUT")[-1]
    assert (sent["inspection"], sent["uninspected"], sent["blocked"]) == ("partial", "decode budget", False)
