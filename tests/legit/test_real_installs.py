"""Real clients, real registries: the guard must not be noticed. Run with this machine's own network and certificates."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import NEEDS_ROOT
from tests.world.guard import ORDINARY, ROOT, lay_open, opened

CARGO = '[package]\nname = "probe"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\nitoa = "1"\n'
GO = "module probe\n\ngo 1.21\n\nrequire github.com/google/uuid v1.6.0\n"
NODE = "const https = require('https'); https.get('https://registry.npmjs.org/is-number', r => { let n = 0; r.on('data', d => n += d.length); r.on('end', () => console.log(r.statusCode, n > 100)) })"
NPX = "npm exec --yes --no-audit --no-fund --cache cache --"  # clients that are npm packages themselves
FETCH = "fetch('https://registry.npmjs.org/is-number').then(async r => console.log(r.status, (await r.text()).length > 100))"
URLLIB = "import urllib.request as u; r = u.urlopen('https://pypi.org/simple/six/'); print(r.status, len(r.read()) > 100)"
HTTPX = "import httpx; r = httpx.get('https://pypi.org/simple/six/'); print(r.status_code, len(r.content) > 100)"
HTTP2 = "import httpx; r = httpx.Client(http2=True).get('https://pypi.org/simple/six/'); print(r.status_code, r.http_version)"
JAVA = """public class Get { public static void main(String[] a) throws Exception {
  var c = (java.net.HttpURLConnection) new java.net.URL("https://repo.maven.apache.org/maven2/junit/junit/maven-metadata.xml").openConnection();
  System.out.println(c.getResponseCode()); } }"""


def pip_python() -> str:
    """An interpreter with pip that is not a shim."""
    text = "import sys; import pip; print(sys.executable)"
    for candidate in ("python3", "/usr/bin/python3"):
        done = subprocess.run([candidate, "-c", text], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.strip()
    raise AssertionError("no pip on this machine")


# name: (preset, command, what must be in the output or the name of a file that must exist)
CLIENTS: dict[str, tuple[str, list[str], str]] = {
    "pip": ("python", ["PIP", "-m", "pip", "download", "--no-cache-dir", "--disable-pip-version-check", "-d", "D", "six", "flask"], "D/six*"),
    "uv": ("python", [str(ROOT / ".tools/bin/uv"), "pip", "install", "--no-cache", "--python", sys.executable, "--target", "D", "six", "flask"], "D/six.py"),
    "npm": ("node", ["npm", "install", "--no-fund", "--cache", "cache", "is-number"], "node_modules/is-number/package.json"),
    "yarn": ("node", ["sh", "-ec", f"{NPX} yarn@1 add --no-progress --cache-folder yarn-cache is-number"], "node_modules/is-number/package.json"),
    "pnpm": ("node", ["sh", "-ec", f"{NPX} pnpm@9 add --store-dir store is-number"], "node_modules/is-number/package.json"),
    "bun": ("bun", ["sh", "-ec", f"{NPX} bun@1 add is-number"], "bun.lock*"),
    "curl": ("python", ["curl", "-sS", "-o", "out", "-w", "%{http_code}", "https://pypi.org/simple/six/"], "200"),
    "curl with HTTP/2": ("python", ["curl", "--http2", "-sS", "-o", "out", "-w", "%{http_code}", "https://pypi.org/simple/six/"], "200"),
    "urllib": ("python", [sys.executable, "-c", URLLIB], "200 True"),
    "httpx": ("python", [sys.executable, "-c", HTTPX], "200 True"),
    "httpx with HTTP/2": ("python", [sys.executable, "-c", HTTP2], "200 HTTP/"),
    "node https": ("node", ["node", "-e", NODE], "200 true"),
    "node fetch": ("node", ["node", "-e", FETCH], "200 true"),
    "cargo": ("rust", ["cargo", "fetch"], "Cargo.lock"),
    "go": ("go", ["go", "mod", "download", "-json"], "v1.6.0"),
    "maven": ("maven", ["mvn", "-q", "-B", "-Dmaven.repo.local=repo", "dependency:get", "-Dartifact=junit:junit:4.13.2"], "repo/junit/junit/4.13.2/junit-4.13.2.jar"),
    "java": ("maven", ["java", "Get.java"], "200"),
    "apt": ("debian", ["apt-get", "-o", "Dir::State::lists=LISTS", "-o", "APT::Sandbox::User=root", "update"], "lists/*Packages*"),
}  # fmt: skip
NEEDED = {"maven": "mvn", "java": "java", "npm": "npm", "yarn": "npm", "pnpm": "npm", "bun": "npm", "node https": "node", "node fetch": "node", "cargo": "cargo", "go": "go", "apt": "apt-get"}  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with the beginnings of a project in each language, anybody's to write to."""
    home = tmp_path / "home"
    (home / "src").mkdir(parents=True)
    (home / "lists" / "partial").mkdir(parents=True)
    (home / "Cargo.toml").write_text(CARGO)
    (home / "src" / "main.rs").write_text("fn main() {}\n")
    (home / "go.mod").write_text(GO)
    (home / "Get.java").write_text(JAVA)
    (home / "package.json").write_text('{"name": "probe", "version": "0.0.0"}')
    for path in [home, *home.rglob("*")]:
        path.chmod(0o777)
    lay_open(tmp_path)
    return home


