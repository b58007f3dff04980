"""The values inside of documents, and what is left out: names, addresses, references, public keys."""

from __future__ import annotations

import base64
import json
import secrets
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebbgate.secrets.credential_files import TABLE, home_paths, kind_of, values_of
from ebbgate.secrets.known import MAX_VALUE, is_recognisable
from ebbgate.secrets.secret import Secret
from ebbgate.secrets.structured import MAX_INNER, MAX_TEXT, inner_values, with_inner


def token() -> str:
    return "t0" + secrets.token_urlsafe(24).replace("-", "x").replace("_", "y")


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def key_block(kind: str = "PRIVATE KEY") -> str:
    lines = "\n".join(b64(secrets.token_hex(24)) for _ in range(3))
    return f"-----BEGIN {kind}-----\n{lines}\n-----END {kind}-----"


def inside(text: str) -> set[str]:
    return {one.value for one in inner_values(text.encode())}


def in_file(path: str, text: str) -> dict[str, str]:
    file = kind_of(path)
    assert file is not None, path
    return {one.value: one.host or ",".join(file.hosts) for one in values_of(file, text.encode())}


def test_a_service_account_is_its_key_and_not_its_names() -> None:
    block = key_block()
    document = {
        "type": "service_account",
        "project_id": "my-project-123456",
        "private_key_id": secrets.token_hex(20),
        "private_key": block + "\n",
        "client_email": "robot@my-project-123456.iam.gserviceaccount.com",
        "client_id": "123456789012345678901",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "universe_domain": "googleapis.com",
    }
    assert {one.strip() for one in inside(json.dumps(document))} == {block}


def test_azure_credentials_are_the_client_secret() -> None:
    value = token()
    ids = dict.fromkeys(("clientId", "subscriptionId", "tenantId"), "0f8fad5b-d9cb-469f-a165-70867728950e")
    assert inside(
        json.dumps({**ids, "clientSecret": value, "activeDirectoryEndpointUrl": "https://login.microsoftonline.com"})
    ) == {value}


def test_keys_with_their_line_ends_written_out() -> None:
    block = key_block("RSA PRIVATE KEY")
    assert inside(block.replace("\n", "\\n")) == {block}
    assert inside(block.replace("\n", "")) == {block.replace("\n", "").split("-----")[2]}
    assert inside(key_block("CERTIFICATE") + "\n" + key_block("PUBLIC KEY")) == set()


def test_urls_env_lines_percent_and_base64_of_them() -> None:
    one, two, three = token(), token(), token()
    env = (
        f"# comment\nDB_HOST=db.example.com\nexport DB_PASSWORD='{one}'\nURL=postgres://app:{two}@db.example.com/x\nDEBUG=true\n"
    )
    assert inside(env) == {one, two}
    assert inside(b64(env)) == {one, two}
    assert inside(b64(b64(env))) == set()  # nobody keeps it so; the scanner finds the whole value all the same
    assert inside(f"https://bob:p%40{three}@git.example.com") == {f"p%40{three}", f"p@{three}"}
    assert inside(f"p%40{three}") == {f"p@{three}"}
    assert inside(b64(f"bob:{one}")) == {one}


def test_hooks_and_sentry_addresses() -> None:
    one, two = token(), secrets.token_hex(16)
    assert inside(f"https://hooks.slack.com/services/T00000000/B00000000/{one}") == {one}
    assert inside(f"https://{two}@o123.ingest.sentry.io/4507") == {two}
    assert inside("https://example.com/some/plain/path?page=12") == set()


def test_the_signature_of_a_json_web_token() -> None:
    parts = [b64(json.dumps(one)).rstrip("=") for one in ({"alg": "RS256"}, {"sub": "x", "aud": "y"})]
    signature = token() + token()
    assert inside(".".join([*parts, signature])) == {signature}


