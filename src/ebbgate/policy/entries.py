"""Allow and deny entries: from YAML nodes or option strings to validated ``model.Entry``."""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from ebbgate.policy.model import METHODS, Entry, HostPattern, Only
from ebbgate.policy.names import canonical_host
from ebbgate.policy.observation import Protocol, RuleRef
from ebbgate.policy.placeholders import PLACEHOLDERS, unknown_in
from ebbgate.policy.suffixes import public_suffix_list
from ebbgate.policy.yaml_source import Mapping, Node, Problem, Scalar, Sequence

ENTRY_KEYS = {
    "host": "`example.com`, or `*.example.com` for everything below it",
    "cidr": "addresses; with a host, special ones that its name may resolve to",
    "port": "443 for tls, 80 for http",
    "protocol": "`tls` (default), `http` or `tcp`",
    "methods": "empty: all",
    "paths": "empty: all; `*` within one segment, `**` across them; `{owner}`, `{repo}`, `{ref}`: this run's",
    "query": "parameters, `name` or `name=pattern`; no other may be there. Empty: any",
    "only": "`{steps: [...], executables: [...], actions: [...]}`: who may use it, by evidence",
    "tls": "`passthrough`: not decrypted, and not read",
    "credentials": "`own` or `any`, for this entry",
    "uninspectable": "`deny` or `allow`, for this entry: what the guard cannot read",
    "reason": "for whoever reads it",
}
ONLY_KEYS = ("steps", "executables", "actions")
CREDENTIALS = ("own", "any")
UNINSPECTABLE = ("deny", "allow")
DEFAULT_PORTS = {Protocol.TLS: 443, Protocol.HTTP: 80}
# Suffixes below which anybody can have a name, but which are on no public suffix list.
SHARED_PLATFORMS = frozenset(
    {"amazonaws.com", "azure.com", "windows.net", "cloudapp.net", "googleapis.com", "googleusercontent.com",
     "cloudflare.com", "cloudfront.net", "akamai.net", "fastly.net",
     "sharepoint.com", "digitaloceanspaces.com", "linodeobjects.com", "backblazeb2.com", "r2.dev", "trycloudflare.com",
     "ngrok.io", "ngrok.app", "ngrok-free.app", "requestcatcher.com", "pipedream.net", "webhook.site", "plesk.page"}
)  # fmt: skip
_SCHEMES = {"tls": Protocol.TLS, "https": Protocol.TLS, "http": Protocol.HTTP, "tcp": Protocol.TCP}


@dataclass(slots=True)
class Reader:
    """Collects problems while reading one source; nothing is raised until all of it was read."""

    source: str
    problems: list[Problem] = field(default_factory=list)

    def fail(self, node: Node, message: str, fix: str = "") -> None:
        """Note a problem at a node."""
        self.problems.append(Problem(self.source, node.line, node.column, message, fix))

    def unknown_keys(self, mapping: Mapping, known: Iterable[str], where: str) -> None:
        """Refuse keys that mean nothing, naming the nearest that does."""
        known = tuple(known)
        for key, _value in mapping.items:
            if key.text not in known:
                near = difflib.get_close_matches(key.text, known, n=1, cutoff=0.5)
                fix = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
                self.fail(key, f"unknown key {key.text!r} in {where}", fix)

    def text(self, node: Node | None, what: str) -> str | None:
        """A non-empty text, or None with a problem noted (none for a missing node)."""
        if node is None:
            return None
        if not isinstance(node, Scalar) or not node.text.strip():
            self.fail(node, f"{what} must be text")
            return None
        return node.text.strip()

    def texts(self, node: Node | None, what: str) -> list[Scalar]:
        """A text or a list of texts."""
        if node is None:
            return []
        nodes = node.items if isinstance(node, Sequence) else (node,)
        if isinstance(node, Sequence) and not node.items:
            self.fail(node, f"{what} is empty", "leave the key out, or list something")
        found: list[Scalar] = []
        for one in nodes:
            if isinstance(one, Scalar) and one.text.strip():
                found.append(one)
            else:
                self.fail(one, f"{what} must be a text or a list of texts")
        return found


def entries(reader: Reader, node: Node | None, what: str, *, deny: bool) -> list[Entry]:
    """The entries of an ``allow`` or ``deny`` list."""
    if node is None:
        return []
    if not isinstance(node, Sequence):
        reader.fail(node, f"{what} must be a list", f"write:\n{what}:\n  - example.com")
        return []
    found = [_entry(reader, item, deny=deny) for item in node.items]
    return [one for one in found if one is not None]