def environment(home: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("CARGO_HOME", "GOPATH", "GOMODCACHE"))}
    extra = {"HOME": str(home), "GOPATH": str(home / "go"), "GOFLAGS": "-modcacherw", "GOSUMDB": "off", "GOTOOLCHAIN": "local"}
    toolchain = {
        "RUSTUP_HOME": os.environ.get("RUSTUP_HOME") or str(Path("~/.rustup").expanduser()),
        "CARGO_HOME": str(home / "cargo"),
    }
    return {**kept, **extra, **toolchain, "WORLD": str(home)}


def guarded(
    home: Path, options: list[str], command: list[str], *, user: int | None = None, timeout: float = 240
) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "ebbgate", "run", *options, "--", *command]
    if user is not None:
        import shlex

        script = opened() + f"exec setpriv --reuid {user} --regid {user} --clear-groups -- {shlex.join(line)}\n"
        line = ["unshare", "--mount", "sh", "-e", "-c", script]
    return subprocess.run(line, env=environment(home), cwd=home, capture_output=True, text=True, timeout=timeout, check=False)


def command_of(name: str, project: Path) -> tuple[str, list[str], str]:
    preset, command, wanted = CLIENTS[name]
    program = NEEDED.get(name)
    if program and not shutil.which(program):
        pytest.skip(f"NEEDS {program}: not on this machine")
    if program == "apt-get" and os.geteuid() != 0:
        pytest.skip(NEEDS_ROOT)
    return preset, [word.replace("LISTS", str(project / "lists")) if word != "PIP" else pip_python() for word in command], wanted


def assert_worked(done: subprocess.CompletedProcess[str], home: Path, wanted: str) -> None:
    assert done.returncode == 0, done.stderr[-3000:]
    assert wanted in done.stdout + done.stderr or list(home.glob(wanted)), done.stdout[-2000:]


@pytest.mark.parametrize("name", CLIENTS)
def test_the_preset_is_all_it_needs(project: Path, name: str) -> None:
    preset, command, wanted = command_of(name, project)
    done = guarded(project, ["--use", preset, "--report", str(project / "report")], command)
    assert_worked(done, project, wanted)
    assert "ebbgate: clean" in done.stderr


@pytest.mark.root
@pytest.mark.parametrize("name", ["pip", "uv", "npm", "curl", "httpx", "node https"])
def test_as_an_ordinary_user(project: Path, name: str) -> None:
    preset, command, wanted = command_of(name, project)
    done = guarded(project, ["--use", preset], command, user=ORDINARY)
    assert_worked(done, project, wanted)
    assert "ebbgate: clean" in done.stderr


@pytest.mark.parametrize("name", ["pip", "npm", "apt"])
def test_audit_learns_a_policy_under_which_the_same_command_is_clean(project: Path, name: str) -> None:
    _preset, command, wanted = command_of(name, project)
    report = project / "report"
    watched = guarded(project, ["--mode", "audit", "--report", str(report)], command)
    assert_worked(watched, project, wanted)
    suggested = project / "suggested.yml"
    shutil.copy(report / "policy.suggested.yml", suggested)
    checked = subprocess.run(
        [sys.executable, "-m", "ebbgate", "check", str(suggested)], capture_output=True, text=True, check=False
    )
    assert checked.returncode in (0, 1), checked.stderr  # 1: valid, with something to look at
    for made in ("D", "node_modules", "lists"):
        shutil.rmtree(project / made, ignore_errors=True)
    (project / "lists" / "partial").mkdir(parents=True)
    done = guarded(project, ["--policy", str(suggested)], command)
    assert_worked(done, project, wanted)
    assert "ebbgate: clean · enforce" in done.stderr
