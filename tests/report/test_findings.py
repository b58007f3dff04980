"""Findings for scanners and annotations: valid, and nothing in them can be read as something else."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import jsonschema
import pytest

from ebbgate.policy.checks.finding import Finding, Severity
from ebbgate.policy.checks.registry import MEANINGS
from ebbgate.report.findings import FORMATS

# The schema of SARIF 2.1.0, as @microsoft/jest-sarif 1.0.0-beta.0 carries it.
SCHEMA = json.loads(gzip.decompress((Path(__file__).parent.parent / "policy/data/sarif-2.1.0-rtm.5.json.gz").read_bytes()))
HOSTILE = "a\n::error::x%0A,line=1:\r\x1b[31m\u202e"
FINDINGS = [
    Finding("shadowed", Severity.NOTE, "policy.yml", 3, 5, "message", "fix"),
    Finding("invalid", Severity.ERROR, "a b%.yml", 0, 0, "message"),
    Finding("no-such-rule", Severity.WARNING, f"dir/{HOSTILE}", 1, 2, HOSTILE, HOSTILE),
]


@pytest.mark.parametrize("findings", [FINDINGS, []], ids=["some", "none"])
def test_sarif_is_valid(findings: list[Finding]) -> None:
    document = json.loads(FORMATS["sarif"](findings, MEANINGS))
    jsonschema.validate(document, SCHEMA)
    run = document["runs"][0]
    assert len(run["results"]) == len(findings)
    for result, finding in zip(run["results"], findings, strict=True):
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"] == finding.rule
        assert result["locations"][0]["physicalLocation"]["region"]["startLine"] >= 1


def test_the_schema_refuses_what_is_no_sarif() -> None:
    document = json.loads(FORMATS["sarif"](FINDINGS, MEANINGS))
    document["runs"][0]["results"][0]["level"] = "notice"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, SCHEMA)


def test_annotations_are_one_line_each_and_worst_first() -> None:
    lines = FORMATS["github"](FINDINGS, MEANINGS).splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["::error", "::warning", "::notice"]
    assert lines[2] == "::notice title=Ebbgate shadowed,file=policy.yml,line=3,col=5::message (fix)"
    properties, _, message = lines[1].removeprefix("::").partition("::")
    assert properties.count("line=") == 2
    assert "line%3D" not in properties
    assert properties.count(",") == 3  # title, file, line, col
    assert not any(sign in properties + message for sign in ("\r", "\x1b", "\u202e"))


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_changes_the_terminal(form: str) -> None:
    shown = FORMATS[form](FINDINGS, MEANINGS)
    assert not any(sign in shown for sign in ("\r", "\x1b", "\u202e"))
    if form == "plain":
        assert len(shown.splitlines()) == len(FINDINGS)
