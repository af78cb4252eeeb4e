"""A host: its power, its kernel's clock and gate, its mail services, its disk, and the guard's hands.

What a power cut takes: the kernel's gate, what runs, and of the disk what `store` says. A letter that the host has
acknowledged is durable, as Postfix and Dovecot make it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from orchestrator.agent.hands import LOOK, Wish
from orchestrator.agent.lease import NEVER
from orchestrator.agent.register import Register
from orchestrator.simulate.clockwork import Clockwork
from orchestrator.simulate.laws import Laws
from orchestrator.simulate.spool import Spool
from orchestrator.simulate.store import Store


@dataclass
class Host:
    """`speed` of its clock. `gate`: until when its kernel lets mail answer, by its own clock."""

    place: str
    clockwork: Clockwork
    dice: Random
    laws: Laws
    store: Store
    spool: Spool
    say: Callable[[str], None]
    speed: float = 1.0
    register: Register = field(default_factory=lambda: Register(0, ""))
    boot: int = 1
    booted: float = 0.0
    up: bool = True
    frozen: bool = False
    gate: float = NEVER
    postfix: bool = False
    mailboxes: bool = False
    queues: bool = False  # Postfix's final transports are held
    rule: dict[str, Any] | None = None  # what its Dovecot withholds; on its disk
    rejects: float = NEVER
    sessions: int = 0

    def clock(self) -> float:
        """CLOCK_BOOTTIME."""
        return 1.0 + (self.clockwork.now - self.booted) * self.speed

    @property
    def open(self) -> bool:
        return self.up and self.clock() < self.gate

    def answers(self) -> bool:
        """Whether it may give a positive answer (DESIGN, G2)."""
        return self.open and (self.mailboxes or (self.postfix and not self.queues))

    def takes(self) -> bool:
        """Whether a client's letter gets its 250 now, final or queued."""
        if not self.up or not self.postfix:
            return False
        old = self.clock() < self.rejects and not (self.sessions and self.dice.random() < 0.3)
        return not old and (self.queues or self.open)

    def start(self) -> None:
        if not (self.postfix and self.mailboxes):
            self.sessions = 3
        self.postfix = self.mailboxes = True

    def stop(self) -> None:
        self.postfix = self.mailboxes = False
        self.sessions = 0

    def power_cut(self) -> None:
        self.up = self.frozen = False
        self.gate = self.rejects = NEVER
        self.stop()
        self.store.power_cut(self.dice)

    def boots(self) -> None:
        self.up = True
        self.boot, self.booted = self.boot + 1, self.clockwork.now


class Hands:
    """What `agent.hands` does, in the same order, each step with the time that it takes. One guard's life."""

    def __init__(self, host: Host) -> None:
        self.queues = False
        self._host = host
        self._wish: Wish | None = None
        self._done: Wish | None = None
        self._works = self._ended = False
        self._life = (host.boot,)

    def told(self) -> dict[str, Any]:
        return {"done": self._done == self._wish, "queues": self.queues, "problems": {}}

    def want(self, wish: Wish) -> None:
        if wish != self._wish:
            self._wish = wish
            self.queues = self.queues and wish.role == "passive" and not wish.quiet
            self._begin()

    def stop(self) -> None:
        self._ended = True

    close = stop

    def _begin(self) -> None:
        if not self._works and not self._ended and self._wish is not None and self._host.place != "witness":
            self._works = True
            self._next(self._wish, self._steps(self._wish))

    def _next(self, wish: Wish, steps: list[Callable[[], None]]) -> None:
        def done() -> None:
            host = self._host
            if not host.up or self._life != (host.boot,):
                return
            if steps:
                steps.pop(0)()  # what was begun is ended, whatever is wanted by then
            if self._wish != wish or self._ended:
                self._works = False
                self._begin()
            elif steps:
                self._next(wish, steps)
            else:
                self._works, self._done = False, wish
                host.clockwork.after(LOOK, look)

        def look() -> None:
            if self._done == wish and self._wish == wish and self._life == (self._host.boot,):
                self._begin()

        self._host.clockwork.after(self._host.dice.uniform(0.02, 0.5) if steps else 0.0, done)

    def _steps(self, wish: Wish) -> list[Callable[[], None]]:
        if wish.serves:
            return [] if wish.quiet else [self._release, self._host.start, self._lift]
        if wish.role == "passive" and wish.quiet:
            return [self._host.stop]
        if wish.role == "passive":
            return [self._stop_mailboxes, self._lift, self._hold]
        return [self._host.stop] if wish.role == "closed" or wish.stop else []

    def _release(self) -> None:
        self._host.queues = False

    def _lift(self) -> None:
        self._host.rejects = NEVER

    def _stop_mailboxes(self) -> None:
        self._host.mailboxes = False

    def _hold(self) -> None:
        self._host.queues = self._host.postfix = True
        self.queues = self._wish is not None and self._wish.role == "passive" and not self._wish.quiet
