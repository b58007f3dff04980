"""The gate's side of the channel to the warden: events out, "who owns this socket?" out, origins in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from itertools import count

from ebbgate.errors import IntegrityError
from ebbgate.events.codec import from_json, to_json
from ebbgate.events.types import DnsQuestion, Event, Exchange, Origin, Process, Tampering
from ebbgate.gate.draft import Draft
from ebbgate.host import channel

ORIGIN_TIMEOUT = 5.0  # seconds; the warden answers in milliseconds, and an exchange without origin is still recorded
MAX_BACKLOG = 64 << 20  # bytes waiting for the warden; beyond it allowed exchanges are only counted


class Reporter:
    """Sends what the gate saw. ``dropped`` counts records that were only counted."""

    def __init__(
        self,
        writer: asyncio.StreamWriter,
        publish_host: Callable[[str], str],
        publish: Callable[[str], str],
    ) -> None:
        self._writer = writer
        self.publish_host = publish_host
        self.publish = publish
        self._questions: dict[int, asyncio.Future[Origin]] = {}
        self._numbers = count(1)
        self._pending: set[asyncio.Task[None]] = set()
        self.visible: Callable[[Origin], tuple[str, ...]] = lambda _origin: ()  # secrets in a process' reach, by name
        self.dropped = 0
        self.uninspected_bytes = 0

    def send(self, message: dict[str, object]) -> None:
        """Queue one message for the warden."""
        self._writer.write(channel.encode(message))

    def event(self, event: Event, *, essential: bool = True) -> None:
        """Send an event. One that is not essential is dropped, and counted, when the warden cannot keep up."""
        if isinstance(event, Exchange | DnsQuestion) and any(not finding.permitted for finding in event.findings):
            event = replace(event, visible=self.visible(event.origin))
        if not essential and self._writer.transport.get_write_buffer_size() > MAX_BACKLOG:
            self.dropped += 1
            return
        self.send({"type": "event", "event": to_json(event)})

    def ask_owner(self, protocol: str, local: tuple[str, int], remote: tuple[str, int]) -> asyncio.Future[Origin]:
        """Which process owns the socket with these ends (as the workload sees them)? Resolves to an empty origin if unknown."""
        number = next(self._numbers)
        future: asyncio.Future[Origin] = asyncio.get_running_loop().create_future()
        self._questions[number] = future
        self.send({"type": "who", "id": number, "protocol": protocol, "local": list(local), "remote": list(remote)})
        return future

    def answer(self, number: int, origin: Origin) -> None:
        """An origin came from the warden."""
        future = self._questions.pop(number, None)
        if future is not None and not future.done():
            future.set_result(origin)

    def finish_draft(self, draft: Draft, origin: asyncio.Future[Origin]) -> None:
        """Send an exchange's record once its origin is known. Only the first call counts."""
        if draft.finished:
            return
        draft.finished = True
        self.later(origin, lambda known: self._send_draft(draft, known))

    def _send_draft(self, draft: Draft, origin: Origin) -> None:
        if draft.uninspected and not draft.blocked:
            self.uninspected_bytes += draft.bytes_out
        self.event(draft.finish(origin, self.publish_host, self.publish), essential=draft.refused)

    def later(self, origin: asyncio.Future[Origin], send: Callable[[Origin], None]) -> None:
        """Call ``send`` with the origin as soon as it is known, or with an empty one after a while."""
        if origin.done():
            send(origin.result())
            return
        task = asyncio.get_running_loop().create_task(self._wait_and_send(origin, send))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def _wait_and_send(self, origin: asyncio.Future[Origin], send: Callable[[Origin], None]) -> None:
        try:
            known = await asyncio.wait_for(asyncio.shield(origin), ORIGIN_TIMEOUT)
        except TimeoutError:
            known = Origin()
        send(known)

    async def drain(self) -> None:
        """Wait until everything queued has been sent."""
        if self._pending:
            await asyncio.wait(list(self._pending), timeout=ORIGIN_TIMEOUT + 1)
        self._writer.transport.set_write_buffer_limits(0)  # else drained means: less than 64 KB are left, and lost at the end
        await self._writer.drain()


def origin_from(message: dict[str, object]) -> Origin:
    """An origin as the warden sends it: inside an event's shape, so that one codec serves. IntegrityError if it is none."""
    event = from_json(message["carrier"])
    if not isinstance(event, Tampering):
        raise IntegrityError("an origin of an unexpected shape")
    return event.origin


def redacted(origin: Origin, redact: Callable[[str], str]) -> Origin:
    """An origin whose command lines show nothing that became known after the warden had looked at them."""

    def shown(process: Process) -> Process:
        return replace(process, cmdline=redact(process.cmdline))

    process = None if origin.process is None else shown(origin.process)
    return replace(origin, process=process, ancestry=tuple(map(shown, origin.ancestry)))
