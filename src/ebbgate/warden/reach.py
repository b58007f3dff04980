"""What else a thief could see: the secrets that stand in the environment of the process that sent one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ebbgate.events.types import DnsQuestion, Event, Exchange
from ebbgate.host import processes
from ebbgate.secrets.secret import Secret

MAX_ANCESTORS = 4  # that are looked at when the sender is gone


def with_reach(event: Event, secrets: Iterable[Secret]) -> Event:
    """An exfiltration attempt with the names of the secrets in its sender's reach; any other event as it is."""
    if not isinstance(event, Exchange | DnsQuestion) or all(one.permitted for one in event.findings):
        return event
    senders = [
        one.pid for one in (event.origin.process, *event.origin.ancestry[:MAX_ANCESTORS]) if one is not None and one.pid > 0
    ]
    environment = next((found for pid in senders if (found := processes.whole_environment(pid))), b"")
    names = tuple(one.name for one in secrets if one.reveal() in environment) if environment else ()
    return replace(event, visible=names)
