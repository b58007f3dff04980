"""The secrets inside of a secret: leaves of JSON, passwords in URLs, ``KEY=VALUE`` lines, keys in PEM, and base64 of those.

Who steals a document rarely sends the document. What is found inside is a secret of its own, called ``NAME (label)``. Lines of
several-line values are looked for by the scanner itself; here are only whole values.

Texts come from whoever wrote them, so nothing here raises, recurses deeper than MAX_DEPTH or gives more than MAX_INNER values.
No parser of YAML, XML or TOML is used: what is wanted are keys with their values, and those parsers can be made to work hard.
"""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from urllib.parse import unquote

from ebbgate.secrets.known import MAX_VALUE, Public, is_recognisable, is_strong, looks_secret
from ebbgate.secrets.secret import Secret

MAX_DEPTH = 4  # documents in documents: base64 of a kubeconfig with base64 of a PEM key is three
MAX_JSON_DEPTH = 32  # nested objects; a cloud's credentials have two, a docker configuration three
MAX_INNER = 200  # values of one document: more would slow down the scanner, and no credential file has as many
MAX_TEXT = 1 << 18  # bytes of one document; real credential files have less than 64 KB
MAX_LINES = 4096
MAX_LABEL = 40  # characters of a label that are shown

_HOST = re.compile(
    r"(?:[a-z][a-z0-9+.-]*://)?(?P<host>(?:[a-z0-9_-]+\.)+[a-z][a-z0-9-]*|localhost)(?::\d+)?(?:/.*)?", re.IGNORECASE
)
_URL = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]{1,20})://(?P<user>[^\s/:@'\"]{0,1024})(?::(?P<password>[^\s/@'\"]{0,4096}))?@(?P<host>[\w.-]+)",
    re.IGNORECASE,
)
_HEADER = re.compile(r"\b(?P<scheme>basic|bearer|token)\s+(?P<value>[\w.~+/=:-]{8,})", re.IGNORECASE)
_HOOK_PATH = re.compile(r"https?://(?P<host>[\w.-]+)/(?P<path>[^\s?#]+)(?:\?(?P<query>[^\s#]+))?", re.IGNORECASE)
_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]{3,40})-----")
_JWT = re.compile(r"[\w-]{10,}\.[\w-]{10,}\.(?P<signature>[\w-]{20,})")
_SECTION = re.compile(r"^\[(?P<name>[^\]\n]{1,300})\]$")
_LINE = re.compile(
    r"(?:export\s+|-\s+)?(?P<key>//[^\s=]{1,300}(?==)|[\"'][^\"']{1,200}[\"']|:?[\w.@/%*-]{1,200})"
    r"\s*[:=]\s*(?P<value>\S.*)?"
)
_BLOCK = re.compile(r"(?P<key>\w+)\s+\"(?P<host>[^\"]{1,200})\"\s*\{")
_TAG = re.compile(r"<(?P<tag>[\w:.-]{1,60})>\s*(?P<value>[^<>]{1,4096}?)\s*</(?P=tag)>")
_ADD = re.compile(r"<add\s+key=\"(?P<tag>[^\"]{1,200})\"\s+value=\"(?P<value>[^\"]{1,4096})\"", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_APART = re.compile(r"\s|://")
_NETRC = re.compile(r"\b(machine|default|login|password|account)\b(?:[ \t\n]+(\S+))?")
_PUBLIC_PEM = ("CERTIFICATE", "PUBLIC KEY", "CERTIFICATE REQUEST", "X509 CRL", "TRUSTED CERTIFICATE")
# Keys whose values are base64 of "user:password".
_PAIRS = frozenset({"auth", "_auth", "identity"})
_ENCODED = frozenset({"_password"})  # npm's: base64 of the password alone
# Members that name somebody or something; they stand in legitimate requests in the clear.
_NAMES = re.compile(
    r"(?:^|_)(?:id|user|username|email|mail|login|name|host|hostname|server|url|uri|endpoint|region|domain|type|audience|issuer|"
    r"scope|fingerprint|certificate|cert|ca|version|arn|role|date|expiration|expires?(?:_at|_in)?|format|algorithm|kid)(?:_?data)?$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Inner:
    """label: how it is called in its document. host: where the document says that it belongs, "" when it does not say."""

    label: str
    value: str
    host: str = ""


def with_inner(secrets: Iterable[Secret], public: Public = frozenset()) -> list[Secret]:
    """The secrets, and then those inside of them that are none of these already."""
    found = list(secrets)
    known = {secret.reveal() for secret in found}
    for secret in list(found):
        for one in inner_values(secret.reveal(), public):
            value = one.value.encode("utf-8", "surrogateescape")
            if value not in known:
                known.add(value)
                found.append(Secret(f"{secret.name} ({one.label})", value, secret.origin, sources=secret.sources))
    return found


def with_files(secrets: Iterable[Secret], in_files: Iterable[Secret]) -> list[Secret]:
    """Secrets and those of files, each value of these once. A variable's value that is in a file too belongs where the file
    says: both were there before anything hostile ran.
    """
    found = dict(enumerate(secrets))
    places = {secret.reveal(): number for number, secret in reversed(found.items())}
    for secret in in_files:
        number = places.setdefault(secret.reveal(), len(found))
        known = found.setdefault(number, secret)
        if secret.sources and not known.sources and known.origin == "environment":
            found[number] = Secret(known.name, known.reveal(), known.origin, sources=secret.sources)
    return list(found.values())


def inner_values(data: bytes, public: Public = frozenset()) -> list[Inner]:
    """What a value has inside, without the value itself. Each value once."""
    whole = data.decode("utf-8", "surrogateescape").strip()
    return distinct((one for one in document(whole) if one.value != whole), public)


def distinct(found: Iterable[Inner], public: Public = frozenset()) -> list[Inner]:
    """At most MAX_INNER recognisable values, each once: with a host rather than without."""
    kept: dict[str, Inner] = {}
    try:
        for one in islice(found, MAX_INNER * 4):
            value = one.value.strip()
            known = kept.get(value)
            if known is not None and (known.host or not one.host):
                continue
            if known is None and (len(kept) >= MAX_INNER or not is_recognisable(value, public)):
                continue
            kept[value] = Inner("".join(filter(str.isprintable, one.label))[:MAX_LABEL], value, one.host.lower())
    except (ValueError, RecursionError):  # what was found before the text became unreadable counts
        pass
    return list(kept.values())


def document(text: str, depth: int = 0) -> Iterator[Inner]:
    """Every inner value of a text in whatever format it is; unfiltered, and perhaps more than once."""
    if depth > MAX_DEPTH or not text or len(text) > MAX_TEXT:
        return
    yield from pem(text)
    yield from urls(text)
    yield from headers(text)
    root = _json(text) if text[0] in "{[" else None
    if root is not None:
        yield from json_leaves(root, depth)
    elif text[0] == "<":
        yield from xml_values(text)
    elif "\n" in text or "=" in text[1:]:
        yield from lines(text, depth)
    if _BASE64.fullmatch("".join(text.split())):
        yield from decoded(text, depth)
    if (match := _JWT.fullmatch(text)) is not None:
        yield Inner("signature", match["signature"])
    if "%" in text and not _APART.search(text) and (plain := unquote(text, errors="surrogateescape")) != text:
        yield Inner("percent-decoded", plain)
        yield from document(plain, depth + 1)


def decoded(text: str, depth: int) -> Iterator[Inner]:
    """Base64 of something that has inner values, or of ``user:password``."""
    plain = from_base64(text)
    if plain is None:
        return
    user, colon, password = plain.partition(":")
    if colon and "\n" not in plain and re.fullmatch(r"[\w.@+$-]{1,80}", user):
        yield Inner("password", password)
    if plain.lstrip()[:1] in ("{", "<", "[") or "-----BEGIN " in plain or "\n" in plain or "://" in plain:
        yield from document(plain.strip(), depth + 1)


def from_base64(text: str) -> str | None:
    """Text that was written in base64 of either alphabet; None when it is not such, or not text."""
    joined = "".join(text.split()).rstrip("=").replace("-", "+").replace("_", "/")
    if len(joined) < 8 or len(joined) % 4 == 1:
        return None
    try:
        plain = base64.b64decode(joined + "=" * (-len(joined) % 4), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return plain if all(one.isprintable() or one in "\r\n\t" for one in plain) else None


def pem(text: str) -> Iterator[Inner]:
    """Private keys, each as a value of several lines: the scanner looks for its lines and for its body without line ends."""
    text = text.replace("\\r", "").replace("\\n", "\n")  # as JSON and .env files write line ends
    for match in islice(_PEM.finditer(text), MAX_INNER):
        end = text.find(f"-----END {match[1]}-----", match.end())
        if match[1] in _PUBLIC_PEM or end < 0:
            continue
        body = text[match.end() : end].strip()
        yield Inner("key", f"{match[0]}\n{body}\n-----END {match[1]}-----" if "\n" in body else "".join(body.split()))


def urls(text: str) -> Iterator[Inner]:
    """Passwords in URLs as they are written and as they are meant; a long user without password is a token (Sentry, GitHub)."""
    for match in islice(_URL.finditer(text), MAX_INNER):
        written = match["password"] if match["password"] is not None else match["user"]
        if match["password"] is None and not is_strong(written):
            continue
        if match["password"] in ("x-oauth-basic", ""):
            written = match["user"]
        for value in dict.fromkeys((written, unquote(written, errors="surrogateescape"))):
            if not value.startswith("$"):
                yield Inner("password", value, match["host"])
    hook = _HOOK_PATH.fullmatch(text)
    if hook is not None:
        for part in (*hook["path"].split("/"), *re.split(r"[&=]", hook["query"] or "")):
            if is_strong(part):
                yield Inner("path", part, hook["host"])


def headers(text: str) -> Iterator[Inner]:
    """``AUTHORIZATION: basic ...``, as git's configuration has it."""
    for match in islice(_HEADER.finditer(text), MAX_INNER):
        value = match["value"]
        if match["scheme"].lower() == "basic":
            password = (from_base64(value) or "").partition(":")[2]
            yield Inner("password", password)
        elif is_strong(value):
            yield Inner(match["scheme"].lower(), value)


def pair(key: str, value: str, host: str, depth: int = 0) -> Iterator[Inner]:
    """One key with its value, if the key is one of a secret."""
    bare = value.strip().strip("'\"")
    name = key.rpartition(":")[2].strip("'\"")
    if not bare or bare.startswith("$"):
        return
    if name.lower() in _PAIRS and (plain := from_base64(bare)) is not None:
        yield Inner(name, plain.partition(":")[2] or plain, host)
    elif name.lower() in _ENCODED and (plain := from_base64(bare)) is not None:
        yield Inner(name, plain, host)
    elif looks_secret(name) and not _NAMES.search(name.replace("-", "_")) and not bare.startswith(("{", "[")):
        yield Inner(name, bare, host)
    for inner in document(bare, depth + 1) if len(bare) > MAX_LABEL or "://" in bare or " " in bare else ():
        yield Inner(name or inner.label, inner.value, inner.host or host)


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def json_leaves(root: object, depth: int = 0) -> Iterator[Inner]:
    """Strings of a JSON document that are called as secrets are, or look like some and are not called as names are."""
    waiting: list[tuple[str, str, object, int]] = [("", "", root, 0)]
    while waiting:
        key, host, value, level = waiting.pop()
        if isinstance(value, dict) and level < MAX_JSON_DEPTH:
            for name, inner in reversed(value.items()):
                waiting.append((name if not host_of(name) else key, host_of(name) or host, inner, level + 1))
        elif isinstance(value, list) and level < MAX_JSON_DEPTH:
            waiting += [(key, host, inner, level + 1) for inner in reversed(value)]
        elif isinstance(value, str) and len(value) <= MAX_VALUE:
            yield from pair(key, value, host, depth)
            if is_strong(value) and not _NAMES.search(key.replace("-", "_")) and key.lower() not in _PAIRS | _ENCODED:
                yield Inner(key, value, host)


def host_of(text: str) -> str:
    """The host that a key or value is, or is the URL of; "" when it is neither."""
    match = _HOST.fullmatch(text.strip().strip("'\"").removeprefix("//"))
    return match["host"].lower() if match is not None else ""


def lines(text: str, depth: int = 0) -> Iterator[Inner]:
    """``KEY=VALUE``, ``key: value``, ``//host/:key=value``, under ``[sections]``, ``host:`` lines and ``block "host" {``."""
    section, above = "", ""
    for raw in islice(text.splitlines(), MAX_LINES):
        line = raw.strip().rstrip(",")
        if not line or line[0] in "#;":
            continue
        header, block = _SECTION.match(line), _BLOCK.match(line)
        if header is not None or block is not None:
            name = header["name"] if header is not None else ""
            quoted = re.search(r"\"([^\"]*)\"", name)
            section, above = host_of(quoted[1]) if quoted else block["host"] if block else "", ""
            yield from urls(name)
            continue
        match = _LINE.match(line)
        if match is None:
            continue
        key, value = match["key"], match["value"] or ""
        if not value:
            above = host_of(key) or ("" if raw[:1].strip() else above)  # a line at the margin begins something else
            continue
        if key.strip("'\"").lower() in ("repository", "server", "url", "index", "registry") and host_of(value):
            section = host_of(value)
        host = host_of(key.rpartition(":")[0].partition("/:")[0]) if key.startswith("//") else section or above
        yield from pair(key, value, host, depth)


def netrc(text: str) -> Iterator[Inner]:
    """``machine HOST login USER password SECRET``, on one line or several."""
    host = ""
    for match in islice(_NETRC.finditer(text), MAX_INNER * 4):
        word, value = match[1], match[2] or ""
        if word == "machine":
            host = host_of(value)
        elif word == "default":
            host = ""
        elif word in ("password", "account"):
            yield Inner(word, value.strip("\"'"), host)


def xml_values(text: str) -> Iterator[Inner]:
    """Elements called as secrets are (Maven, Gradle), and ``<add key= value=>`` pairs (NuGet)."""
    for pattern in (_TAG, _ADD):
        for match in islice(pattern.finditer(text), MAX_INNER):
            yield from pair(match["tag"], html.unescape(match["value"]), "")