FILES = [
    ("/home/u/.npmrc", "registry=https://registry.npmjs.org/\n//npm.example.com/a/:_authToken={0}\n//r/:_authToken=${{T}}\n", "npm.example.com"),
    ("/home/u/.npmrc", "_authToken={0}\nemail=a@b.example\n", "registry.npmjs.org"),
    ("/w/.npmrc", "//npm.example.com/:_password={1}\n//npm.example.com/:username=bob\n", "npm.example.com"),
    ("/home/u/.yarnrc.yml", 'npmRegistries:\n  "https://npm.example.com":\n    npmAuthToken: "{0}"\n', "npm.example.com"),
    ("/home/u/.pypirc", "[distutils]\nindex-servers =\n  corp\n[corp]\nrepository = https://pypi.example.com/x/\nusername = bob\npassword = {0}\n", "pypi.example.com"),
    ("/home/u/.pypirc", "[pypi]\nusername: __token__\npassword: {0}\n", "upload.pypi.org,test.pypi.org"),
    ("/home/u/.netrc", "machine api.example.com\n  login bob\n  password {0}\n", "api.example.com"),
    ("/home/u/.netrc", "machine api.example.com login bob password {0}", "api.example.com"),
    ("/home/u/.docker/config.json", '{{"auths": {{"https://registry.example.com/v1/": {{"auth": "{2}"}}}}, "credsStore": "x"}}', "registry.example.com"),
    ("/home/u/.docker/config.json", '{{"auths": {{"ghcr.io": {{"username": "bob", "password": "{0}"}}}}}}', "ghcr.io"),
    ("/home/u/.aws/credentials", "[default]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = {0}\n", "*.amazonaws.com,*.amazonaws.com.cn,*.api.aws"),
    ("/home/u/.config/gh/hosts.yml", "github.com:\n    oauth_token: {0}\n    user: bob\n    git_protocol: https\n", "github.com"),
    ("/home/u/.kube/config", "clusters:\n- cluster:\n    server: https://k8s.example.com:6443\n  name: c\nusers:\n- name: u\n  user:\n    token: {0}\n", "k8s.example.com"),
    ("/home/u/.cargo/credentials.toml", '[registry]\ntoken = "{0}"\n', "crates.io"),
    ("/home/u/.m2/settings.xml", "<settings><servers><server><id>x</id><username>bob</username><password>{0}</password></server></servers></settings>", ""),
    ("/home/u/.config/pip/pip.conf", "[global]\nindex-url = https://bob:{0}@pypi.example.com/simple\n", "pypi.example.com"),
    ("/home/u/.git-credentials", "https://bob:{0}@git.example.com\n", "git.example.com"),
    ("/w/.git/config", '[core]\n\tbare = false\n[http "https://git.example.com/"]\n\textraheader = AUTHORIZATION: basic {2}\n', "git.example.com"),
    ("/t/git-credentials-0f8fad5b-d9cb-469f-a165-70867728950e.config", '[http "https://github.com/"]\n\textraheader = AUTHORIZATION: basic {2}\n', "github.com"),
    ("/w/.git/config", '[remote "origin"]\n\turl = https://x-access-token:{0}@git.example.com/a/b\n', "git.example.com"),
    ("/home/u/.gradle/gradle.properties", "org.gradle.caching=true\nartifactoryPassword={0}\n", ""),
    ("/home/u/.config/gcloud/application_default_credentials.json", '{{"client_id": "764086051850-6qr4p6gpi6hn506pt8ejuq83di341hur.apps.googleusercontent.com", "refresh_token": "{0}", "type": "authorized_user"}}', "*.googleapis.com"),
    ("/home/u/.composer/auth.json", '{{"http-basic": {{"repo.example.com": {{"username": "bob", "password": "{0}"}}}}}}', "repo.example.com"),
    ("/home/u/.composer/auth.json", '{{"github-oauth": {{"github.com": "{0}"}}}}', "github.com"),
    ("/home/u/.terraform.d/credentials.tfrc.json", '{{"credentials": {{"app.terraform.io": {{"token": "{0}"}}}}}}', "app.terraform.io"),
    ("/home/u/.terraformrc", 'credentials "app.terraform.io" {{\n  token = "{0}"\n}}\n', "app.terraform.io"),
    ("/home/u/.nuget/NuGet/NuGet.Config", '<configuration><packageSourceCredentials><a><add key="Username" value="bob" /><add key="ClearTextPassword" value="{0}" /></a></packageSourceCredentials></configuration>', "www.nuget.org"),
    ("/home/u/.gem/credentials", "---\n:rubygems_api_key: {0}\n", "rubygems.org"),
    ("/home/u/.pgpass", "db.example.com:5432:*:app:{0}\n", "db.example.com"),
    ("/home/u/.vault-token", "{0}", ""),
    ("/w/.env", "API_TOKEN={0}\nPORT=8080\n", ""),
]  # fmt: skip


