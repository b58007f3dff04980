"""Which values are secret: those that were named, and environment variables whose names say so.

Thresholds are measured in false hits per value on 64 MB each of JSON, source text, base64 and machine code: 6 random
alphanumeric characters give none, 8 hex digits none, 10 decimal digits none, words like "true" or "release" thousands.
``tests/secrets/test_false_alarms.py`` measures again, on text made at run time.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from ebbgate.errors import PolicyError
from ebbgate.secrets.secret import Secret

MIN_LENGTH = 8  # bytes, for values nobody named: 4 alphanumerics gave 4.1 false hits, 5 gave 0.13, 6 none; two more for luck
MIN_DIGITS = 10  # bytes, when the value is all digits: 6 gave 2.1 false hits, 8 gave 0.005, 10 none
# Bytes, when the value is letters of one case: a word, most likely. 64 MB of Python source have 7,615 different ones with 8
# letters, which occur 362,703 times, and still 2,203 with 12, 24,812 times; random ones of 8 letters do not occur.
MIN_LETTERS = 12
MIN_DISTINCT = 5  # different characters: "aaaaaaaa" and "********" are no secrets
MIN_BITS = 18.0  # Shannon's entropy times length: 8 hex digits have 18 or more, "aaaaabcde" 16; English words of 8 have 20
MIN_NAMED = 4  # bytes, for values named on purpose; below that every other request would match
MAX_VALUE = 1 << 16  # bytes; a longer variable is data that contains secrets, not a secret
MIN_STRONG = 16  # characters of a value that is taken for a secret by its look alone
STRONG_BITS = 3.0  # per character; identifiers of code have 2.5 to 3, random hex digits 3.2 and more at 16 characters
MAX_VARIABLES = 4096  # of one environment that are looked at; a step of a large workflow has 200
# Words that stand in variables with secret names and in every second request (26,841 hits of five of them in 64 MB of JSON).
NEVER_SECRET = frozenset(
    {"true", "false", "none", "null", "undefined", "disabled", "enabled", "password", "changeme", "secret", "anonymous",
     "username", "localhost", "production", "staging", "development", "default", "required", "optional", "placeholder",
     "postgres", "postgresql", "mysql", "mariadb", "rabbitmq", "minioadmin", "rootroot", "password1", "password123", "passw0rd",
     "testpassword", "mysecretpassword", "github-actions", "github-actions[bot]", "x-access-token", "x-oauth-basic", "oauth2",
     "oauth2accesstoken", "__token__", "dependabot[bot]", "us-east-1", "us-east-2", "us-west-1", "us-west-2", "eu-west-1",
     "eu-central-1", "ap-southeast-1", "ubuntu-latest", "ubuntu-24.04", "ubuntu-22.04", "keyring", "osxkeychain", "testing",
     "example", "inherit", "basic", "bearer", "authorization", "write-all", "read-all", "workflow_dispatch", "pull_request"}
)  # fmt: skip
_NEVER_SHAPES = re.compile(
    r"v?\d+(?:\.\d+){1,3}(?:[-+.][a-z]{1,5}\.?\d*)?"  # a version
    r"|[a-z0-9-]+(?:\.[a-z0-9-]+)*\.(?:com|io|org|net|dev|local|internal|localdomain|example|test)(?::\d+)?"  # a host name
    r"|[\w.+-]+@[\w-]+(?:\.[\w-]+)+"  # an address for mail
    r"|\d{4}-\d\d-\d\d(?:[T ][\d:.]+Z?)?"  # a date
    r"|\$\{?\{?\s*[\w.-]+\s*\}?\}?|%\w+%|<[^<>]{1,60}>|\*+|\{\{.*\}\}"  # a reference, or what stands for a value
    r"|refs/[\w./-]+",
    re.IGNORECASE,
)
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_SECRET_NAME = re.compile(
    r"(?:^|_)(?:TOKEN|SECRETS?|PASSWORDS?|PASSWD|PASSPHRASE|PASS|PWD|API_?KEYS?|ACCESS_?KEY|PRIVATE_?KEY|SIGNING_?KEY|"
    r"ENCRYPTION_?KEY|SECRET_?KEY|DEPLOY_?KEY|CREDENTIALS?|CREDS|AUTH|PAT|DSN|WEBHOOK|CONNECTION_STRING|JWT|BEARER|COOKIE|KEY)"
    r"(?:_?[0-9]+)?(?:_(?:BASE64|B64|JSON|PEM|RAW|VALUE|DATA))?$",
    re.IGNORECASE,
)
_COMPOUND = re.compile(r"(?:AUTHTOKEN|ACCESSTOKEN|APITOKEN|SECRETKEY|SECRETACCESSKEY|APIKEY|PASSWORD)$", re.IGNORECASE)
# Keys of caches, projects and tables are told to services by design, and inputs of cache actions are called "key".
_OTHER_KEY = re.compile(
    r"(?:^|_)(?:CACHE|PUBLIC|PRIMARY|RESTORE|SORT|PARTITION|FOREIGN|HOST|IDEMPOTENCY|PROJECT|ORGANIZATION|MATCHED|GPG|KEYRING|"
    r"INPUT|STATE)_?KEYS?$|^KEYS?$|(?:^|_)PUBLIC_|_ACCESS_KEY_ID$|^STATE_.*KEY$",
    re.IGNORECASE,
)
_NOT_SECRET_NAME = frozenset(
    {"SSH_AUTH_SOCK", "XAUTHORITY", "GPG_TTY", "PWD", "OLDPWD", "INIT_CWD", "GIT_ASKPASS", "SSH_ASKPASS", "SUDO_ASKPASS",
     "DBUS_SESSION_BUS_ADDRESS", "GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE",
     "GOOGLE_GHA_CREDS_PATH", "AWS_WEB_IDENTITY_TOKEN_FILE"}
)  # fmt: skip
# Variables by which the CI system describes the job: what they say is in every second request.
_PUBLIC_NAME = re.compile(r"(?:GITHUB|RUNNER|CI|GITLAB|BUILDKITE|CIRCLE|ImageOS|ImageVersion)(?:_\w+)?")
_PUBLIC_NAMES = frozenset({"HOME", "USER", "LOGNAME", "HOSTNAME", "SHELL", "LANG", "TERM", "TZ", "PATH", "TMPDIR"})
_URL_PASSWORD = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://[^/\s:@]*:([^/\s@]+)@")
_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

type Public = frozenset[str]


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
    for one in from_environment(environ, public_values(environ), "environment"):
        found.setdefault(one.name, one)
    for one in found.values():
        if one.origin != "environment" and not is_recognisable(os.fsdecode(one.reveal())):
            warnings.append(f"{one.name} is short or simple: expect false alarms")
    return list(found.values()), warnings


def from_environment(environ: Mapping[str, str], public: Public, origin: str) -> Iterator[Secret]:
    """What an environment's names, or passwords in its URLs, say is secret. The names are as they are in it."""
    for number, (name, value) in enumerate(environ.items()):
        if number >= MAX_VARIABLES:
            return
        secret = value if looks_secret(name) else _password_in_url(value)
        if secret is not None and is_recognisable(secret, public):
            yield Secret(name, os.fsencode(secret.strip()), origin)


