"""What kind of credential a known value is, and what its own text says of where it belongs."""

from __future__ import annotations

from urllib.parse import urlsplit

from ebbgate.secrets.checks import claims
from ebbgate.secrets.credentials import CredentialKind, Severity, credentials
from ebbgate.secrets.shapes import shape_of

AUDIENCE, ISSUER, SOURCE = "aud:", "iss:", "source:"  # marks: what a value, or the place it came from, says of itself
MAX_MARK = 300  # characters


def kind_of(name: str, value: bytes) -> str:
    """Id of a kind; "" when neither the variable's name nor the value's shape says one.

    A shape that the variable's name promises is surest. Next is one that proves itself by its checksum: ``NODE_AUTH_TOKEN``
    often holds a GitHub token. A name whose kind has no shape beats shapes that prove nothing (``sk_live_`` is two vendors').
    """
    named = credentials().by_variable.get(name.upper(), ())
    shapes = [(kind, holds) for kind, holds in shape_of(value) if holds is not False]
    likely = [
        *(kind for kind in named if any(kind is one for one, _holds in shapes)),
        *(kind for kind, holds in shapes if holds is True and kind.severity is not Severity.INFO),
        *(kind for kind in named if not kind.regex),
        *(kind for kind, _holds in shapes if kind.severity is not Severity.INFO),
        *_by_name_alone(named),
        *(kind for kind, _holds in shapes),
    ]
    return likely[0].id if likely else ""


def _by_name_alone(named: tuple[CredentialKind, ...]) -> list[CredentialKind]:
    """The narrowest of the kinds that a name may stand for: what it may be, it may go where all of them may."""
    return sorted(named, key=lambda kind: len(kind.hosts))


def marks_of(kind_id: str, value: bytes, sources: tuple[str, ...] = ()) -> tuple[str, ...]:
    """``aud:`` and ``iss:`` of a JSON Web Token, ``source:`` of the hosts that the value's source names."""
    found = [SOURCE + one for one in sources]
    kind = credentials().by_id.get(kind_id)
    if kind is not None and kind.check == "jwt":
        known = claims(value) or {}
        audiences = known.get("aud")
        found += [AUDIENCE + one for one in (audiences if isinstance(audiences, list) else [audiences]) if isinstance(one, str)]
        if isinstance(known.get("iss"), str):
            found.append(ISSUER + known["iss"])
    return tuple(one[:MAX_MARK] for one in found[:8])


def host_in(text: str) -> str:
    """The host of a URL, or of ``host[:port][/path]``; "" when there is none."""
    try:
        return urlsplit(text if "://" in text else f"https://{text}").hostname or ""
    except ValueError:
        return ""
