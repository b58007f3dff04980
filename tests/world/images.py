"""A registry of container images in the world: Debian's, with users of its own, over TLS."""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import json
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.world.internet import World
from tests.world.served import OWN, settle

HOST, USER = "registry.example.com", "ci"
_PATIENCE = 30  # seconds for it to listen


def _bcrypt(password: str) -> str:
    """The only hash that the registry takes; libcrypt has it."""
    crypt = ctypes.CDLL(ctypes.util.find_library("crypt")).crypt
    crypt.restype = ctypes.c_char_p
    return crypt(password.encode(), b"$2y$05$" + secrets.token_hex(11).encode()).decode()


@contextlib.contextmanager
def image_registry(world: World, directory: Path, password: str) -> Iterator[Path]:
    """Its storage. It knows one user."""
    settle(world, HOST)
    issued = world.authority.issue_cert(HOST)
    issued.private_key_pem.write_to_path(directory / "key.pem")
    issued.cert_chain_pems[0].write_to_path(directory / "certificate.pem")
    (directory / "users").write_text(f"{USER}:{_bcrypt(password)}\n")
    (directory / "storage").mkdir()
    settings = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(directory / "storage")}},
        "http": {
            "addr": f"{OWN}:443",
            "tls": {"certificate": str(directory / "certificate.pem"), "key": str(directory / "key.pem")},
        },
        "auth": {"htpasswd": {"realm": "images", "path": str(directory / "users")}},
    }
    (directory / "settings.yml").write_text(json.dumps(settings))  # which is YAML
    enter = ["nsenter", f"--net=/proc/{os.getpid()}/fd/{world.namespace.fd}", "--"]
    with (directory / "log").open("wb") as log:
        command = [*enter, "docker-registry", "serve", str(directory / "settings.yml")]
        server = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=directory)
    try:
        _wait(world, server, directory / "log")
        yield directory / "storage"
    finally:
        server.kill()
        server.wait()


def _wait(world: World, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            world.namespace.run(lambda: socket.create_connection((OWN, 443), 1).close())
            return
        except OSError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the registry does not listen:\n{log.read_text()[-2000:]}") from None
            time.sleep(0.02)
