"""Credential files that are there when a sealed run begins: of the user who starts it, and of the directory it starts in."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from ebbgate.host.opening import contents, open_regular
from ebbgate.secrets.credential_files import home_paths
from ebbgate.secrets.found import secrets_in_file
from ebbgate.secrets.known import Public
from ebbgate.secrets.secret import Secret

MAX_SECRETS = 500  # values of all files together: what more would cost the scanner
_HERE = (".git/config", ".npmrc", ".yarnrc.yml", ".env", ".netrc", "auth.json", "nuget.config", "pip.conf")
# Variables that say where a file or its directory is instead of in the home directory, and the name it has there.
_ELSEWHERE = {
    "NPM_CONFIG_USERCONFIG": "", "DOCKER_CONFIG": "config.json", "AWS_SHARED_CREDENTIALS_FILE": "", "KUBECONFIG": "",
    "GOOGLE_APPLICATION_CREDENTIALS": "", "PIP_CONFIG_FILE": "", "NETRC": "", "CARGO_HOME": "credentials.toml",
    "GH_CONFIG_DIR": "hosts.yml", "GIT_CONFIG_GLOBAL": "", "TF_CLI_CONFIG_FILE": "", "COMPOSER_HOME": "auth.json",
}  # fmt: skip
# Under which name of the table such a file is read, whatever it is called.
_AS = {
    "NPM_CONFIG_USERCONFIG": ".npmrc", "DOCKER_CONFIG": ".docker/config.json", "AWS_SHARED_CREDENTIALS_FILE": ".aws/credentials",
    "KUBECONFIG": ".kube/config", "GOOGLE_APPLICATION_CREDENTIALS": "application_default_credentials.json",
    "PIP_CONFIG_FILE": "pip.conf", "NETRC": ".netrc", "CARGO_HOME": ".cargo/credentials.toml", "GH_CONFIG_DIR": "gh/hosts.yml",
    "GIT_CONFIG_GLOBAL": ".gitconfig", "TF_CLI_CONFIG_FILE": ".terraformrc", "COMPOSER_HOME": ".composer/auth.json",
}  # fmt: skip


def home_secrets(environ: Mapping[str, str], public: Public) -> list[Secret]:
    """What the files hold, as far as they can be read; never raises. They are opened by whoever runs the command."""
    found: list[Secret] = []
    for path, name in dict(_paths(environ)).items():
        descriptor = open_regular(os.path.realpath(path))  # a link of the own user
        if descriptor is not None:
            try:
                found += secrets_in_file(name, contents(descriptor), public)
            finally:
                os.close(descriptor)
    return found[:MAX_SECRETS]


def _paths(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(where it is, under which name it is read)."""
    home = environ.get("HOME", "")
    if home:
        yield from ((os.path.join(home, path), f"/{path}") for path in home_paths())
    yield from ((os.path.abspath(path), f"/{path}" if path != "auth.json" else "/composer/auth.json") for path in _HERE)
    for variable, name in _ELSEWHERE.items():
        for place in environ.get(variable, "").split(os.pathsep):
            if place:
                yield os.path.join(place, name) if name else place, f"/{_AS[variable]}"
