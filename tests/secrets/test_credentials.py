"""The table of kinds: every entry is what it says, and none contradicts another."""

from __future__ import annotations

import importlib.util
import re
import re._constants as sre
import re._parser as parser
from collections import Counter
from pathlib import Path

import pytest
import yaml

from ebbgate.policy.names import canonical_host
from ebbgate.secrets.bindings import host_variables
from ebbgate.secrets.checks import CHECKS, check
from ebbgate.secrets.credentials import CredentialKind, Severity, Use, compact, credentials
from ebbgate.secrets.shapes import Shapes, compiled, shape_of
from tests.secrets.samples import sample

ROOT = Path(__file__).resolve().parent.parent.parent
KINDS = credentials().kinds
SHAPED = [kind for kind in KINDS if kind.regex]
SEARCHED = [kind for kind in SHAPED if kind.prefixes and kind.severity is not Severity.INFO]
UNBOUNDED = 100  # repeats; more are as good as endless
PLACE = re.compile(
    r"@audience|sigv4\.id|auth:[a-z0-9*-]+(\.user|\.pass)?|header:[a-z0-9*-]+|(cookie|query|form):[\w.*-]+|"
    r"json:[\w.*]+|multipart:\w+(#[\w.]+)?|path:(\*|/[\w/]*\{value\}/)",
    re.IGNORECASE,
)
each = pytest.mark.parametrize("kind", KINDS, ids=[kind.id for kind in KINDS])
each_shape = pytest.mark.parametrize("kind", SHAPED, ids=[kind.id for kind in SHAPED])
each_searched = pytest.mark.parametrize("kind", SEARCHED, ids=[kind.id for kind in SEARCHED])


def test_the_json_is_made_of_the_yaml() -> None:
    text = (ROOT / "src/ebbgate/secrets/credentials.yml").read_text()
    assert compact(yaml.safe_load(text)) == (ROOT / "src/ebbgate/secrets/credentials.json").read_text()


def test_no_entry_contradicts_another() -> None:
    assert [name for name, count in Counter(kind.id for kind in KINDS).items() if count > 1] == []
    shared = Counter(kind.regex for kind in SHAPED if not kind.regex.startswith("eyJ"))  # tokens told apart by their issuer
    assert [regex for regex, count in shared.items() if count > 1] == []
    assert len(KINDS) > 250


@each
def test_an_entry_is_complete(kind: CredentialKind) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", kind.id)
    assert kind.name
    assert kind.regex or kind.variables or "@source" in kind.hosts or kind.id in RUNTIME, "nothing tells it"
    assert bool(kind.hosts) == bool(kind.places), "hosts without places, or places without hosts"
    assert kind.confidence in ("source", "knowledge", "weak")
    assert kind.confidence != "weak" or kind.severity is not Severity.HIGH
    assert not kind.check or kind.check in CHECKS
    assert not kind.revoke or re.match(r"https://[a-z0-9.-]+(/|\Z)", kind.revoke)
    assert all(
        re.fullmatch(r"[A-Z][A-Z0-9_-]*|TF_TOKEN_app_terraform_io|ORG_GRADLE_PROJECT_\w+", name) for name in kind.variables
    )


RUNTIME = ("aws-ecr-password",)  # minted while the job runs; whoever finds it says its kind


@pytest.mark.parametrize(
    "use",
    [use for kind in KINDS for use in (kind.use, *(one for _name, one in kind.exceptions))] + [use for _aud, use in credentials().audiences],
    ids=str,
)  # fmt: skip
def test_hosts_are_canonical_and_places_grammatical(use: Use) -> None:
    for host in use.hosts:
        if host.startswith("@"):
            assert host in ("@audience", "@issuer", "@source")
        elif host.startswith("$"):
            assert re.fullmatch(r"\$\{[A-Z][A-Z0-9_]+\}", host)
        else:
            plain = host.removeprefix("*.").replace("*", "x")
            assert canonical_host(plain) == plain
            assert all(label in ("*", label.replace("*", "")) for label in host.split(".")), "a star is a whole label"
    assert [place for place in use.places if not PLACE.fullmatch(place)] == []
    assert len(set(use.hosts)) == len(use.hosts)


