"""``report.json``: the run's facts for programs. Fields are those of ``interface.RunReport``; additions only, no renames."""

from __future__ import annotations

import dataclasses
import json

from ebbgate.report.interface import RunReport

SCHEMA_VERSION = 1


def to_json(report: RunReport) -> str:
    """One JSON object, indented. The suggested policy is a file of its own."""
    document = {"schema_version": SCHEMA_VERSION, **dataclasses.asdict(report)}
    del document["suggested"]
    document["quiet"] = [{"what": what, "count": count} for what, count in report.quiet]
    return json.dumps(document, indent=2) + "\n"
