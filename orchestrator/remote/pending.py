"""A request whose answer is to come: what one thread waits for and another one settles.

Invariant: it is settled exactly once, with the agent's answer or with why there won't be one.
"""

from __future__ import annotations

import threading
from typing import Any

from orchestrator.agent.wire import Frame, Kind
from orchestrator.errors import AgentFault, LinkLost, StillRunning

Head = dict[str, Any]


class Pending:
    """A request whose answer is to come."""

    def __init__(self, host: str, verb: str, number: int) -> None:
        self.id = number
        self._host = host
        self._verb = verb
        self._done = threading.Event()
        self._answer: Frame | None = None
        self._lost = ""

    @property
    def done(self) -> bool:
        return self._done.is_set()

    def result(self, timeout: float | None = None) -> Frame:
        """The reply. Raises AgentFault for a fault, LinkLost when the link died, StillRunning after `timeout` seconds.

        After StillRunning it may be asked again: the answer isn't lost.
        """
        if not self._done.wait(timeout):
            raise StillRunning(f"{self._host} hasn't answered {self._verb} within {timeout:g} s")
        if self._answer is None:
            raise LinkLost(f"{self._host}: {self._verb} wasn't answered: {self._lost}")
        if self._answer.kind is Kind.FAULT:
            raise _fault(self._host, self._answer.head)
        return self._answer

    def settle(self, answer: Frame | None, lost: str = "") -> None:
        """Called once, by the conversation: with the answer, or with why there won't be one."""
        self._answer, self._lost = answer, lost
        self._done.set()


def _fault(host: str, head: Head) -> AgentFault:
    message, code = str(head.get("message", "a fault without a message")), str(head.get("code", "failed"))
    return AgentFault(f"{host}: {message}", code=code, remedy=str(head.get("remedy", "")))
