"""The world of a journey, for real: the pair's agents over their conversations, its devices, name servers and checks.

Conversations are opened when they are needed first, and anew after one was lost. Invariant: a host that doesn't answer
costs its own questions and no other's, and every answer is what the host says now.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from orchestrator.errors import HostError, NotPermitted, OperatorError, Refused
from orchestrator.failover.world import Answered, Copying, Head
from orchestrator.health.asked import PROBES, seats
from orchestrator.inventory import secret
from orchestrator.inventory.model import Host, Pair
from orchestrator.readiness import asking
from orchestrator.readiness.check import Check, State
from orchestrator.readiness.checks import checks
from orchestrator.readiness.gather import gather
from orchestrator.remote.host import Conversation
from orchestrator.remote.opening import open_conversation
from orchestrator.traffic import declared
from orchestrator.traffic.switch import Pointer
from orchestrator.traffic.vip import End, Vip

ALLOW = ("replication", "services")
PLANNED = frozenset(("guards", "gate", "disk", "address", "dns", "command", "queueing"))
"""The checks that a journey with both hosts at hand rests on."""

Open = Callable[[Host], Conversation]


def opened(host: Host) -> Conversation:
    """A conversation for all that a journey asks."""
    return open_conversation(host, stores=[store.root for store in host.stores], allow=ALLOW)


class Hosts:
    """See `world.World`. Thread-safe; `close` ends the conversations."""

    def __init__(self, pair: Pair, copying: Copying, *, open_link: Open = opened) -> None:
        self.copying = copying
        self._pair, self._open = pair, open_link
        self._links: dict[str, Conversation] = {}
        self._turn = threading.Lock()

    def close(self) -> None:
        with self._turn:
            links, self._links = list(self._links.values()), {}
        for link in links:
            link.close()

    def ask(self, place: str, verb: str, head: Head, within: float, blob: bytes = b"") -> Answered:
        named = {"pair": self._pair.name} if verb == "guard" else {}  # a witness may have guards of several pairs
        answer = self._link(place).request(verb, {**head, **named}, blob, timeout=max(0.1, within))
        return Answered(answer.head, bytes(answer.blob))

    def _link(self, place: str) -> Conversation:
        with self._turn:
            link = self._links.get(place)
            if link is None or link.lost.is_set():
                link = self._links[place] = self._open(self._at(place))
            return link

    def _at(self, place: str) -> Host:
        host = self._pair.at(place)
        if host is None:
            raise HostError(f"The pair {self._pair.name} has no {place}.", remedy="Say it in the inventory.")
        return host

    # ---- what is declared --------------------------------------------------------------------------------------------

    def wall(self) -> float:
        return time.time()

    def has(self, place: str) -> bool:
        return self._pair.at(place) is not None

    def host(self, place: str) -> str:
        return self._at(place).name

    def address(self, place: str) -> str:
        return self._at(place).address

    def stores(self, place: str) -> Sequence[str]:
        return [store.root for store in self._at(place).stores]

    def pointers(self) -> Sequence[Pointer[Any]]:
        ways: list[Pointer[Any]] = []
        if self._pair.dns is not None:
            zone = declared.zone_of(self._pair, declared.key_of(self._pair))
            ways += [zone] if zone else []
        commands = declared.commands_of(self._pair)
        return [*ways, commands] if commands else ways

    def vip(self) -> Vip | None:
        said = self._pair.vip
        if said is None:
            return None
        ends = [
            End(host.name, host.vip_interface or said.interface, partial(self._of_addresses, host.place))
            for host in (self._pair.primary, self._pair.mirror)
        ]
        return Vip(said.addresses, ends)

    def _of_addresses(self, place: str, head: Mapping[str, Any]) -> Mapping[str, Any]:
        return self.ask(place, "address", head, asking.SECONDS).head

    # ---- checks ------------------------------------------------------------------------------------------------------

    def unready(self, journey: str) -> Sequence[str]:
        del journey
        found = checks(gather(self._pair, {}, "it isn't asked here"))
        if all(check.name != "guards" for check in found):
            return ["guards: This pair only replicates: say mm_services, and lay guards down."]
        bad = (State.RED, State.UNKNOWN)
        return [_sentence(check) for check in found if check.name in PLANNED and check.state in bad]

    def outside(self, place: str, within: float) -> str:
        host, password = self._at(place), self._password()
        wrong: list[str] = []
        for seat in seats(self._pair, host.name, password):
            task = next((each for each in seat.tasks if each.kind == PROBES and each.place == place), None)
            if task is None or seat.host.name == host.name:
                continue
            link = self._link(seat.host.place) if seat.host.name in self._pair.hosts else self._open(seat.host)
            try:
                seen = asking.looked(link, task.head, task.services)
            finally:
                if seat.host.name not in self._pair.hosts:
                    link.close()
            wrong = [f"{each.service} of {host.name}: {each.how} {each.why}" for each in seen if each.how]
            if not wrong:
                return ""
        return "; ".join(wrong) or f"nobody but {host.name} itself can look, or no services are said"

    def _password(self) -> str:
        if self._pair.canary is None:
            return ""
        try:
            return secret.read(self._pair.canary.password)
        except (OperatorError, NotPermitted, Refused):
            return ""


def _sentence(check: Check) -> str:
    return f"{check.name}: {check.found}"
