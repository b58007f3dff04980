"""Uploads of 200 MB as artifacts and caches are: archives of files that are compressed already, of programs and of text.

They arrive to the byte, nothing is seen in them, and fifty secrets were looked for; one of those at their far end is seen.
"""

from __future__ import annotations

import hashlib
import io
import secrets
import shutil
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from tests.secrets.fifty import FIFTY
from tests.world import World
from tests.world.internet import API

APIS = (API, "2001:db8::10")
SIZE = 200_000_000
MEMBER = 16 << 20  # bytes of one file that cannot be compressed
OPTIONS = ["--allow", "api.example.com", *(word for name in FIFTY for word in ("--secret", name))]


class _Onward(io.RawIOBase):
    """A file that cannot be gone back in: archives are written into requests, so sizes follow members (APPNOTE.TXT, 4.3.9)."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:
        return self._file.write(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def text() -> bytes:
    """What logs, sources and reports are like."""
    return b"".join(path.read_bytes() for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")))


def members() -> Iterator[tuple[str, bytes]]:
    """Most of it random, as media, wheels and layers are."""
    yield "report/sources.txt", text()
    yield "bin/program", Path(sys.executable).resolve().read_bytes()
    for number in range(SIZE // MEMBER + 1):
        yield f"media/{number}.bin", secrets.token_bytes(MEMBER)
    yield "report/log.txt", text()


def zipped(path: Path) -> Path:
    """As actions/upload-artifact makes them. Every fourth file is stored as it is."""
    with _Onward(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number, (name, data) in enumerate(members()):
            archive.writestr(name, data, zipfile.ZIP_STORED if number % 4 == 3 else zipfile.ZIP_DEFLATED)
    return path


def zstandard_tar(path: Path) -> Path:
    """As actions/cache makes them."""
    with path.open("wb") as file, zstandard.ZstdCompressor(3).stream_writer(file) as coded, tarfile.open(fileobj=coded, mode="w|") as archive:  # fmt: skip
        for name, data in members():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
    return path


def put(world: World, file: Path):
    command = ["curl", "-sS", "-T", str(file), "https://api.example.com/up"]
    return world.guard.run(OPTIONS, command, env=FIFTY, timeout=240)


@pytest.fixture(scope="module", params=[zipped, zstandard_tar], ids=["zip", "zstd"])
def artifact(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = request.param(tmp_path_factory.mktemp("artifact") / request.param.__name__)
    yield path
    path.unlink()


def test_a_large_artifact_arrives_and_nothing_is_seen_in_it(world: World, artifact: Path) -> None:
    size = artifact.stat().st_size
    assert size > SIZE
    done = put(world, artifact)
    assert done.code == 0, done.stderr
    with artifact.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    assert f"{size} {digest}" in done.stdout
    assert done.incidents == []
    assert [one for event in done.events for one in event.get("findings", ())] == []


@pytest.mark.parametrize("artifact", [zipped], indirect=True, ids=["zip"])
def test_a_secret_at_the_far_end_of_a_large_artifact(world: World, artifact: Path, tmp_path: Path) -> None:
    name = secrets.choice(sorted(FIFTY))
    longer = Path(shutil.copy(artifact, tmp_path))
    with zipfile.ZipFile(longer, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("report/last.txt", text() + f"\n{name}={FIFTY[name]}\n".encode())
        end = archive.infolist()[-1]
    done = put(world, longer)
    longer.unlink()
    assert done.code == 91, done.stderr
    assert {one["secret"] for one in done.incidents if one["kind"] == "exfiltration"} == {name}
    request = world.at(*APIS)[0].requests[0]
    assert not request.complete
    assert SIZE < request.size < end.header_offset + end.compress_size  # the end of its member stayed where it was