@each_shape
def test_a_pattern_is_linear(kind: CredentialKind) -> None:
    """No repeat without end inside another, nothing that looks around or back, at most one group."""
    pattern = re.compile(kind.regex.encode())
    assert pattern.groups <= 1
    _walk(parser.parse(kind.regex), inside=False)


def _walk(items: object, *, inside: bool) -> None:
    for kind, value in items:
        assert kind not in (sre.ASSERT, sre.ASSERT_NOT, sre.GROUPREF, sre.GROUPREF_EXISTS)
        if kind in (sre.MAX_REPEAT, sre.MIN_REPEAT):
            endless = value[1] > UNBOUNDED
            assert not (endless and inside), "an endless repeat inside another"
            _walk(value[2], inside=inside or (endless and not _begins_with_a_separator(value[2])))
        elif kind is sre.SUBPATTERN:
            _walk(value[3], inside=inside)
        elif kind is sre.BRANCH:
            for one in value[1]:
                _walk(one, inside=inside)


def _begins_with_a_separator(items: object) -> bool:
    """``(?:;name=value)+`` can be read in one way only, when values hold no semicolon."""
    first = next(iter(items))
    if first[0] is sre.SUBPATTERN:
        return _begins_with_a_separator(first[1][3])
    return first == (sre.LITERAL, ord(";"))


@each_shape
def test_a_value_of_the_kind_is_known_for_one(kind: CredentialKind) -> None:
    for _ in range(5):
        value = sample(kind)
        assert not kind.check or check(kind.check, value.encode()) is not False, value
        match = compiled(kind.id).fullmatch(value.encode())
        assert match is not None, value
        assert not kind.prefixes or any(prefix in value for prefix in kind.prefixes), value
        assert kind in [one for one, holds in shape_of(value.encode()) if holds is not False] or kind.id == "discord-bot"


@each_searched
def test_it_is_found_in_a_head(kind: CredentialKind) -> None:
    shapes = Shapes(heads=True)
    for _ in range(5):
        value = sample(kind)
        for around in ("Bearer {}", "token={}&x=1", '{{"token": "{}"}}', "{}", "a\n{}\nb"):
            data = around.format(value).encode()
            at = data.index(value.encode())
            kinds = [one.kind.id for one in shapes.search(data) if one.start < at + len(value) and one.end > at]
            assert kinds, (value, data)
            assert kind.id in kinds or {*kinds} & TWINS.get(kind.id, set()), (value, kinds)


# Two vendors' tokens can look alike: the first that matches the most is told.
TWINS = {
    "segment": {"sourcegraph"}, "sourcegraph": {"segment"}, "gitlab-runner": {"gitlab-runner"}, "slack-user": {"slack-bot"},
    "deepseek": {"openai"}, "db-url": set(),
}  # fmt: skip


# Platforms on which anybody's code answers below the same suffix: a token sent there is anybody's.
TENANTS_CODE = (
    "workers.dev", "pages.dev", "hf.space", "run.app", "cloudfunctions.net", "azurewebsites.net", "huggingface.cloud", "supabase.co",
    "on.aws", "force.com", "salesforce.com", "logic.azure.com", "powerplatform.com", "vercel.app", "netlify.app", "fly.dev",
    "herokuapp.com", "ngrok.io", "github.io", "scw.cloud",
)  # fmt: skip


@pytest.mark.parametrize("host", sorted({host for kind in KINDS for host in kind.hosts if host.startswith("*.")}))
def test_no_wildcard_is_over_other_peoples_code(host: str) -> None:
    assert not [one for one in TENANTS_CODE if f".{one}".endswith(host[1:]) or host == f"*.{one}"]


def test_the_wheel_carries_the_table() -> None:
    assert importlib.util.find_spec("ebbgate.secrets") is not None
    assert "GITHUB_SERVER_URL" in host_variables()
