"""Three guards, or two, as minds on a network in a test's own time: what `agent/guardpost` does, without a kernel.

A place's gate stays as it was set when its guard dies or is frozen, as the kernel's does, and ends at its time. A
register is durable before a message leaves, and a guard that starts anew has only that.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from orchestrator.agent import guard, orders
from orchestrator.agent.datagram import Message
from orchestrator.agent.guard import Mind, Rules
from orchestrator.agent.lease import ALWAYS, NEVER, Terms
from orchestrator.agent.orders import Order
from orchestrator.agent.register import Register

PAIR, TRIO = ("primary", "mirror"), ("primary", "mirror", "witness")
TTL = 8.0
STEP = 0.1


@dataclass
class Seat:
    """A host: `up` its guard runs; `frozen` nothing moves but its kernel's clock."""

    mind: Mind
    boot: int = 1
    clock: float = 100.0
    speed: float = 1.0
    gate: float = NEVER
    up: bool = True
    frozen: bool = False
    generation: int = 1


@dataclass
class Guards:
    """`cut`: (from, to) that lose everything."""

    places: tuple[str, ...] = TRIO
    ttl: float = TTL
    seats: dict[str, Seat] = field(default_factory=dict)
    cut: set[tuple[str, str]] = field(default_factory=set)
    sent: list[Message] = field(default_factory=list)
    numbers: Callable[[], int] = field(default_factory=lambda: itertools.count(1).__next__)

    def __post_init__(self) -> None:
        for place in self.places:
            peers = tuple(other for other in self.places if other != place)
            rules = Rules(place, peers, self.ttl, Terms())
            self.seats[place] = Seat(guard.began(rules, Register(0, ""), f"{place} 1", 100.0))
        self.order("primary", "begin", epoch=1, active="primary")

    # --- what hosts do ------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        """Time passes, and everybody who can does what is due; messages arrive at once."""
        for _ in range(round(seconds / STEP)):
            for seat in self.seats.values():
                seat.clock += STEP * seat.speed
            for place in self.places:
                self.tick(place)
            self.deliver()
            self.look()

    def tick(self, place: str) -> None:
        seat = self.seats[place]
        if seat.up and not seat.frozen:
            stores = {"s": (seat.mind.register.epoch, seat.generation)}
            mind, messages = guard.tick(seat.mind, seat.clock, stores, self.numbers)
            self._became(seat, mind, messages)

    def deliver(self) -> None:
        while self.sent:
            self.receive(self.sent.pop(0))

    def receive(self, message: Message) -> None:
        seat = self.seats[message.to]
        if seat.up and not seat.frozen and (message.by, message.to) not in self.cut:
            self._became(seat, *guard.received(seat.mind, message, seat.clock, self.numbers))

    def _became(self, seat: Seat, mind: Mind, messages: Iterable[Message]) -> None:
        seat.mind = mind
        seat.gate = guard.posture(mind).serves_until
        self.sent += messages

    def order(self, place: str, verb: str, operation: str = "", **words: str | float) -> str:
        """Raises Impossible. Without an `epoch`, the one that it is in."""
        seat = self.seats[place]
        given = {"epoch": seat.mind.register.epoch, **words}
        order = Order(verb, operation or f"operation {self.numbers()}", **given)  # type: ignore[arg-type]
        mind, outcome = orders.ordered(seat.mind, order, seat.clock)
        self._became(seat, mind, ())
        return outcome

    # --- what happens to them -----------------------------------------------------------

    def down(self, place: str) -> None:
        """Its power is gone."""
        self.seats[place].up, self.seats[place].gate = False, NEVER

    def dies(self, place: str) -> None:
        """Its guard alone."""
        self.seats[place].up = False

    def starts(self, place: str, *, boots: bool = True, register: Register | None = None) -> None:
        """Its guard, with what is durable, or with another register; `boots`: the host has booted before."""
        seat = self.seats[place]
        if boots:
            seat.boot, seat.clock, seat.gate = seat.boot + 1, 1.0, NEVER
            seat.generation += 1
        seat.up, seat.frozen = True, False
        kept = register or seat.mind.register
        self._became(seat, guard.began(seat.mind.rules, kept, f"{place} {seat.boot}", seat.clock), ())

    def part(self, one: str, *others: str, one_way: bool = False) -> None:
        for other in others:
            self.cut |= {(one, other)} if one_way else {(one, other), (other, one)}

    def heal(self) -> None:
        self.cut.clear()

    # --- what is seen -------------------------------------------------------------------

    @property
    def serving(self) -> list[str]:
        """The places whose gate is open."""
        return [place for place, seat in self.seats.items() if seat.clock < seat.gate]

    def look(self) -> None:
        assert len(self.serving) <= 1, f"{self.serving} serve at once"

    def register(self, place: str) -> Register:
        return self.seats[place].mind.register

    def without_end(self, place: str) -> bool:
        return self.seats[place].gate == ALWAYS

    def promote(self) -> None:
        """By the lease alone, the witness first. Raises Impossible."""
        epoch = self.register("mirror").epoch + 1
        for place in ("witness", "mirror"):
            if self.register(place).epoch < epoch:
                self.order(place, "advance", epoch=epoch, active="mirror")
            self.hear("mirror", place)

    def hear(self, place: str, by: str) -> None:
        """`place` hears from `by`, unless their link is cut."""
        if place != by:
            for each in (by, place):
                self.seats[each].mind = replace(self.seats[each].mind, next_round=NEVER)
                self.tick(each)
            self.deliver()


def generations(guards: Guards) -> Mapping[str, int]:
    return {place: seat.mind.register.generation for place, seat in guards.seats.items()}
