"""GitHub's own firewall for Actions: a file with ``mode: log|enforce``, ``allow: [hosts]`` and ``no-default-urls``.

As its technical preview documents it (github-early-access/actions-native-egress-firewall), where the format may still change:
what is unknown is an error, never ignored.
"""

from __future__ import annotations

from ebbgate.policy.entries import Reader
from ebbgate.policy.imports.listing import Endpoint, LeftOut, Listing, endpoint
from ebbgate.policy.yaml_source import Mapping, PolicyProblems, parse

_KEYS = ("mode", "allow", "no-default-urls")
_MODES = ("log", "enforce")


def read_firewall(source: str, text: str) -> list[Listing]:
    """The file's list. PolicyProblems with all mistakes."""
    reader = Reader(source)
    node = parse(text, source)
    endpoints: list[Endpoint] = []
    left_out: list[LeftOut] = []
    use: tuple[str, ...] = ("github-actions",)  # in place of the defaults that the list adds to
    mode = "enforce"
    if not isinstance(node, Mapping):
        reader.fail(node, "a firewall file is a mapping", "it has mode: and allow:")
    else:
        reader.unknown_keys(node, _KEYS, "the firewall file")
        given = node.get("mode")
        mode = reader.text(given, "mode") or mode
        if given is not None and mode not in _MODES:
            reader.fail(given, "mode is neither log nor enforce", "write the one that is in force")
        for item in reader.texts(node.get("allow"), "allow"):
            endpoint(reader, item, endpoints, left_out, ports=True)
        bare = reader.text(node.get("no-default-urls"), "no-default-urls")
        if bare not in (None, "true", "false"):
            reader.fail(node.get("no-default-urls") or node, "no-default-urls is a yes or no", "true or false")
        use = () if bare == "true" else use
    if reader.problems:
        raise PolicyProblems(reader.problems)
    return [Listing("", mode == "log", tuple(endpoints), tuple(left_out), use=use)]
