"""Real toolchains in a guarded job, against their registries: as the runner's user, with the variables that arming gave alone.

Every cache is empty, so traffic is real, and all of it was read. What stands beside those variables is the machine's image: where
its toolchains are.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from tests.job.guarded import Job
from tests.legit.test_real_installs import CARGO, FETCH, GO, HTTPX, JAVA, NODE, URLLIB, pip_python
from tests.machine import Machine
from tests.machine.machine import PATH
from tests.machine.runner import CHECKOUT
from tests.secrets.fifty import FIFTY
from tests.world.guard import ROOT
from tests.world.internet import MIRROR
from tests.world.served import serving

pytestmark = pytest.mark.root
SECONDS = 150  # for any one tool, on a machine that has much else to do
GIT_PORT = 8443
GIT_HOST = f"mirror.example.com:{GIT_PORT}"
PIP, PYTHON, UV = pip_python(), sys.executable, str(ROOT / ".tools/bin/uv")  # PIP: not of a virtual environment; it has pip
JAVA_CLIENT = """import java.net.URI; import java.net.http.*;
public class Ask { public static void main(String[] a) throws Exception {
  var r = HttpRequest.newBuilder(URI.create("https://repo.maven.apache.org/maven2/junit/junit/maven-metadata.xml")).build();
  System.out.println(HttpClient.newHttpClient().send(r, HttpResponse.BodyHandlers.ofString()).statusCode()); } }"""
REQUESTS = "import requests; r = requests.get('https://pypi.org/simple/six/'); print(r.status_code, len(r.content) > 100)"
POM = """<project><modelVersion>4.0.0</modelVersion><groupId>probe</groupId><artifactId>probe</artifactId><version>1</version>
<dependencies><dependency><groupId>junit</groupId><artifactId>junit</artifactId><version>4.13.2</version></dependency></dependencies>
<build><sourceDirectory>nowhere</sourceDirectory></build></project>"""
RUST = 'fn main() { println!("built {}", itoa::Buffer::new().format(1)); }\n'
GO_MAIN = 'package main\n\nimport "github.com/google/uuid"\n\nfunc main() { println(uuid.Nil.String()) }\n'
INSTALL = "sudo apt-get -qq update; sudo apt-get -qq -y --no-install-recommends install --reinstall {0} >/dev/null; dpkg -s {0}"
TLS_SOURCES = "sudo sed -i s,http:,https:, /etc/apt/sources.list.d/*.sources"


@dataclass(frozen=True)
class Client:
    """One tool. use: the preset, which must be all it needs; "" for git's host. exe: how the path ends of the only program that may be seen.

    files: of the project, written first. program: without which it cannot be tried.
    """

    use: str
    script: str
    wanted: str
    exe: str
    program: str = "sh"
    files: dict[str, str] = field(default_factory=dict)
    protocol: str = "tls"


def own(python: str) -> str:
    """The program that an interpreter's process shows."""
    return os.path.realpath(python)


CLIENTS = {
    "pip": Client("python", f"{PIP} -m pip install --target D six flask && ls D", "six.py", own(PIP)),
    "requests": Client("python", f'{PIP} -m pip install -q --target D requests; PYTHONPATH=D {PIP} -c "{REQUESTS}"', "200 True", own(PIP)),
    "httpx": Client("python", f'{PYTHON} -c "{HTTPX}"', "200 True", own(PYTHON)),
    "urllib": Client("python", f'{PYTHON} -c "{URLLIB}"', "200 True", own(PYTHON)),
    "uv": Client("python", f"{UV} pip install --python {PYTHON} --target D six flask; ls D", "six.py", "/uv"),
    "curl": Client("python", "curl -sS -o out -w '%{http_code}' https://pypi.org/simple/six/", "200", "/curl"),
    "git": Client("", f"git clone -q https://{GIT_HOST}/probe.git && git -C probe log", "first commit", "/git-remote-http", "git"),
    "npm": Client("node", "npm install is-number express && ls node_modules", "is-number", "/node", "npm", {"package.json": "{}"}),
    "node https": Client("node", f'node -e "{NODE}"', "200 true", "/node", "node"),
    "node fetch": Client("node", f'node -e "{FETCH}"', "200 true", "/node", "node"),
    "apt": Client("debian", INSTALL.format("hello"), "install ok installed", "/apt/methods/http", "apt-get", protocol="http"),
    "apt over TLS": Client("debian", f"{TLS_SOURCES}; {INSTALL.format('figlet')}", "install ok installed", "/apt/methods/http", "apt-get"),
    "go": Client("go", "go mod tidy && go mod verify", "all modules verified", "/bin/go", "go", {"go.mod": GO, "main.go": GO_MAIN}),
    "cargo": Client("rust", "cargo run -q", "built 1", "/bin/cargo", "cargo", {"Cargo.toml": CARGO, "src/main.rs": RUST}),
    "maven": Client("maven", "mvn -q -B compile; ls ~/.m2/repository/junit/junit/4.13.2", "junit-4.13.2.jar", "/bin/java", "mvn", {"pom.xml": POM}),
    "Java's URLConnection": Client("maven", "java Get.java", "200", "/bin/java", "javac", {"Get.java": JAVA}),
    "npm under sudo": Client("node", "sudo npm install -g is-number", "added 1 package", "/node", "npm"),
    "pip under sudo": Client("python", f"sudo {PIP} -m pip install --target /opt/D six; ls /opt/D", "six.py", own(PIP)),
    "Java under sudo": Client("maven", "sudo java Get.java", "200", "/bin/java", "javac", {"Get.java": JAVA}),
    "Java's HttpClient": Client("maven", "java Ask.java", "200", "/bin/java", "javac", {"Ask.java": JAVA_CLIENT}),
}  # fmt: skip


