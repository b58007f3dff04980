"""What of the workload's own texts may stand in a record: without secrets, without what looks like a credential, printable."""

from __future__ import annotations

from functools import lru_cache

from ebbgate.events.publish import printable, publishable_host
from ebbgate.secrets.scanner import Scanner
from ebbgate.secrets.shapes import masked

MAX_CACHED = 2048  # texts made publishable, kept for the next record
MAX_TEXT = 300  # characters of any one text in a record


class Publisher:
    """host and text: called with what is to be published. Both remember; ``forget`` when there is more to be hidden."""

    def __init__(self, scanner: Scanner, salt: bytes) -> None:
        @lru_cache(maxsize=MAX_CACHED)
        def host(name: str) -> str:
            return printable(masked(scanner.redact(publishable_host(name, salt))), MAX_TEXT)

        @lru_cache(maxsize=MAX_CACHED)
        def text(given: str) -> str:
            return printable(masked(scanner.redact(given)), MAX_TEXT)

        self.host, self.text = host, text

    def forget(self) -> None:
        """Make everything publishable anew."""
        self.host.cache_clear()
        self.text.cache_clear()
