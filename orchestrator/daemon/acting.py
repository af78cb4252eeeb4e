"""What a decision has done at the hosts, and what it sees of them: `deciding` with the pair's real hosts.

Invariant: nothing here decides. What is seen is there at once; what is done is proven by who does it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.daemon.listening import Listening, Open
from orchestrator.errors import HostError, Refused, StillRunning
from orchestrator.failover import gathered, leave
from orchestrator.failover.facts import Flags
from orchestrator.failover.gathered import Look
from orchestrator.fencing import attest
from orchestrator.health.asked import program_of
from orchestrator.health.report import PairHealth
from orchestrator.health.verdict import Level
from orchestrator.inventory.model import MIRROR, PRIMARY, WITNESS, Host, Pair
from orchestrator.readiness import elsewhere
from orchestrator.readiness.checks import Readied
from orchestrator.remote import guarded
from orchestrator.remote.host import Conversation
from orchestrator.remote.opening import open_conversation
from orchestrator.replication.report import PairStatus

log = logging.getLogger(__name__)

RESTARTS = 40.0
"""Seconds for the agent's answer to a restart: services that end, and that start again."""
ORDERED = 5.0


def opened(host: Host) -> Conversation:
    """A conversation for guards and markers."""
    if host.place == WITNESS:
        return open_conversation(host, stores=[], allow=("services",))
    return open_conversation(host, stores=[store.root for store in host.stores], allow=("replication", "services"))


@dataclass(frozen=True)
class Sources:
    """What the daemon knows of a pair; each answers at once. `health` with the host that it takes for active."""

    health: Callable[[], tuple[str, PairHealth]]
    status: Callable[[], PairStatus]
    readied: Callable[[], Readied]
    go: Callable[[str, str], Any]
    """Carry a journey out: its name, and the reason."""
    stand_still: Callable[[bool], None]
    """Whether replication keeps off the stores."""


class Hands:
    """The sight and the acts of one pair's decisions."""

    def __init__(self, pair: Pair, sources: Sources, *, open_link: Open = opened) -> None:
        self._pair, self._sources = pair, sources
        asked = [host for host in pair.hosts.values() if guarded.has_guard(pair, host)]
        self._listening = {host.place: Listening(pair.name, host, open_link) for host in asked}
        self._active = ""
        self._told: set[str] = set()  # granters that were told of this pause
        self._pause = ""

    def start(self) -> None:
        for each in self._listening.values():
            each.start()

    def stop(self) -> None:
        """Returns at once."""
        for each in self._listening.values():
            each.stop()

    # ---- what is seen ------------------------------------------------------------------------------------------------

    def seen(self, active: str, epoch: int) -> Look:
        """The look, without what stands in the journal. `active`: the place that is known to be, in that epoch. Raises
        MailmirrorError where the controller's own records can't be read.
        """
        self._active, now = active, time.time()
        holder = self._pair.at(active) if active else None
        taken, health = self._sources.health()
        status = self._sources.status()
        heard = {place: each for place, listening in self._listening.items() if (each := listening.latest())}
        passive = heard.get(MIRROR if active == PRIMARY else PRIMARY)
        healths = gathered.healths(health, taken, holder.name if holder else "", now)
        attested = None  # what an operator states is asked for when a proof is
        if holder is not None and active in healths and healths[active].level is Level.DOWN:
            attested = attest.latest(self._pair.state_dir, self._pair.name, holder.name, epoch)
        return Look(
            now, heard, healths, health.lone, gathered.copied(status, now), self._sources.readied(),
            elsewhere.tested(self._pair) if any(host.fences for host in self._pair.hosts.values()) else (),
            attested,
            flags=Flags(tilt=not health.steady, queueing=passive is not None and passive.queues),
        )  # fmt: skip

    # ---- what is done ------------------------------------------------------------------------------------------------

    def go(self, journey: str, reason: str) -> None:
        self._sources.go(journey, reason)

    def stand_still(self, still: bool) -> None:
        self._sources.stand_still(still)

    def restart(self, name: str, epoch: int) -> tuple[str, str]:
        """The units of the services that fail, those of Postfix with Dovecot's: its submission asks Dovecot who may,
        and stays away for a minute when it was told nothing (decision 014).
        """
        host, listening = self._pair.at(self._active), self._listening.get(self._active)
        if host is None or listening is None:
            raise Refused("Nobody knows where to restart them.")
        failing = gathered.failing(self._sources.health()[1], host.name) & set(self._pair.restart.services)
        programs = {program_of(self._pair, service) for service in failing}
        if "dovecot" in programs and "postfix" in self._pair.services.values():
            programs.add("postfix")
        names = [unit for program in programs for unit in guarded.UNITS.get(program, (f"{program}.service",))]
        units = [unit for unit in guarded.units(self._pair) if unit in names]
        if not units:
            return "not done", "no service of mm_restart fails by now"
        order = {"do": "restart", "operation": name, "epoch": epoch, "units": units}
        told = listening.request("services", order, RESTARTS)
        return ("done" if told.get("state") == "DONE" else "not done"), "; ".join(map(str, told.get("why", [])))

    def leave(self, paused: str) -> None:
        if paused != self._pause:
            self._told.clear()
            self._pause = paused
        heard = {place: each for place, listening in self._listening.items() if (each := listening.latest())}
        for due in leave.due(self._active, paused, heard, self._told):
            order = {"verb": due.verb, "words": due.words}
            try:
                self._listening[due.place].request("guard", {"pair": self._pair.name, "order": order}, ORDERED)
            except (HostError, StillRunning) as error:  # it is told again as long as it is so
                log.warning(
                    "The guard of the %s isn't told of the pause: %s pair=%s", due.place, error, self._pair.name
                )
                continue
            log.info("The guard of the %s: %s, %s pair=%s", due.place, due.verb, due.words, self._pair.name)
            if due.verb == "leave":
                self._told.add(due.place)


class Logged:
    """See `web.desk.Outlet`: what a journey that nobody waits for tells on its way goes into the log."""

    def __init__(self, pair: str) -> None:
        self._pair = pair

    def offer(self, told: Any) -> None:
        text = told.get("text", told) if isinstance(told, Mapping) else told
        log.info("%s pair=%s", text, self._pair)

    tell = offer
