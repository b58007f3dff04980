"""The self-test from a step's side, in a child that is what a step is, while the warden serves."""

from __future__ import annotations

import os
import selectors
import signal
from types import TracebackType
from typing import Never, Self

from ebbgate.enclosure import selftest
from ebbgate.errors import IntegrityError
from ebbgate.warden.job_request import JobRequest


class Proof:
    """Use as a context manager. told: "ok", or what is wrong, once ``ended``."""

    def __init__(self, request: JobRequest, nonce: str, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._told = bytearray()
        self.ended = False
        self._reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _prove(request, nonce, writing)
        os.close(writing)
        os.set_blocking(self._reading, False)

    @property
    def told(self) -> str:
        """What the child said."""
        return self._told.decode(errors="replace")[:300] or "it ended without a word"

    def __enter__(self) -> Self:
        self._selector.register(self._reading, selectors.EVENT_READ, self._read)
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        self._selector.unregister(self._reading)
        os.close(self._reading)
        os.kill(self.pid, signal.SIGKILL)  # not reaped yet, so the id is still its own
        os.waitpid(self.pid, 0)

    def _read(self) -> None:
        piece = os.read(self._reading, 4096)
        self._told += piece
        self.ended = self.ended or not piece


def _prove(request: JobRequest, nonce: str, answers: int) -> Never:
    """The child's part: as the user whom steps run as, in the machine's network."""
    told = "the self-test ended early"
    try:
        if request.target.netns is not None:
            descriptor = os.open(request.target.netns, os.O_RDONLY)
            os.setns(descriptor, os.CLONE_NEWNET)
        user = request.runner.uid
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        selftest.prove_job(nonce, enforce=request.enforce)
        told = "ok"
    except IntegrityError as problem:
        told = problem.cause
    except BaseException as problem:
        told = type(problem).__name__
    finally:
        os.write(answers, told.encode())
        os._exit(0)
