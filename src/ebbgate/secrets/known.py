"""Which values are secret: those that were named, and environment variables whose names say so.

Thresholds are measured in false hits per value on 64 MB each of JSON, source text, base64 and machine code: 6 random
alphanumeric characters give none, 8 hex digits none, 10 decimal digits none, words like "true" or "release" thousands.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

from ebbgate.errors import PolicyError
from ebbgate.secrets.secret import Secret

MIN_LENGTH = 8  # bytes, for values found by name
MIN_DIGITS = 10  # bytes, when the value is all digits
MIN_DISTINCT = 5  # different characters: "aaaaaaaa" and "********" are no secrets
MIN_NAMED = 4  # bytes, for values named on purpose; below that every other request would match
MAX_VALUE = 1 << 16  # bytes; a longer variable is data that contains secrets, not a secret
NEVER_SECRET = frozenset(
    {"true", "false", "none", "null", "undefined", "disabled", "enabled", "password", "changeme", "secret", "anonymous",
     "username", "localhost", "production", "staging", "development", "default", "required", "optional", "placeholder"}
)  # fmt: skip
_SECRET_NAME = re.compile(
    r"(?:^|_)(?:TOKEN|SECRETS?|PASSWORDS?|PASSWD|PASSPHRASE|PASS|PWD|API_?KEYS?|ACCESS_?KEY|PRIVATE_?KEY|SIGNING_?KEY|"
    r"ENCRYPTION_?KEY|SECRET_?KEY|DEPLOY_?KEY|CREDENTIALS?|AUTH|PAT|DSN|WEBHOOK|CONNECTION_STRING|JWT|BEARER|COOKIE|KEY)"
    r"(?:_?[0-9]+)?(?:_(?:BASE64|B64|JSON|PEM|RAW|VALUE))?$",
    re.IGNORECASE,
)
_COMPOUND = re.compile(r"(?:AUTHTOKEN|ACCESSTOKEN|APITOKEN|SECRETKEY|APIKEY|PASSWORD)$", re.IGNORECASE)
_NOT_SECRET_NAME = frozenset(
    {"SSH_AUTH_SOCK", "XAUTHORITY", "GPG_TTY", "PWD", "OLDPWD", "INIT_CWD", "GIT_ASKPASS", "SSH_ASKPASS", "SUDO_ASKPASS",
     "DBUS_SESSION_BUS_ADDRESS", "GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE"}
)  # fmt: skip
_URL_PASSWORD = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://[^/\s:@]*:([^/\s@]+)@")
_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")


def secrets_from(environ: Mapping[str, str], named: Sequence[str], *, bound: Sequence[str]) -> tuple[list[Secret], list[str]]:
    """(secrets, warnings). PolicyError when a named variable is missing or too short to be recognised."""
    found: dict[str, Secret] = {}
    warnings: list[str] = []
    for name in named:
        found[name] = Secret(name, _named_value(environ, name), "--secret")
    for name in bound:
        if name not in found and environ.get(name):
            found[name] = Secret(name, _named_value(environ, name), "policy")
        elif name not in found:
            warnings.append(f"the policy binds {name}, but the environment has no such variable")
    for name, value in environ.items():
        secret = value if _looks_named_secret(name) else _password_in_url(value)
        if name not in found and secret is not None and is_recognisable(secret):
            found[name] = Secret(name, os.fsencode(secret.strip()), "environment")
    for one in found.values():
        if one.origin != "environment" and not is_recognisable(os.fsdecode(one.reveal())):
            warnings.append(f"{one.name} is short or simple: expect false alarms")
    return list(found.values()), warnings


def _named_value(environ: Mapping[str, str], name: str) -> bytes:
    value = os.fsencode(environ.get(name, "").strip())
    if not value:
        raise PolicyError(f"the secret {name} is not in the environment", "", f"set {name}, or leave it out")
    if len(value) < MIN_NAMED:
        raise PolicyError(
            f"the secret {name} is too short to be recognised",
            f"{MIN_NAMED} bytes are the least that can be told from chance",
            "use a longer value, or leave it out",
        )
    return value


def _looks_named_secret(name: str) -> bool:
    if name in _NOT_SECRET_NAME or name.startswith(("EBBGATE_", "npm_config_")):
        return False
    return bool(_SECRET_NAME.search(name) or _COMPOUND.search(name))


def _password_in_url(value: str) -> str | None:
    """``postgres://user:password@host``: the password is the secret, whatever the variable is called."""
    match = _URL_PASSWORD.match(value)
    return match.group(1) if match else None


def is_recognisable(value: str) -> bool:
    """Whether a value can be told from ordinary text, and is no path or plain URL."""
    text = value.strip()
    raw = os.fsencode(text)
    if not MIN_LENGTH <= len(raw) <= MAX_VALUE or len(set(raw)) < MIN_DISTINCT or text.lower() in NEVER_SECRET:
        return False
    if text.isdigit() and len(text) < MIN_DIGITS:
        return False
    if _URL.match(text):
        return _URL_PASSWORD.match(text) is not None
    return not (text.startswith(("/", "./", "~/")) and os.path.exists(os.path.expanduser(text)))