def public_values(environ: Mapping[str, str]) -> Public:
    """What the job's own description says of it: repository, actor, commit, branch, paths. Never secrets."""
    public = (
        value.strip()
        for name, value in environ.items()
        if (_PUBLIC_NAME.fullmatch(name) and not looks_secret(name)) or name in _PUBLIC_NAMES
    )
    return frozenset(value for value in public if value)


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


def looks_secret(name: str) -> bool:
    """Whether a variable, a key of a file or a member of a document is called as secrets are."""
    if name in _NOT_SECRET_NAME or name.startswith(("EBBGATE_", "npm_config_", "npm_package_")):
        return False
    words = _CAMEL.sub("_", name).replace("-", "_").replace(".", "_").replace(" ", "_")
    if _OTHER_KEY.search(words):
        return False
    return bool(_SECRET_NAME.search(words) or _COMPOUND.search(name))


def _password_in_url(value: str) -> str | None:
    """``postgres://user:password@host``: the password is the secret, whatever the variable is called."""
    match = _URL_PASSWORD.match(value)
    return match.group(1) if match else None


def is_recognisable(value: str, public: Public = frozenset()) -> bool:
    """Whether a value can be told from ordinary text, and is no path, plain URL or something the job says of itself."""
    text = value.strip()
    raw = _as_sent(text)
    if not MIN_LENGTH <= len(raw) <= MAX_VALUE or text in public or text.lower() in NEVER_SECRET:
        return False
    if len(set(raw)) < MIN_DISTINCT or bits_per_character(text) * len(text) < MIN_BITS:
        return False
    if (text.isdigit() and len(text) < MIN_DIGITS) or _NEVER_SHAPES.fullmatch(text):
        return False
    if text.isalpha() and len(text) < MIN_LETTERS and (text.islower() or text.isupper() or text.istitle()):
        return False
    if _URL.match(text):
        return _URL_PASSWORD.match(text) is not None
    return not (text.startswith(("/", "./", "~/")) and _is_path(text))


def _as_sent(text: str) -> bytes:
    try:
        return os.fsencode(text)
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can write and nothing can send
        return b""


def _is_path(text: str) -> bool:
    try:
        return os.path.exists(os.path.expanduser(text))
    except ValueError:  # a NUL in it
        return False


def is_strong(value: str) -> bool:
    """Whether a value looks like a secret whatever it is called: long, of letters and digits, and of many different ones."""
    if len(value) < MIN_STRONG or not is_recognisable(value) or any(one.isspace() for one in value) or UUID.fullmatch(value):
        return False
    mixed = any(one.isdigit() for one in value) and any(one.isalpha() for one in value)
    return mixed and bits_per_character(value) >= STRONG_BITS


def bits_per_character(text: str) -> float:
    """Shannon's entropy of the characters' frequencies."""
    counts, size = Counter(text).values(), len(text)
    return -sum(count / size * math.log2(count / size) for count in counts) if size else 0.0