class Jobs:
    """One guarded job at a time, with one preset, on a fresh machine that reaches the registries; kept while it is asked for."""

    def __init__(self, directory: Path) -> None:
        self._use: str | None = None
        self._stack, self._directory = contextlib.ExitStack(), directory

    def under(self, use: str) -> Job:
        """Without a preset: with the host that a git repository is on."""
        if use != self._use:
            self.end()
            machine = self._stack.enter_context(Machine(uplink=True))
            # no file of the image says which authorities to trust
            machine.run(["rm", "-f", "/etc/pip.conf", "/etc/npmrc", "/usr/etc/npmrc", "/root/.npmrc"], user="root")
            if not use:
                files = functools.partial(SimpleHTTPRequestHandler, directory=str(repository(self._directory)))
                self._stack.enter_context(serving(machine.world, files, "mirror.example.com", address=MIRROR, port=GIT_PORT))
            self._job = self._stack.enter_context(Job(machine, use=use, allow="" if use else GIT_HOST, secrets=FIFTY))
            self._use = use
        return self._job

    def end(self) -> None:
        self._use = None
        self._stack.close()


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    one = Jobs(tmp_path_factory.mktemp("git"))
    yield one
    one.end()


def repository(directory: Path) -> Path:
    """A git repository as plain files."""
    run = functools.partial(subprocess.run, check=True, cwd=directory, capture_output=True)
    who = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.com")
    run(["git", "init", "-q", "source"])
    run(["git", "-C", "source", *who, "commit", "-q", "--allow-empty", "-m", "first commit"])
    run(["git", "clone", "-q", "--bare", "source", "served/probe.git"])
    run(["git", "-C", "served/probe.git", "update-server-info"])
    return directory / "served"


def image_path() -> str:
    """PATH as an image with these toolchains sets it. Cargo is rustup's stand-in on some, which wants a home of its own."""
    places = [os.path.dirname(shutil.which("go") or "")]
    if cargo := shutil.which("cargo"):
        which = ["rustup", "which", "cargo"] if shutil.which("rustup") else ["echo", cargo]
        found = subprocess.run(which, capture_output=True, text=True, check=True)
        places.append(os.path.dirname(found.stdout.strip()))
    return ":".join([*filter(None, places), PATH])


@pytest.mark.parametrize("name", sorted(CLIENTS, key=lambda name: CLIENTS[name].use))
def test_it_works_and_all_of_it_was_read(jobs: Jobs, name: str) -> None:
    client = CLIENTS[name]
    if not shutil.which(client.program):
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"NEEDS {client.program}: not on this machine")
    job = jobs.under(client.use)
    machine = job.machine
    known, project = len(job.events("Exchange")), f"{CHECKOUT}/{name.replace(' ', '-')}"
    machine.run(["mkdir", "-p", f"{project}/src"])
    for path, text in client.files.items():
        machine.write(f"{project}/{path}", text)
    env = {"PATH": image_path()}
    done = job.step(["bash", "-e", "-c", client.script], name=f"with {name}", env=env, cwd=project, timeout=SECONDS)
    verdict = job.verdict()
    assert done.code == 0, (done.stderr[-3000:], verdict.stdout[-3000:])
    assert client.wanted in done.stdout, done.stdout[-2000:]
    assert verdict.code == 0, verdict.stdout
    assert verdict.report["incidents"] == []
    # uv opens connections to spare, and gives up some of them before a request
    exchanges = [one for one in job.events("Exchange")[known:] if one["bytes_out"]]
    assert exchanges
    for one in exchanges:
        shown = {key: one[key] for key in ("host", "path", "protocol", "inspection", "uninspected", "error", "origin")}
        seen = one["protocol"], one["inspection"], one["error"], one["would_deny"]
        assert seen == (client.protocol, "full", "", False), shown
        assert one["origin"]["process"]["exe"].endswith(client.exe), shown
        assert one["origin"]["step"]["name"] == f"with {name}", shown
