"""A lost primary that has come back, and a controller that brings it home, dying where it is told to.

The stores, their agents (child processes), the session, the conductor, the journal and the steps are the real ones.
Guards and queues are the simulator's, since a real one needs a host of its own: its guards decide by the real code, and
its queue passes for Postfix's. Nothing here judges: the tests do.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, cast

from orchestrator.agent.serve import Fault
from orchestrator.errors import AgentFault
from orchestrator.failover import playbook
from orchestrator.failover.conductor import Ask, Conductor
from orchestrator.failover.copying import Alone
from orchestrator.failover.hosts import Hosts
from orchestrator.failover.standing import Standing
from orchestrator.failover.steps import MAKERS
from orchestrator.failover.world import Answered, Head, World
from orchestrator.inventory.model import Host
from orchestrator.records.journal import Journal, Operation
from orchestrator.records.marks import State
from orchestrator.remote.host import Conversation
from orchestrator.remote.opening import open_conversation
from orchestrator.replication.homecoming import Store
from orchestrator.replication.session import Session
from orchestrator.simulate.agents import Later
from orchestrator.simulate.clockwork import Clockwork
from orchestrator.simulate.site import Site
from tests.support.outage import Outage
from tests.unit.failover.staged import Dying, Fuse, Killed

OWN = ("mine 1", "mine 2", "mine 3")
"""Letters in the primary's queue when its power is cut."""
LOOKS = ("status", "list", "laid", "read")


class Clock:
    """Virtual seconds, in which the guards and queues live too."""

    def __init__(self, clockwork: Clockwork) -> None:
        self.clockwork = clockwork

    def now(self) -> float:
        return self.clockwork.now

    def pause(self, seconds: float) -> None:
        self.clockwork.run(self.clockwork.now + max(0.05, seconds), lambda: False)


class Ticking:
    """A conversation; its controller may die before and after each request."""

    def __init__(self, link: Conversation, fuse: Fuse) -> None:
        self._link, self._fuse = link, fuse

    def request(self, *words: Any, **more: Any) -> Any:
        self._fuse.tick()
        answer = self._link.request(*words, **more)
        self._fuse.tick()
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)


class Hands(Hosts):
    """The pair's hosts, as one life of a controller has them."""

    def __init__(self, returned: Returned) -> None:
        self._returned = returned
        super().__init__(
            returned.pair, Alone(lambda: Session(returned.pair, returned.links()), lambda: None),
            open_link=returned.converse,
        )  # fmt: skip

    def ask(self, place: str, verb: str, head: Head, within: float, blob: bytes = b"") -> Answered:
        fuse = self._returned.fuse
        changes = verb not in ("guard", "queue") or (head.get("do") or head["order"]["verb"]) not in LOOKS
        if changes:
            fuse.tick()
        if verb in ("guard", "queue"):
            answer = self._returned.simulated(place, verb, head, blob)
        else:
            answer = super().ask(place, verb, head, within, blob)
        if changes:
            fuse.tick()
        return answer

    def mailstores(self, place: str) -> Sequence[Store]:
        fuse = self._returned.fuse
        return [each._replace(link=cast(Conversation, Ticking(each.link, fuse))) for each in super().mailstores(place)]


