"""The run's authority in the machine's trust store: real programs, on a machine of the test's own or on a tree."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import trustme

from ebbgate.errors import IntegrityError, PlatformError
from ebbgate.host import system_trust
from tests.machine import Machine

ANCHORS = "/usr/local/share/ca-certificates"
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
_PROGRAM = """
import json, sys
from dataclasses import asdict
from ebbgate.host import system_trust
pem = sys.stdin.buffer.read()
result = getattr(system_trust, sys.argv[1])(*([pem] if sys.argv[1] != "remove" else []))
print(json.dumps(asdict(result) if sys.argv[1] == "install" else result))
"""


def authority() -> trustme.CA:
    return trustme.CA(organization_name="ebbgate test")


def call(machine: Machine, what: str, pem: bytes = b"") -> dict:
    done = machine.run([machine.python, "-I", "-c", _PROGRAM, what], user="root", input=pem, cwd="/", timeout=120)
    assert done.code == 0, done.stderr
    return json.loads(done.stdout)


def java_aliases(machine: Machine) -> str:
    return machine.run(["keytool", "-list", "-keystore", "/etc/ssl/certs/java/cacerts", "-storepass", "changeit"]).stdout


@pytest.mark.root
def test_debian(machine: Machine) -> None:
    first, second = authority(), authority()
    before = machine.read(BUNDLE)
    installed = call(machine, "install", first.cert_pem.bytes())
    assert installed["anchor"].startswith(f"{ANCHORS}/ebbgate-")
    assert (installed["bundle"], installed["by"]) == (BUNDLE, "/usr/sbin/update-ca-certificates")
    assert call(machine, "install", first.cert_pem.bytes()) == installed
    issued = first.issue_cert("a.example.com")
    machine.write("/tmp/leaf.pem", issued.cert_chain_pems[0].bytes())
    for store in (["-CAfile", BUNDLE], ["-no-CAfile", "-no-CAstore", "-CApath", "/etc/ssl/certs"]):
        assert machine.run(["openssl", "verify", *store, "/tmp/leaf.pem"], cwd="/").code == 0, store
    # The next run's authority takes its place everywhere: also where programs look at names alone.
    call(machine, "install", second.cert_pem.bytes())
    machine.write("/tmp/next.pem", second.issue_cert("a.example.com").cert_chain_pems[0].bytes())
    for store in (["-CAfile", BUNDLE], ["-no-CAfile", "-no-CAstore", "-CApath", "/etc/ssl/certs"]):
        assert machine.run(["openssl", "verify", *store, "/tmp/next.pem"], cwd="/").code == 0, store
        assert machine.run(["openssl", "verify", *store, "/tmp/leaf.pem"], cwd="/").code != 0, store
    assert call(machine, "remove") is True
    assert call(machine, "remove") is False
    assert "ebbgate" not in machine.sh("ls /etc/ssl/certs").stdout
    assert sorted(machine.read(BUNDLE).split()) == sorted(before.split())


@pytest.mark.root
@pytest.mark.skipif(
    not shutil.which("keytool") or not Path("/etc/ca-certificates/update.d/jks-keystore").exists(),
    reason="NEEDS JAVA: apt-get install ca-certificates-java default-jre-headless",
)
def test_javas_store_follows(machine: Machine) -> None:
    first, second = authority(), authority()
    call(machine, "install", first.cert_pem.bytes())
    with_first = java_aliases(machine)
    assert "ebbgate" in with_first
    call(machine, "install", second.cert_pem.bytes())
    lines = [text.splitlines() for text in (with_first, java_aliases(machine))]
    prints = [next(text[at + 1] for at, line in enumerate(text) if "ebbgate" in line) for text in lines]
    assert prints[0] != prints[1]
    call(machine, "remove")
    assert "ebbgate" not in java_aliases(machine)


@pytest.mark.root
def test_a_program_that_fails_or_is_missing_is_made_up_for(machine: Machine) -> None:
    pem = authority().cert_pem.bytes()
    for script in ("#!/bin/sh\nexit 1\n", "#!/bin/sh\nexit 0\n", None):
        if script is None:
            machine.sh("rm /usr/sbin/update-ca-certificates", user="root", cwd="/")
        else:
            machine.write("/usr/sbin/update-ca-certificates", script, mode=0o755, user="root")
        assert call(machine, "install", pem)["by"] == "appended", script
        assert machine.read(BUNDLE).count(pem.decode()) == 1
        assert call(machine, "remove") is True
        assert pem.decode() not in machine.read(BUNDLE)


@pytest.mark.root
def test_programs_in_writable_places_are_not_run(machine: Machine) -> None:
    """update-ca-certificates calls openssl by its bare name; hosted images let everybody write /usr/local/bin."""
    machine.sh("chmod 777 /usr/local/bin", user="root", cwd="/")
    machine.write("/usr/local/bin/openssl", "#!/bin/sh\ntouch /run/root-was-here\n", mode=0o755)
    machine.write("/usr/local/bin/mktemp", "#!/bin/sh\ntouch /run/root-was-here\n", mode=0o755)
    call(machine, "install", authority().cert_pem.bytes())
    assert machine.sh("ls /run", user="root").stdout.count("root-was-here") == 0


def tree(root: Path, anchors: str, bundle: str, *, program: str = "") -> Path:
    (root / anchors).mkdir(parents=True)
    (root / bundle).parent.mkdir(parents=True, exist_ok=True)
    (root / bundle).write_bytes(authority().cert_pem.bytes())
    if program:
        (root / program).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy("/usr/sbin/update-ca-certificates", root / program)
    return root


@pytest.mark.skipif(not Path("/usr/sbin/update-ca-certificates").exists(), reason="NEEDS DEBIAN: ca-certificates")
def test_debians_program_on_a_tree(tmp_path: Path) -> None:
    root = tree(tmp_path, "usr/local/share/ca-certificates", BUNDLE[1:], program="usr/sbin/update-ca-certificates")
    (root / "usr/share/ca-certificates").mkdir(parents=True)
    (root / "etc/ca-certificates.conf").write_text("# none\n")
    pem = authority().cert_pem.bytes()
    installed = system_trust.install(pem, root=root)
    assert installed.by == str(root / "usr/sbin/update-ca-certificates")
    assert next((root / "etc/ssl/certs").glob("ebbgate-*.pem")).is_symlink()
    system_trust.verify(pem, root=root)
    assert system_trust.remove(root=root)
    with pytest.raises(IntegrityError):
        system_trust.verify(pem, root=root)


@pytest.mark.parametrize("system", system_trust.DISTRIBUTIONS, ids=lambda one: one.name)
def test_every_distribution_has_its_places(tmp_path: Path, system: system_trust.Distribution) -> None:
    root = tree(tmp_path, system.anchors, system.bundle)
    before = (root / system.bundle).read_bytes()
    pem = authority().cert_pem.bytes()
    installed = system_trust.install(pem, root=root)
    (anchor,) = (root / system.anchors).glob("ebbgate-*.crt")
    assert installed == system_trust.Installed(str(root / system.bundle), str(anchor), "appended")
    assert (root / system.bundle).read_bytes().startswith(before.rstrip())
    assert (root / system.bundle).stat().st_mode & 0o777 == 0o644
    assert system_trust.remove(root=root)
    assert (root / system.bundle).read_bytes().split() == before.split()


def test_a_machine_without_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="no system certificate bundle"):
        system_trust.install(authority().cert_pem.bytes(), root=tmp_path)


def test_an_authority_is_recognised_however_its_lines_are_broken(tmp_path: Path) -> None:
    root = tree(tmp_path, "usr/local/share/ca-certificates", BUNDLE[1:])
    pem = authority().cert_pem.bytes()
    (root / BUNDLE[1:]).write_bytes(b"# a comment\n" + pem.replace(b"\n", b"\r\n"))
    system_trust.verify(pem, root=root)
