"""Whether the names that a policy's author wrote are there: a misspelt one would otherwise be found by a step that fails.

Looked up once, after the guard is armed, in the background and few at a time, so that the job's own questions come first.
"""

from __future__ import annotations

import asyncio
import time

from ebbgate.events.types import Concern, Notice
from ebbgate.gate.context import GateContext
from ebbgate.policy.decide import decide
from ebbgate.policy.model import Policy
from ebbgate.policy.names import is_literal
from ebbgate.policy.observation import Observation, Protocol, Stage

MAX_NAMES = 100  # looked up of one policy; who lists more made the list with a program
PARALLEL = 2  # of the loop's threads for lookups, of which there are at least five
SECONDS = 30.0  # for all of them: longer than three nameservers that do not answer take for one name


def written_names(policy: Policy) -> list[str]:
    """Exact names of allow entries that may be asked for, in order; without those of presets, which are ours to keep right."""
    patterns = [entry.host for entry in policy.allow if not entry.is_of_preset]
    names = dict.fromkeys(one.host for one in patterns if one is not None and not one.wildcard and not is_literal(one.host))
    return [name for name in names if decide(policy, Observation(Stage.DNS, Protocol.DNS, name)).allowed]


async def look_up(context: GateContext) -> None:
    """Tell which of them have no address, and how many there was no time for."""
    names = written_names(context.policy)
    found: dict[str, bool] = {}
    turns = asyncio.Semaphore(PARALLEL)

    async def one(name: str) -> None:
        async with turns:
            found[name] = bool(await context.directory.resolve(name))

    tasks = [asyncio.create_task(one(name)) for name in names[:MAX_NAMES]]
    if tasks:
        done, late = await asyncio.wait(tasks, timeout=SECONDS)
        for task in late:
            task.cancel()
        for task in done:
            task.result()
    for name in names:
        if not found.get(name, True):
            _tell(context, f"the policy allows {context.reporter.publish_host(name)}, but this name does not resolve")
    if len(found) < len(names):
        _tell(context, f"whether {len(names) - len(found)} more names of the policy resolve was not looked up")


def _tell(context: GateContext, what: str) -> None:
    context.reporter.event(Notice(Concern.NAME, what, time=time.time()))
