"""The guard's own process (`agent.guardpost.Post`) without a socket, a file and a kernel: all that it decides is real.

Its register is durable the moment it is kept; its datagrams are sealed and parsed as on a wire; its kernel's gate is
the host's, which goes on when the guard is dead or frozen.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from orchestrator.agent import datagram, guard, guardpost
from orchestrator.agent.guard import Posture
from orchestrator.agent.guardpost import Keeper, Post
from orchestrator.agent.hands import Hands as RealHands
from orchestrator.agent.lease import ALWAYS, NEVER
from orchestrator.agent.register import Register
from orchestrator.agent.settings import Settings
from orchestrator.simulate.mailhost import Hands, Host
from orchestrator.simulate.network import Network

PAIR, KEY, TTL = "simulated", b"k" * 32, 8.0
PLACES = ("primary", "mirror", "witness")
TURN = 0.4
"""Seconds between two turns of a guard's loop: slower than a real one, which only makes it later."""


def settings(place: str, places: tuple[str, ...], ttl: float) -> Settings:
    peers = {other: (other, 0) for other in places if other != place}
    mail = place != "witness"
    return Settings(
        PAIR, place, peers, 0, ttl, 0.01, 0.5, (25, 143) if mail else (), ("dovecot.service",) if mail else (), mail,
        (), ("/store",) if mail else (), {each: each for each in places},
    )  # fmt: skip


class Kernel:
    """The gate, as `guardpost.Keeper` sets it."""

    weak = ""

    def __init__(self, host: Host, posture: Posture) -> None:
        self._host = host
        if posture.serves_until == ALWAYS:
            host.gate = ALWAYS
        self.resumed = host.gate if host.open else NEVER

    def follow(self, posture: Posture, relay: str | None, queues: bool, now: float) -> None:
        del relay, queues
        self._host.gate = posture.serves_until if posture.serves_until > now else NEVER

    @property
    def until(self) -> float:
        return self._host.gate

    @property
    def left(self) -> float | None:
        return self._host.gate - self._host.clock() if self._host.open else None


class Wire:
    """Where a guard's datagrams go."""

    family = 0

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def sendto(self, raw: bytes, to: tuple[str, int]) -> None:
        self._guard.send(raw, to[0])


class Guard(Post):
    """A life of a host's guard. `guards` has everyone's newest life, by place."""

    def __init__(self, host: Host, told: Settings, network: Network, guards: dict[str, Guard]) -> None:
        self.host, self.network, self.guards = host, network, guards
        self.settings = told
        self.ending = self.asked_to_end = False
        self._key, self._failed = KEY, NEVER
        now = host.clock()
        self.mind = guard.began(told.rules, host.register, f"{host.place} {host.boot}", now)
        self._kept(self.mind.register)
        self.keeper = cast(Keeper, Kernel(host, guard.posture(self.mind)))
        self._left = min(self.keeper.resumed, now + (told.ttl or 2 * guard.PACE))
        self.hands = cast(RealHands, Hands(host))
        self._udp = cast(Any, Wire(self))
        self._aged = self._alive = now
        self._told, self._leaves_at = "", ALWAYS
        guards[host.place] = self
        self._turns()

    @property
    def alive(self) -> bool:
        return self.host.up and not self.ending and self.guards[self.host.place] is self

    def ends(self) -> None:
        """Killed: what its hands had begun is over too, as far as it is the guard's."""
        self.ending = True
        self.hands.stop()

    def _turns(self) -> None:
        if self.alive:
            if not self.host.frozen:
                self._due(self.host.clock())
                self._act(0.0)
            self.host.clockwork.after(TURN, self._turns)

    def _kept(self, new: Register) -> bool:
        self.host.register = new
        return True

    def _to(self, address: str, port: int) -> tuple[str, int]:
        return address, port

    def _act(self, now: float) -> None:
        del now  # the machine's own
        super()._act(self.host.clock())

    def _stores(self) -> Mapping[str, tuple[int, int]]:
        marker = self.host.store.marker
        return {marker.store[:8]: (marker.epoch, marker.generation)}

    def send(self, raw: bytes, to: str) -> None:
        def arrives() -> None:
            other = self.guards.get(to)
            if other is not None and other.alive and not other.host.frozen:
                other.hears(raw)

        self.network.datagram(self.host.place, to, arrives)

    def hears(self, raw: bytes) -> None:
        message = datagram.parse(raw, PAIR, self.host.place, KEY)
        self._became(*guard.received(self.mind, message, self.host.clock(), guardpost._fresh))
        self._act(0.0)

    def told(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Its answer on the local socket."""
        return self.answer(json.dumps(order).encode(), self.host.clock())