def _entry(reader: Reader, node: Node, *, deny: bool) -> Entry | None:
    if isinstance(node, Scalar):
        return _short(reader, node, deny=deny)
    if not isinstance(node, Mapping):
        reader.fail(node, "an entry must be a host or a mapping", "write: - example.com")
        return None
    known = len(reader.problems)
    reader.unknown_keys(node, ENTRY_KEYS, "an entry")
    made = _long(reader, node, deny=deny)
    return made if len(reader.problems) == known else None


def _short(reader: Reader, node: Scalar, *, deny: bool) -> Entry | None:
    """``example.com``, ``example.com:8443``, ``http://example.com``, ``10.0.0.0/8``: also what --allow takes."""
    text = node.text.strip()
    scheme, mark, rest = text.partition("://")
    if mark and scheme.lower() not in _SCHEMES:
        reader.fail(node, f"unknown protocol {scheme!r}", "use tls://, http:// or tcp://")
        return None
    protocol = _SCHEMES[scheme.lower()] if mark else Protocol.TLS
    rest = rest if mark else text
    cidr = _cidr_of(rest)
    host_text, port_text = (rest, "") if cidr else _split_port(rest)
    if not cidr and "/" in host_text.rstrip("/"):
        reader.fail(node, "a path does not belong here", "use a mapping: {host: ..., paths: [...]} in a policy file")
        return None
    port = _port(reader, node, port_text) if port_text else None
    if port_text and port is None:
        return None
    if port is None and protocol is Protocol.TCP and not deny:
        reader.fail(node, "a tcp destination needs a port", f"write tcp://{host_text}:PORT")
        return None
    ports = (port,) if port else () if deny else (DEFAULT_PORTS[protocol],)
    if cidr:
        return _with_ref(reader, node, Entry(None, (cidr,), ports, protocol))
    pattern = _host(reader, node, host_text.rstrip("/"), reasoned=deny)
    return _with_ref(reader, node, Entry(pattern, (), ports, protocol)) if pattern else None


def _cidr_of(text: str) -> str | None:
    """An address range in CIDR notation, canonical; None when it is none."""
    if "/" not in text:
        return None
    try:
        return str(ipaddress.ip_network(text.strip(), strict=False))
    except ValueError:
        return None


