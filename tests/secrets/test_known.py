"""Which values are secret, by name and by look."""

from __future__ import annotations

import pytest

from ebbgate.errors import PolicyError
from ebbgate.secrets.known import secrets_from

VALUE = "x9Kq2" + "Lm4Rt7Vw1Zb3"


@pytest.mark.parametrize(
    "name",
    [
        "GITHUB_TOKEN",
        "NPM_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "PYPI_API_TOKEN",
        "DB_PASSWORD",
        "PGPASSWORD",
        "MYSQL_PWD",
        "STRIPE_API_KEY",
        "SSH_PRIVATE_KEY",
        "SLACK_WEBHOOK",
        "SENTRY_DSN",
        "NODE_AUTH_TOKEN",
        "GPG_PASSPHRASE",
        "CREDENTIALS_JSON",
        "TOKEN_2",
        "secret",
        "HEROKU_API_KEY",
        "TWINE_PASSWORD",
        "CARGO_REGISTRY_TOKEN",
    ],
)
def test_names_that_say_secret(name: str) -> None:
    found, _warnings = secrets_from({name: VALUE}, (), bound=())
    assert [one.name for one in found] == [name]


@pytest.mark.parametrize(
    "name",
    [
        "PATH",
        "HOME",
        "PWD",
        "LANG",
        "KEYBOARD",
        "MONKEY_NAME",
        "TOKENIZERS_PARALLELISM",
        "SSH_AUTH_SOCK",
        "AUTHOR",
        "npm_config_cafile",
        "COMPASS",
    ],
)
def test_names_that_do_not(name: str) -> None:
    assert secrets_from({name: VALUE}, (), bound=())[0] == []


@pytest.mark.parametrize(
    "value", ["", "true", "12345", "short", "aaaaaaaaaaaaaa", "password", "https://example.com/hook", "/etc/passwd", "production"]
)
def test_values_that_cannot_be_told_from_text(value: str) -> None:
    assert secrets_from({"MY_TOKEN": value}, (), bound=())[0] == []


def test_a_password_in_a_url() -> None:
    found, _ = secrets_from({"DATABASE_URL": f"postgres://user:{VALUE}@db.example.com/x"}, (), bound=())
    assert [one.reveal() for one in found] == [VALUE.encode()]


def test_named_on_purpose() -> None:
    found, warnings = secrets_from({"PIN_CODE": "4711x"}, ("PIN_CODE",), bound=())
    assert found[0].origin == "--secret"
    assert "false alarms" in warnings[0]
    with pytest.raises(PolicyError):
        secrets_from({}, ("MISSING",), bound=())
    with pytest.raises(PolicyError):
        secrets_from({"PIN": "ab"}, ("PIN",), bound=())


def test_a_binding_without_its_variable_is_a_warning() -> None:
    assert "no such variable" in secrets_from({}, (), bound=("DEPLOY_TOKEN",))[1][0]