class Returned:
    """`outage` is what the pair's stores went through; the queue of the primary has what its clients gave it."""

    def __init__(self, outage: Outage, place: Path, seed: int = 1) -> None:
        self.outage, self.fuse = outage, Fuse()
        hosts = {name: replace(host, other_dovecot=True) for name, host in outage.laid.pair.hosts.items()}
        self.pair = replace(outage.laid.pair, hosts=hosts, state_dir=place)
        self.told: list[str] = []
        self.clock = Clock(Clockwork())
        self.site = Site(Random(seed), self.clock.clockwork, self.told.append)

    # ---- what befell it ----------------------------------------------------------------------------------------------

    def lose(self) -> None:
        """The primary's power is cut, the mirror is promoted by a proof, the primary boots."""
        site = self.site
        self.clock.pause(60.0)
        for letter in OWN:
            site.hosts["primary"].spool.take(letter, site.clockwork.now)
            site.laws.accepted(letter, "primary")
        site.power_cut("primary")
        self.outage.promote()
        self.outage.laid.end()
        self.clock.pause(30.0)
        for place in ("witness", "mirror"):
            order = {
                "verb": "advance", "operation": f"a {place}", "epoch": 2, "active": "mirror", "proof": "it is off",
            }  # fmt: skip
            assert "error" not in site.guards[place].told(order)
        self.clock.pause(30.0)
        # The active takes nothing from it, as letters to elsewhere: they stay in its queue.
        site.network.cut.add(("primary", "mirror"))
        site.boots("primary")
        self.clock.pause(5.0)
        assert site.hosts["primary"].postfix, "its Postfix runs, and only queues"

    # ---- the world ---------------------------------------------------------------------------------------------------

    def converse(self, host: Host) -> Conversation:
        return open_conversation(host, state=self.outage.laid.state(host.name))

    def links(self) -> dict[str, Conversation]:
        return {name: self.converse(host) for name, host in self.pair.hosts.items()}

    def simulated(self, place: str, verb: str, head: Head, blob: bytes) -> Answered:
        self.clock.pause(0.02)
        try:
            found = self.site.agents[place].answer(verb, head, blob)
        except Fault as fault:
            raise AgentFault(f"{place}: {fault}", code=fault.code) from fault
        assert not isinstance(found, Later)
        return Answered(*found)

    @contextlib.contextmanager
    def world(self) -> Iterator[World]:
        hosts = Hands(self)
        try:
            yield hosts
        finally:
            hosts.copying.close()  # type: ignore[attr-defined]
            hosts.close()

    # ---- controllers -------------------------------------------------------------------------------------------------

    def life(self, work: Callable[[Conductor[World], Journal], Operation], dies_at: int = 0) -> Operation | None:
        """One life of a controller; None where it died."""
        self.fuse.count, self.fuse.at = 0, dies_at
        with self.world() as world, contextlib.closing(Dying(self.pair.state_dir, self.fuse)) as journal:
            try:
                return work(Conductor(journal, MAKERS, world, self.clock), journal)
            except Killed:
                return None
            finally:
                self.fuse.at = 0

    def begin(self, ctimes: str = "", until: str = "") -> Callable[[Conductor[World], Journal], Operation]:
        """A rejoin, or the one that a dead controller left; until a step leaves the note `until`, if that is said."""

        def work(conductor: Conductor[World], journal: Journal) -> Operation:
            def asked() -> Ask:
                left = journal.running(self.pair.name)
                noted = until and left is not None and journal.notes(left.id).get(until)
                return Ask.LEAVE if noted else Ask.GO_ON

            left = journal.running(self.pair.name)
            if left is not None:
                return conductor.restart(left.id, asked)
            before = journal.operations(self.pair.name)
            if before and before[-1].state is State.DONE:  # it died right after the end
                return before[-1]
            standing = Standing("mirror", "primary", 2)
            began = conductor.begin(
                playbook.load("rejoin", Path("/nowhere")), pair=self.pair.name, active=standing.active,
                passive=standing.passive, epoch=standing.epoch, by="jane", reason="a test", version="0",
            )  # fmt: skip
            if ctimes:
                journal.note(began.id, "ctimes", ctimes)
            return conductor.carry_on(began.id, asked)

        return work

    def rejoin(self, kills: Sequence[int] = (), ctimes: str = "") -> Operation:
        """By controllers that die after so many instants each, the last one not at all; how it stands in the end."""
        for at in kills:
            ended = self.life(self.begin(ctimes), at)
            if ended is not None:
                return ended
        ended = self.life(self.begin(ctimes))
        assert ended is not None
        return ended
