"""Which values are secret, by name and by look."""

from __future__ import annotations

import pytest

from ebbgate.errors import PolicyError
from ebbgate.secrets.known import looks_secret, secrets_from
from ebbgate.secrets.structured import with_inner

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
    "value",
    [
        "sunshine",
        "Sunshine",
        "UNDEFINED",
        "1.2.3-rc.1",
        "main.example.com",
        "bob@example.com",
        "$NPM_TOKEN",
        "${{ secrets.A }}",
        "refs/heads/main",
        "2026-01-01T00:00:00Z",
        "<your-token-here>",
        "aaaaabcde",
        "ubuntu-latest",
        "__token__",
        "",
        "true",
        "12345",
        "short",
        "aaaaaaaaaaaaaa",
        "password",
        "https://example.com/hook",
        "/etc/passwd",
        "production",
    ],
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


@pytest.mark.parametrize(
    "name",
    [
        "CACHE_KEY",
        "INPUT_KEY",
        "KEY",
        "SONAR_PROJECT_KEY",
        "SSH_PUBLIC_KEY",
        "STATE_CACHE_KEY",
        "AWS_ACCESS_KEY_ID",
        "PRIMARY_KEY",
    ],
)
def test_keys_that_are_told_to_services(name: str) -> None:
    assert secrets_from({name: VALUE}, (), bound=())[0] == []


@pytest.mark.parametrize(
    "name", ["clientSecret", "client-secret", "refreshToken", "oauth_token", "npmAuthToken", "ClearTextPassword"]
)
def test_names_as_files_and_documents_have_them(name: str) -> None:
    assert looks_secret(name)


@pytest.mark.parametrize("name", ["GITHUB_REPOSITORY", "GITHUB_SHA", "GITHUB_ACTOR", "GITHUB_REF_NAME", "RUNNER_NAME"])
def test_what_the_job_says_of_itself(name: str) -> None:
    """An action's token input may be set to a branch's name by mistake; requests are full of those."""
    found, _warnings = secrets_from({name: VALUE, "SOME_TOKEN": VALUE, "GITHUB_TOKEN": VALUE[::-1]}, (), bound=())
    assert [one.name for one in found] == ["GITHUB_TOKEN"]


def test_a_path_that_exists_is_none(tmp_path) -> None:
    path = tmp_path / "x9Kq2Lm4Rt7"
    assert [one.name for one in secrets_from({"A_KEY_PASSWORD": str(path)}, (), bound=())[0]] == ["A_KEY_PASSWORD"]
    path.touch()
    assert secrets_from({"A_KEY_PASSWORD": str(path)}, (), bound=())[0] == []


def test_the_jobs_own_tokens() -> None:
    names = ["GITHUB_TOKEN", "GH_TOKEN", "ACTIONS_RUNTIME_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"]
    environ = {name: f"{VALUE}{number}" for number, name in enumerate(names)}
    urls = {
        "ACTIONS_ID_TOKEN_REQUEST_URL": "https://run-actions-1.example.com/token?api-version=2.0",
        "ACTIONS_RESULTS_URL": "https://r.example.com/",
    }
    assert [one.name for one in secrets_from({**environ, **urls}, (), bound=())[0]] == names


def test_names_are_kept_and_what_is_inside_is_there_once() -> None:
    found, _ = secrets_from(
        {"NPM_TOKEN": VALUE, "COPY_TOKEN": VALUE, "X_JSON_SECRET": f'{{"password": "{VALUE}"}}'}, (), bound=()
    )
    assert [one.name for one in with_inner(found)] == ["NPM_TOKEN", "COPY_TOKEN", "X_JSON_SECRET"]
