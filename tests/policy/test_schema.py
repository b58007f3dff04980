"""The schema for editors: what loads is valid by it, and the usual mistakes are not."""

from __future__ import annotations

import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from ebbgate.policy.load import load_policy
from ebbgate.policy.schema import schema
from tests.policy.test_broken_policies import BROKEN
from tests.policy.test_check import CAREFUL
from tests.policy.test_decide import TEXT

ROOT = Path(__file__).parent.parent.parent
README = re.findall(r"```yaml\n(version: 1\n.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
SHAPES = [
    "an unknown key",
    "an unknown key in an entry",
    "no version",
    "another version",
    "an unknown mode",
    "an unknown preset",
    "an unknown method",
    "a path that does not begin with a slash",
    "an unknown protocol",
    "a query with a question mark",
    "only of nothing",
    "only of something unknown",
    "a program without its path",
    "passthrough misspelt",
    "an allow that is no list",
    "a secret bound to nothing",
    "a place without a name",
    "credentials of nobody",
    "an unknown exception",
    "a mistake in another job",
    "a list instead of a policy",
]


@pytest.mark.parametrize("text", [TEXT, "version: 1\n" + CAREFUL, *README], ids=lambda text: text[:20])
def test_what_loads_is_valid(tmp_path: Path, text: str) -> None:
    file = tmp_path / "p.yml"
    file.write_text(text)
    load_policy([file])
    jsonschema.validate(yaml.safe_load(text), schema(), jsonschema.Draft202012Validator)


def test_the_readme_shows_a_policy() -> None:
    assert README


@pytest.mark.parametrize("name", SHAPES)
def test_mistakes_are_seen_in_the_editor(name: str) -> None:
    document = yaml.safe_load(BROKEN[name][0].replace("§", ""))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema(), jsonschema.Draft202012Validator)
