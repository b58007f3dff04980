"""Secrets that leave in pieces: what of which value has gone to one destination, over all requests of the job."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from ebbgate.policy.suffixes import public_suffix_list
from ebbgate.secrets.finding import Finding, Place
from ebbgate.secrets.fragments import Form

SHARE = 0.7  # of a value that must have gone: words of one that is made of words go by themselves
MAX_SUMS = 4096  # of (destination, form) that are remembered; the oldest are forgotten
MAX_DATA = 1 << 16  # bytes of one part of a request that are looked through for pieces


@dataclass(slots=True)
class _Sum:
    """sent: which bytes have gone, as bits. requests: that brought something new."""

    sent: int = 0
    requests: set[str] = field(default_factory=set)


class Pieces:
    """Fed with what fragments each part of each request holds."""

    def __init__(self) -> None:
        self._sums: OrderedDict[tuple[str, Form], _Sum] = OrderedDict()

    def take(
        self, request: str, host: str, place: Place, found: dict[Form, int], name: Callable[[int], tuple[str, str]]
    ) -> list[Finding]:
        """Findings for values of which most has gone now. name: (name, fingerprint) of the secret with an index."""
        findings = []
        for form, bits in found.items():
            key = public_suffix_list().privatesuffix(host) or host, form
            total = self._sums.setdefault(key, _Sum())
            self._sums.move_to_end(key)
            if bits & ~total.sent:
                total.sent |= bits
                total.requests.add(request)
            if total.sent.bit_count() >= SHARE * form.length and len(total.requests) > 1:
                findings.append(Finding(*name(form.owner), place, ("pieces", form.encoding), -1))
        while len(self._sums) > MAX_SUMS:
            self._sums.popitem(last=False)
        return findings