@pytest.mark.parametrize(("path", "text", "host"), FILES)
def test_credential_files(path: str, text: str, host: str) -> None:
    """{0} is the value, {1} its base64, {2} base64 of bob:value. Nothing but the value is found, and where it belongs."""
    value = token()
    assert in_file(path, text.format(value, b64(value), b64(f"bob:{value}"))) == {value: host}


def test_every_kind_of_file_is_found_where_it_lies() -> None:
    for path in home_paths():
        assert kind_of(f"/home/u/{path}") is not None, path
    assert {one.kind for one in TABLE} == {found.kind for one in TABLE if (found := kind_of(_example(one)))}


def _example(file) -> str:
    names = {
        "git-credentials-[0-9a-f-]+\\.config": "git-credentials-0a.config",
        "gha-creds-[0-9a-f]+\\.json": "gha-creds-0a.json",
    }
    return f"/x/{file.home}" if file.home else f"/x/{names.get(file.names, '.env')}"


@pytest.mark.parametrize(
    "path", ["/w/config", "/w/config.json", "/w/credentials", "/w/package.json", "/w/src/auth.py", "/w/hosts.yml"]
)
def test_other_files_are_not_read(path: str) -> None:
    assert kind_of(path) is None


def test_inner_secrets_are_called_after_the_outer_one() -> None:
    value = token()
    found = with_inner([Secret("CREDS", json.dumps({"password": value}).encode(), "--secret")])
    assert [(one.name, one.origin) for one in found] == [("CREDS", "--secret"), ("CREDS (password)", "--secret")]
    assert found[1].reveal() == value.encode()


def test_what_the_job_says_of_itself_is_no_secret() -> None:
    assert inner_values(json.dumps({"token": "octo/repository-1"}).encode(), frozenset({"octo/repository-1"})) == []


@given(
    st.one_of(
        st.binary(max_size=3000), st.text(alphabet='{}[]":\\=-.@/\n :basic%20BEGINENDtoken<>', max_size=3000).map(str.encode)
    )
)
def test_anything_may_be_in_a_file(data: bytes) -> None:
    for file in TABLE:
        assert all(is_recognisable(one.value) for one in values_of(file, data))
    inner_values(data)


HOSTILE = {
    "deep JSON": b'{"a":' * 40_000,
    "wide JSON": json.dumps({f"token{n}": secrets.token_hex(12) for n in range(7000)}).encode(),
    "openings of keys": b"-----BEGIN PRIVATE KEY-----\n" * 9000,
    "openings of different keys": b"".join(b"-----BEGIN A%d KEY-----\n" % n for n in range(9000)),
    "colons": b":" * MAX_TEXT,
    "addresses": b"https://u:" * 26_000,
    "one address": b"https://" + b"u" * MAX_TEXT,
    "tags": b"<password>" * 26_000,
    "lines": b"token=x\n" * 32_000,
    "headers": b"basic " * 40_000,
    "a number": b'{"token": ' + b"9" * 250_000 + b"}",
    "base64 of base64": base64.b64encode(base64.b64encode(base64.b64encode(b"token=" + b"x" * 100_000))),
    "percent": b"%25" * 80_000,
    "names": b"machine " * 30_000,
    "quotes": b"\"'" * 130_000,
    "dots": b"a." * 130_000,
    "spaces": b"token" + b" " * 260_000 + b"=x",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_document_takes_little_time_and_gives_few_values(name: str) -> None:
    began = time.process_time()
    for file in TABLE:
        assert len(values_of(file, HOSTILE[name])) <= MAX_INNER
    assert all(len(one.value) <= MAX_VALUE for one in inner_values(HOSTILE[name]))
    assert time.process_time() - began < 60 * 1.0  # a second for each reading is a fail-safe: measured 0.01 to 0.3 s


def test_half_a_surrogate_pair_hides_no_other_value() -> None:
    """JSON can write one, no bytes can hold it; what reads the document after it goes on."""
    value = secrets.token_urlsafe(20)
    document = json.dumps({"token": "\ud800 9f8e7d6c5b4a", "password": value}).encode()
    assert [one.value for one in inner_values(document)] == [value]
