"""Secrets that nobody named: in credential files, in environments of processes. Each is called after where it was found."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ebbgate.secrets.credential_files import CredentialFile, kind_of, values_of
from ebbgate.secrets.known import Public, from_environment
from ebbgate.secrets.secret import Secret
from ebbgate.secrets.structured import Inner, distinct, headers, with_inner

FILE, PROCESS, RESPONSE = "file", "process", "response"  # origins of secrets
MAX_OF_ONE = 64  # values of one environment; who puts more into one does so to leave no room for others
_INPUT = "INPUT_"  # how the runner gives inputs to actions
_GIT_VALUE = "GIT_CONFIG_VALUE_"  # git's configuration in variables, where actions put the header with their token


def secrets_in_file(path: str, data: bytes, public: Public) -> list[Secret]:
    """Credentials in a file of the table, and the hosts that it names for them. Nothing for any other file."""
    file = kind_of(path)
    return [_secret(file, one) for one in values_of(file, data, public)] if file is not None else []


def _secret(file: CredentialFile, one: Inner) -> Secret:
    value = one.value.encode("utf-8", "surrogateescape")
    return Secret(f"{file.kind} ({one.label})", value, FILE, sources=(one.host,) if one.host else file.hosts)


def secrets_in_environment(data: bytes, public: Public) -> list[Secret]:
    """Of /proc/PID/environ. An action's input is called as the action calls it."""
    environ: dict[str, str] = {}
    for line in data.split(b"\0"):
        name, _, value = line.decode("utf-8", "surrogateescape").partition("=")
        if name.startswith(_INPUT):
            name = name.removeprefix(_INPUT).replace("-", "_")
        environ.setdefault(name, value)
    found = [*with_inner(from_environment(environ, public, PROCESS), public), *_in_git_values(environ, public)]
    return found[:MAX_OF_ONE]


def _in_git_values(environ: Mapping[str, str], public: Public) -> list[Secret]:
    values = {name: value for name, value in environ.items() if name.startswith(_GIT_VALUE)}
    return [
        Secret(f"{name} ({one.label})", os.fsencode(one.value), PROCESS)
        for name, value in values.items()
        for one in distinct(headers(value), public)
    ]
