"""Where packages and commits are published to: an index of Python packages, a registry of npm, git over HTTPS. Each wants its token."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tests.world.served import Handler

INDEX, NPM, GIT = "upload.pypi.org", "registry.npmjs.org", "github.com"  # so called that the built-in bindings speak of them


@dataclass
class Registries:
    """tokens: by host. published: SHA-256 by (host, name) of what came whole and was announced so. offered: (host, credential)."""

    tokens: dict[str, str]
    repositories: Path  # bare ones
    published: dict[tuple[str, str], str] = field(default_factory=dict)
    offered: list[tuple[str, str]] = field(default_factory=list)

    def handler(self, *arguments: object) -> Handler:
        return _Registry(self, *arguments)


class _Registry(Handler):
    def __init__(self, registries: Registries, *arguments: object) -> None:
        self._registries = registries
        super().__init__(*arguments)

    def _judged(self) -> None:
        """What is sent without the host's own token is refused, before it is looked at."""
        host = self.headers["host"].partition(":")[0]
        body = self.body()
        scheme, _, value = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            value = base64.b64decode(value).decode().partition(":")[2]
        self._registries.offered.append((host, value))
        if value != self._registries.tokens[host]:
            self.answer(401, b"{}", WWW_Authenticate='Basic realm="own"')
        else:
            {INDEX: self._package, NPM: self._npm, GIT: self._git}[host](body)

    do_GET = do_POST = do_PUT = _judged

    def _package(self, body: bytes) -> None:
        """https://docs.pypi.org/api/upload/"""
        boundary = self.headers["content-type"].partition("boundary=")[2].strip('"').encode()
        fields: dict[bytes, bytes] = {}
        name = ""
        for part in body.split(b"--" + boundary)[1:-1]:
            head, _, content = part[2:-2].partition(b"\r\n\r\n")
            label = head.partition(b'name="')[2].partition(b'"')[0]
            fields[label] = content
            if label == b"content":
                name = head.partition(b'filename="')[2].partition(b'"')[0].decode()
        self._publish(INDEX, name, fields[b"content"], fields[b"sha256_digest"].decode())

    def _npm(self, body: bytes) -> None:
        """https://github.com/npm/registry/blob/main/docs/REGISTRY-API.md and what npm sends"""
        if self.command != "PUT":
            self.answer(404, b"{}", Content_Type="application/json")
            return
        document = json.loads(body)
        (attached,) = document["_attachments"].items()
        (version,) = document["versions"].values()
        data = base64.b64decode(attached[1]["data"])
        intact = version["dist"]["shasum"] == hashlib.sha1(data).hexdigest()
        self._publish(NPM, attached[0], data, hashlib.sha256(data).hexdigest() if intact else "")

    def _publish(self, host: str, name: str, data: bytes, announced: str) -> None:
        if hashlib.sha256(data).hexdigest() != announced:
            self.answer(400, b"{}")
            return
        self._registries.published[host, name] = announced
        self.answer(200, b"{}", Content_Type="application/json")

    def _git(self, body: bytes) -> None:
        """git's own server, as gateway programs are run: RFC 3875, and git-http-backend(1)."""
        path, _, query = self.path.partition("?")
        variables = {
            "GIT_PROJECT_ROOT": str(self._registries.repositories), "GIT_HTTP_EXPORT_ALL": "1", "REMOTE_USER": "ci",
            "REQUEST_METHOD": self.command, "PATH_INFO": path, "QUERY_STRING": query, "CONTENT_LENGTH": str(len(body)),
            "CONTENT_TYPE": self.headers.get("content-type", ""), "GIT_PROTOCOL": self.headers.get("git-protocol", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("content-encoding", ""), "PATH": os.environ["PATH"],
        }  # fmt: skip
        done = subprocess.run(["git", "http-backend"], env=variables, input=body, capture_output=True, check=True)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.answer(int(fields.pop("Status", "200").split()[0]), content, **fields)
