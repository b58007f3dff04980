"""The run's certificate authority in the machine's own trust store, for clients that follow no variable: apt, wget, .NET,
programs that sudo starts with an empty environment.

Distributions keep a directory for local authorities and a program that makes bundles of it, Java's store included where its
package put a hook. The program is run, by its absolute path. Where there is none, the certificate is appended to the bundle
itself. Installed means found in the bundle, not that a program said so.

Debian's program looks at names, not at content, and forgets only what its configuration tells it to: an authority of an
earlier run under the same name would stay in Java's store and in the directory of hashed names. So each has a name of its
own, and taking one away includes the links and telling the hooks.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ebbgate.errors import IntegrityError, PlatformError
from ebbgate.host.runner_identity import CLEAN_ENVIRONMENT
from ebbgate.host.trust import MAX_BUNDLE, SYSTEM_BUNDLES

PREFIX = "ebbgate-"
_CERTS, _HOOKS = "etc/ssl/certs", "etc/ca-certificates/update.d"  # Debian's
_SECONDS = 60.0
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----\n?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Distribution:
    """How one family of distributions keeps authorities; paths relative to the machine's root."""

    name: str
    anchors: str
    program: str
    arguments: tuple[str, ...]
    bundle: str


# Each family is known by its directory of anchors; Debian's last, because Alpine has it too and openSUSE may.
DISTRIBUTIONS = (
    Distribution(
        "Fedora, RHEL",
        "etc/pki/ca-trust/source/anchors",
        "usr/bin/update-ca-trust",
        ("extract",),
        "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    ),
    Distribution(
        "openSUSE", "etc/pki/trust/anchors", "usr/sbin/update-ca-certificates", (), "var/lib/ca-certificates/ca-bundle.pem"
    ),
    Distribution(
        "Arch",
        "etc/ca-certificates/trust-source/anchors",
        "usr/bin/update-ca-trust",
        (),
        "etc/ca-certificates/extracted/tls-ca-bundle.pem",
    ),
    Distribution(
        "Debian, Ubuntu, Alpine",
        "usr/local/share/ca-certificates",
        "usr/sbin/update-ca-certificates",
        (),
        "etc/ssl/certs/ca-certificates.crt",
    ),
)


@dataclass(frozen=True, slots=True)
class Installed:
    """Where the authority is now. anchor: "" when the machine has no directory for it. by: the program, or "appended"."""

    bundle: str
    anchor: str
    by: str


def install(ca_pem: bytes, *, root: Path = Path("/"), at_once: bool = False) -> Installed:
    """Make the machine trust an authority (one PEM certificate). Idempotent. PlatformError, IntegrityError.

    Takes about a second with the distribution's program, more where Java's hook runs. at_once: append to the bundle that
    programs read, in a few milliseconds, and leave the certificate where the program finds it when somebody else calls it.
    """
    system = _distribution(root)
    bundle = _bundle(system, root)
    anchor = root / system.anchors / f"{PREFIX}{_fingerprint(ca_pem)}.crt" if system else None
    try:
        if system is not None and anchor is not None and set(_anchors(system, root)) - {anchor}:
            remove(root=root)
        by = "appended"
        if system is not None and anchor is not None:
            _write(anchor, ca_pem)
            by = by if at_once else _update(system, root) or by
        if not _holds(bundle, ca_pem):
            by = "appended"
            _write(bundle, bundle.read_bytes().rstrip(b"\n") + b"\n" + ca_pem.strip() + b"\n")
    except OSError as problem:
        raise PlatformError("the system's trust store could not be changed", str(problem)[:300], "run as root") from None
    verify(ca_pem, root=root)
    return Installed(str(bundle), str(anchor or ""), by)


def verify(ca_pem: bytes, *, root: Path = Path("/")) -> None:
    """IntegrityError when the bundle that programs read does not hold the authority."""
    bundle = _bundle(_distribution(root), root)
    if not _holds(bundle, ca_pem):
        raise IntegrityError("the system's trust store does not hold the run's authority", str(bundle), "")


def remove(*, root: Path = Path("/"), at_once: bool = False) -> bool:
    """Take the authority away again; False when there was none. PlatformError when the store cannot be changed.

    at_once: out of the bundle only, as ``install`` put it there, unless the distribution's program has run since.
    """
    system = _distribution(root)
    anchors = _anchors(system, root) if system else []
    if system is None or not anchors:
        return False
    bundle = _bundle(system, root)
    try:
        ours = [anchor.read_bytes() for anchor in anchors]
        for anchor in anchors:
            anchor.unlink()
        gone = [link for anchor in anchors for link in _unlink(anchor.stem, root)]
        if gone or not at_once:
            _update(system, root)
            _tell_hooks(gone, root)
        if any(_holds(bundle, one) for one in ours):
            _write(bundle, _without(bundle.read_bytes(), b"".join(ours)))
    except OSError as problem:
        raise PlatformError("the system's trust store could not be changed", str(problem)[:300], "run as root") from None
    return True


def _anchors(system: Distribution, root: Path) -> list[Path]:
    """Authorities that runs have left or made."""
    return sorted((root / system.anchors).glob(f"{PREFIX}*.crt"))


def _unlink(name: str, root: Path) -> list[Path]:
    """Remove Debian's links to a certificate, the one with the hashed name too. Returns the one that hooks know."""
    certs, known = root / _CERTS, root / _CERTS / f"{name}.pem"
    if not known.is_symlink():
        return []
    with os.scandir(certs) as entries:
        links = [entry.path for entry in entries if entry.is_symlink() and os.readlink(entry.path) == known.name]
    for link in (*links, str(known)):
        os.unlink(link)
    return [known]


def _tell_hooks(gone: list[Path], root: Path) -> None:
    """What update-ca-certificates would tell its hooks, had it noticed."""
    if not gone or root != Path("/"):
        return
    lines = "".join(f"-{path}\n" for path in gone).encode()
    for hook in sorted((root / _HOOKS).glob("*")):
        if os.access(hook, os.X_OK):
            _run([str(hook)], lines)


def _distribution(root: Path) -> Distribution | None:
    for one in DISTRIBUTIONS:
        if (root / one.anchors).is_dir() or (one is DISTRIBUTIONS[-1] and (root / one.program).exists()):
            return one
    return None


def _bundle(system: Distribution | None, root: Path) -> Path:
    """The file that programs read. PlatformError when the machine has none."""
    names = ([system.bundle] if system else []) + [path.lstrip("/") for path in SYSTEM_BUNDLES]
    for name in names:
        if (root / name).is_file():
            return Path(os.path.realpath(root / name))
    raise PlatformError("no system certificate bundle found", "", "apt-get install ca-certificates")


def _update(system: Distribution, root: Path) -> str:
    """Run the distribution's program; its path, or "" when there is none or it failed."""
    program = root / system.program
    arguments = list(system.arguments)
    if root != Path("/"):
        if not program.is_file() or b"--localcertsdir" not in program.read_bytes():
            return ""  # it would change this machine's store, not the tree's
        arguments += _inside(root)
    return str(program) if _run([str(program), *arguments]) else ""


def _run(command: list[str], given: bytes = b"") -> bool:
    """Whether a program of the distribution did its work."""
    try:
        done = subprocess.run(  # noqa: S603
            command, input=given, capture_output=True, env=CLEAN_ENVIRONMENT, cwd="/", timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _inside(root: Path) -> list[str]:
    """Options by which Debian's program works on a tree. Not its hooks: they know only the machine they run on."""
    options = {
        "--certsconf": "etc/ca-certificates.conf",
        "--certsdir": "usr/share/ca-certificates",
        "--localcertsdir": "usr/local/share/ca-certificates",
        "--etccertsdir": "etc/ssl/certs",
        "--hooksdir": "nonexistent",
    }
    return [part for option, name in options.items() for part in (option, str(root / name))]


def _holds(bundle: Path, ca_pem: bytes) -> bool:
    """Whether every certificate of a PEM text is in the bundle, however its lines are broken."""
    try:
        with bundle.open("rb") as file:
            text = file.read(MAX_BUNDLE)
    except OSError:
        return False
    wanted = _bodies(ca_pem)
    return bool(wanted) and wanted <= _bodies(text)


def _fingerprint(ca_pem: bytes) -> str:
    return hashlib.sha256(b"".join(sorted(_bodies(ca_pem)))).hexdigest()[:12]


def _bodies(pem: bytes) -> set[bytes]:
    return {b"".join(found.split()) for found in _PEM.findall(pem)}


def _without(text: bytes, ca_pem: bytes) -> bytes:
    ours = _bodies(ca_pem)
    return _PEM.sub(lambda found: b"" if b"".join(found[1].split()) in ours else found[0], text)


def _write(file: Path, content: bytes) -> None:
    """Exchange a file at once; readable for everybody, as trust stores are."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.ebbgate")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "wb") as out:
        out.write(content)
        os.fchmod(descriptor, 0o644)
    temporary.replace(file)