def _split_port(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, _, rest = text.partition("]")
        return host + "]", rest.removeprefix(":")
    if text.count(":") > 1:
        return text, ""
    host, _, port = text.partition(":")
    return host, port


def _port(reader: Reader, node: Node, text: str) -> int | None:
    plain = text.strip()
    if plain.isascii() and plain.isdigit() and 0 < int(plain) < 65536 and not (plain.startswith("0")):
        return int(plain)
    reader.fail(node, f"not a port: {plain[:20]}", "a port is a number from 1 to 65535, without leading zeros")
    return None


def _host(reader: Reader, node: Node, text: str, *, reasoned: bool) -> HostPattern | None:
    """A host pattern. reasoned: the entry says why, so a wildcard over a shared platform is taken as meant."""
    bare = text.strip()
    if bare in ("*", "*.", "**"):
        reader.fail(node, "* alone would allow every host", "name the hosts")
        return None
    wildcard = bare.startswith("*.")
    suffix = bare[2:] if wildcard else bare
    if "*" in suffix:
        reader.fail(node, "a wildcard is only allowed as the first label", "write *.example.com")
        return None
    try:
        host = canonical_host(suffix)
    except ValueError as problem:
        reader.fail(node, str(problem), "a host looks like example.com or *.example.com")
        return None
    if wildcard and not reasoned and is_shared(host):
        message = f"*.{host} would allow names that anybody can have"
        reader.fail(node, message, "name the hosts, or add reason: to say why")
        return None
    return HostPattern(host, wildcard)


def is_shared(host: str) -> bool:
    """Whether anybody can have a name below a canonical host."""
    suffixes = public_suffix_list()
    return host in SHARED_PLATFORMS or suffixes.publicsuffix(host) == host or "." not in host or _below_shared(host)


def _below_shared(host: str) -> bool:
    """Deeper shared platforms such as ``blob.core.windows.net``."""
    return any(host.endswith("." + one) for one in ("windows.net", "amazonaws.com", "azure.com", "cloudapp.net"))


def _long(reader: Reader, node: Mapping, *, deny: bool) -> Entry | None:
    protocol = _protocol(reader, node)
    passthrough = _passthrough(reader, node, protocol)
    cidrs = tuple(one for one in (_range(reader, item) for item in reader.texts(node.get("cidr"), "cidr")) if one)
    reason = reader.text(node.get("reason"), "reason") or ""
    host_node = node.get("host")
    pattern = None
    if host_node is not None:
        text = reader.text(host_node, "host")
        pattern = _host(reader, host_node, text, reasoned=bool(reason) or deny) if text else None
    elif node.get("cidr") is None:
        reader.fail(node, "an entry needs host or cidr", "write: {host: example.com}")
    ports = _ports(reader, node, protocol, deny=deny)
    methods = _methods(reader, node, protocol, passthrough=passthrough)
    paths = _globs(reader, node, protocol, passthrough=passthrough)
    who = _only(reader, node, protocol, unread=passthrough or deny)
    query = _query(reader, node, protocol, passthrough=passthrough)
    own = either(reader, node, "credentials", CREDENTIALS)
    if own is not None and (deny or passthrough or protocol is Protocol.TCP):
        reader.fail(node, "credentials cannot be judged here", "they need an allow entry for tls or http, without passthrough")
    only = either(reader, node, "uninspectable", UNINSPECTABLE)
    if only and (deny or passthrough):
        reader.fail(node, "nothing is inspected here", "uninspectable needs an allow entry without passthrough")
    entry = Entry(pattern, cidrs, ports, protocol, methods, paths, passthrough, reason, own, only, query, who)
    return _with_ref(reader, node, entry)


def either(reader: Reader, mapping: Mapping, key: str, words: tuple[str, str]) -> bool | None:
    """Whether a key says the first of its two words; None where it says nothing."""
    node = mapping.get(key)
    text = reader.text(node, key)
    if node is None or text is None:
        return None
    if text not in words:
        near = difflib.get_close_matches(text, words, n=1, cutoff=0.4)
        reader.fail(node, f"{key} cannot be {text!r}", f"did you mean {near[0]}?" if near else " or ".join(words))
    return text == words[0]


def _protocol(reader: Reader, node: Mapping) -> Protocol:
    given = node.get("protocol")
    text = reader.text(given, "protocol")
    if text is None or given is None:
        return Protocol.TLS
    if text not in ("tls", "http", "tcp"):
        near = difflib.get_close_matches(text, ("tls", "http", "tcp"), n=1, cutoff=0.4)
        reader.fail(given, f"unknown protocol {text!r}", f"did you mean {near[0]}?" if near else "use tls, http or tcp")
        return Protocol.TLS
    return Protocol(text)


def _passthrough(reader: Reader, node: Mapping, protocol: Protocol) -> bool:
    given = node.get("tls")
    text = reader.text(given, "tls")
    if given is None or text is None:
        return False
    if text not in ("passthrough", "inspect"):
        reader.fail(given, f"tls cannot be {text!r}", "use passthrough or inspect")
        return False
    if text == "passthrough" and protocol is not Protocol.TLS:
        reader.fail(given, "tls: passthrough needs protocol tls", "leave protocol out")
        return False
    return text == "passthrough"


def _range(reader: Reader, node: Scalar) -> str | None:
    try:
        return str(ipaddress.ip_network(node.text.strip(), strict=True))
    except ValueError as problem:
        try:
            fixed = ipaddress.ip_network(node.text.strip(), strict=False)
            reader.fail(node, f"not an address range: {problem}", f"did you mean {fixed}?")
        except ValueError:
            reader.fail(node, f"not an address range: {node.text[:40]}", "write it like 10.0.0.0/8")
        return None


def _ports(reader: Reader, node: Mapping, protocol: Protocol, *, deny: bool) -> tuple[int, ...]:
    given = node.get("port")
    if given is None:
        if protocol is Protocol.TCP and not deny:
            reader.fail(node, "a tcp entry needs a port", "add port:")
        return () if deny or protocol is Protocol.TCP else (DEFAULT_PORTS[protocol],)
    found = [_port(reader, item, item.text) for item in reader.texts(given, "port")]
    return tuple(dict.fromkeys(one for one in found if one is not None))


def _methods(reader: Reader, node: Mapping, protocol: Protocol, *, passthrough: bool) -> tuple[str, ...]:
    given = node.get("methods")
    if given is None:
        return ()
    if protocol is Protocol.TCP or passthrough:
        reader.fail(given, "methods cannot be judged here", "methods need protocol tls or http, without passthrough")
        return ()
    found: list[str] = []
    for item in reader.texts(given, "methods"):
        if item.text not in METHODS:
            near = difflib.get_close_matches(item.text.upper(), METHODS, n=1, cutoff=0.5)
            reader.fail(item, f"unknown method {item.text!r}", f"did you mean {near[0]}?" if near else "upper case")
        found.append(item.text)
    return tuple(dict.fromkeys(found))


def _globs(reader: Reader, node: Mapping, protocol: Protocol, *, passthrough: bool) -> tuple[str, ...]:
    given = node.get("paths")
    if given is None:
        return ()
    if protocol is Protocol.TCP or passthrough:
        reader.fail(given, "paths cannot be judged here", "paths need protocol tls or http, without passthrough")
        return ()
    found: list[str] = []
    for item in reader.texts(given, "paths"):
        if not item.text.startswith("/"):
            reader.fail(item, f"a path begins with /: {item.text[:40]}", f"write /{item.text[:40]}")
        elif unknown := unknown_in(item.text):
            known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
            reader.fail(item, f"unknown placeholder {unknown}", f"known: {known}")
        elif "?" in item.text or "#" in item.text:
            reader.fail(item, "a query does not belong in a path", "leave out what follows ?")
        found.append(item.text)
    return tuple(found)


def _only(reader: Reader, node: Mapping, protocol: Protocol, *, unread: bool) -> Only | None:
    given = node.get("only")
    if given is None:
        return None
    if protocol is Protocol.TCP or unread:
        reader.fail(given, "only cannot be judged here", "it needs an allow entry for tls or http, without passthrough")
        return None
    if not isinstance(given, Mapping) or not given.items:
        reader.fail(given, "only must be a mapping", "write: only: {steps: [publish]}")
        return None
    reader.unknown_keys(given, ONLY_KEYS, "only")
    texts = {key: reader.texts(given.get(key), key) for key in ONLY_KEYS}
    for item in texts["executables"]:
        if not item.text.startswith("/"):
            reader.fail(item, f"an executable is named by its path: {item.text[:40]}", "write /usr/bin/NAME, or /**/NAME")
    steps, executables, actions = (tuple(item.text for item in texts[key]) for key in ONLY_KEYS)
    return Only(steps, executables, tuple(one.lower() for one in actions))


def _query(reader: Reader, node: Mapping, protocol: Protocol, *, passthrough: bool) -> tuple[str, ...]:
    given = node.get("query")
    if given is None:
        return ()
    if protocol is Protocol.TCP or passthrough:
        reader.fail(given, "a query cannot be judged here", "query needs protocol tls or http, without passthrough")
        return ()
    found = reader.texts(given, "query")
    for item in found:
        if any(sign in item.text for sign in "?&#;") or item.text.startswith("="):
            reader.fail(item, f"not a query parameter: {item.text[:40]}", "write name, or name=pattern, one an item")
    return tuple(item.text for item in found)


def _with_ref(reader: Reader, node: Node, entry: Entry) -> Entry:
    return replace(entry, ref=RuleRef(reader.source, node.line, node.column, describe(entry)))


def describe(entry: Entry) -> str:
    """An entry in one short line."""
    where = str(entry.host) if entry.host else ",".join(entry.cidrs)
    ports = ",".join(map(str, entry.ports)) or "*"
    parts = [f"{entry.protocol}://{where}:{ports}"]
    if entry.host and entry.cidrs:
        parts.append(f"in {','.join(entry.cidrs)}")
    if entry.methods:
        parts.append(",".join(entry.methods))
    if entry.paths:
        parts.append(" ".join(entry.paths))
    if entry.query:
        parts.append(f"?{'&'.join(entry.query)}")
    if entry.only is not None:
        parts.append(f"only {entry.only}")
    if entry.passthrough:
        parts.append("passthrough")
    if entry.own_credentials is not None:
        parts.append(f"credentials {'own' if entry.own_credentials else 'any'}")
    if entry.inspected_only is not None:
        parts.append(f"uninspectable {'deny' if entry.inspected_only else 'allow'}")
    return " ".join(parts)


def option_entry(text: str, option: str, *, deny: bool) -> tuple[Entry | None, list[Problem]]:
    """An entry given as an option's value."""
    reader = Reader(option)
    node = Scalar(text, 1, 1, plain=False)
    entry = None
    if not text.strip():
        reader.fail(node, "empty", "name a host")
    else:
        entry = _short(reader, node, deny=deny)
    return entry, reader.problems
