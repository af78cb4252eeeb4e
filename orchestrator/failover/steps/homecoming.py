"""A lost place comes home: its queue held, its store compared, what only it has set aside and delivered, then reseeded.

`replication.homecoming` does it over agents, `replication.reclaim` decides what. What a look found and what follows
from it are papers beside the journal (`papers`), and the journal has their digests.

Invariant: nothing touches the returned store before both are durable, and every later step and rerun goes by them
alone: links and renames raise the very ctimes by which it was decided. The cut goes last, when all that is to be
delivered is, and both places are proven equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import AgentFault, OperatorError, Refused, TryAgain
from orchestrator.failover import queueplan, reporting
from orchestrator.failover.reporting import FOUND, PLAN, RECLAIMED, REPORT
from orchestrator.failover.step import DONE, NOT_DONE, Found, Step, Voyage
from orchestrator.failover.steps import stores
from orchestrator.failover.steps.looks import Guarded
from orchestrator.failover.steps.queue import AT_ONCE, NO_QUEUE, Moving
from orchestrator.failover.steps.surveying import looked, planned, refuse_to_guess
from orchestrator.failover.verbs import Parameters
from orchestrator.failover.world import Head, World
from orchestrator.records import papers
from orchestrator.replication import homecoming
from orchestrator.replication.homecoming import Outcome, Store
from orchestrator.replication.reclaim import COUNT, Plan

HUSHED = 120.0
"""Seconds for which the returned host's Postfix is kept down while its queue is put on hold."""
SHOWN = 20
"""Names in one sentence."""
HELD, CTIMES = "queue held", "ctimes"
"""Notes: how many letters were put on hold; what an operator said of ctimes."""


def hold_queue(voyage: Voyage[World], _: Parameters) -> Step:
    """What waits in the returned host's queue is on hold, put there while nothing of Postfix ran."""
    return Hold(voyage)


def compare(voyage: Voyage[World], _: Parameters) -> Step:
    """Each difference of the returned store is recorded, with its ctime, and what follows from it."""
    return Compare(voyage)


def set_aside(voyage: Voyage[World], _: Parameters) -> Step:
    """Divergent files of the returned store are linked aside."""
    return Aside(voyage)


def reclaim(voyage: Voyage[World], _: Parameters) -> Step:
    """What only the returned host has is delivered at the active, once."""
    return Reclaim(voyage)


def reseed(voyage: Voyage[World], parameters: Parameters) -> Step:
    """The returned store is passive in this epoch, and a copy of the active's again."""
    return Reseed(voyage, str(parameters["how"]))


def prove_equal(voyage: Voyage[World], parameters: Parameters) -> Step:
    """Both places' digests are the same; at the end of a rejoin, what it kept for a rerun is let go then."""
    return Ended(voyage) if voyage.leaves == voyage.leads else stores.prove_equal(voyage, parameters)


# ---- the queue -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hold(Guarded):
    """The guard keeps Postfix down for it (`hush`), for a letter that is on its way would stand twice. Afterwards
    Postfix queues and relays again: what it takes from then on goes its own way.
    """

    def probe(self) -> Found:
        shut = self.look(self.voyage.passive, self._shut)
        known = self.voyage.notes.get(HELD)
        if shut.state is not DONE or known is None:
            return shut if shut.state is not DONE else Found(NOT_DONE, f"{shut.said}; its queue isn't held yet")
        return Found(DONE, f"{shut.said}; {known} letters of its queue are on hold")

    verify = probe

    def act(self) -> None:
        self.wait(lambda: self.look(self.voyage.passive, self._shut))
        if self.voyage.notes.get(HELD) is None:
            self._hold()
            self.wait(lambda: self.look(self.voyage.passive, self._shut))

    def _hold(self) -> None:
        name = f"{self.name}.hush.{self.voyage.world.wall():.3f}"
        self.order(self.voyage.passive, "hush", name, epoch=self.voyage.leads, seconds=HUSHED)
        self.wait(lambda: self.look(self.voyage.passive, lambda told: _hushed(name, told)))
        moving = Moving(self.voyage, self.voyage.passive, self.voyage.active)
        try:
            count = self._held(moving)
        except AgentFault as fault:
            if fault.code != "no-postfix":
                raise
            count = 0
            self.voyage.notes.put(NO_QUEUE, str(fault))
        self.order(self.voyage.passive, "resume", f"{name}.over", epoch=self.voyage.leads)
        self.voyage.notes.put(HELD, count)

    def _held(self, moving: Moving) -> int:
        plan = queueplan.move(*moving.both(), moving.giver, self.voyage.operation)
        for start in range(0, len(plan.hold), AT_ONCE):
            moving.ask(self.voyage.passive, "hold", ids=list(plan.hold[start : start + AT_ONCE]))
        return len({*plan.hold, *plan.carry})

    def undo(self) -> None:
        """A rejoin isn't undone."""

    def _shut(self, told: Head) -> Found:
        """Whether the returned host's guard knows who is active, and has shut what may not answer."""
        where = f"the {self.voyage.passive}'s guard is in epoch {told['epoch']}"
        if (told["epoch"], told["active"]) != (self.voyage.leads, self.voyage.active) or told["serves"]:
            return Found(NOT_DONE, f"{where}, and not behind its gate in epoch {self.voyage.leads}")
        if told["hands"]["problems"]:
            return Found(NOT_DONE, "; ".join(f"{step}: {why}" for step, why in told["hands"]["problems"].items()))
        if not told["hands"]["done"]:  # mailboxes stopped; Postfix proven to queue only, or down
            return Found(NOT_DONE, f"{where}, and still stops or starts something")
        return Found(DONE, f"{where}: it serves nobody, and delivers nothing")


def _hushed(name: str, told: Head) -> Found:
    quiet = told["quiet"] and told["quiet"]["operation"] == name
    return Found(DONE if quiet and told["hands"]["done"] else NOT_DONE, "")


# ---- the store -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Homecoming:
    """What the steps share: both places' stores, and the papers."""

    voyage: Voyage[World]

    def verify(self) -> Found:
        return self.probe()

    def probe(self) -> Found:
        raise NotImplementedError

    def undo(self) -> None:
        """A rejoin isn't undone: each step leaves what it found in place, or beside it."""

    def noted(self, key: str, not_yet: str) -> Found:
        known = self.voyage.notes.get(key)
        return Found(DONE, reporting.said(known)) if known else Found(NOT_DONE, not_yet)

    def put(self, name: str, value: Any, **told: Any) -> None:
        """A paper, and then the note by which it counts."""
        self.voyage.notes.put(name, {"sha256": papers.write(self.path(name), value), **told})

    def paper(self, name: str) -> Any:
        """Raises Refused where it isn't what its note says."""
        known = self.voyage.notes.get(name)
        digest = known["sha256"] if isinstance(known, dict) else "none was written"
        try:
            return papers.read(self.path(name), str(digest))
        except OperatorError as error:
            raise Refused(str(error), remedy=error.remedy) from error

    def path(self, name: str) -> Path:
        return papers.path_of(self.voyage.world.directory(), self.voyage.pair, self.voyage.operation, name)

    def ends(self) -> Iterator[tuple[int, Store, Store]]:
        """Each store: its number, on the returned host, at the active."""
        both = zip(
            self.voyage.world.mailstores(self.voyage.passive),
            self.voyage.world.mailstores(self.voyage.active),
            strict=True,
        )
        for number, (returned, active) in enumerate(both):
            yield number, returned, active


@dataclass(frozen=True)
class Compare(Homecoming):
    def probe(self) -> Found:
        return self.noted(PLAN, "what it has of its own isn't written down yet")

    def act(self) -> None:
        if self.voyage.notes.get(FOUND) is None:
            found = looked(self.voyage)
            self.put(FOUND, found, cuts=[each["cut"] for each in found])
        ctimes = str(self.voyage.notes.get(CTIMES) or COUNT)
        plans = planned(self.voyage, self.paper(FOUND), ctimes)
        refuse_to_guess(self.voyage.pair, plans)
        self._demand_accounts(plans)
        self.put(PLAN, [plan.packed() for plan in plans], counts=reporting.counts(plans))

    def _demand_accounts(self, plans: list[Plan]) -> None:
        """Known before anything is touched, rather than half-way."""
        actives = self.voyage.world.mailstores(self.voyage.active)
        missing = [
            name for plan, active in zip(plans, actives, strict=True) for name in homecoming.absent(active, plan)
        ]
        if missing:
            raise Refused(
                f"{len(missing)} accounts that are to get mail don't exist on {actives[0].link.name}:"
                f" {', '.join(missing[:SHOWN])}.",
                remedy="Make them there (a first login or letter does), then"
                f" `mailmirror op resume {self.voyage.operation}`.",
            )


@dataclass(frozen=True)
class Aside(Homecoming):
    def probe(self) -> Found:
        return self.noted("aside", "nothing is set aside yet")

    def act(self) -> None:
        found, plans = self.paper(FOUND), self.paper(PLAN)
        missing: list[Any] = []
        count = 0
        for number, returned, _ in self.ends():
            plan, seen = Plan.unpacked(plans[number]), homecoming.Found.unpacked(found[number]["found"])
            missing += homecoming.set_aside(returned, plan, seen, self.voyage.operation, self.voyage.leads)
            count += sum(act.stood is not None for act in plan.acts)
        if missing:
            account, folder, base = missing[0]
            raise Refused(
                f"{len(missing)} messages aren't where they were when {self.voyage.world.host(self.voyage.passive)} was"
                f" compared, as {folder}/{base} of {account}: somebody changed its store meanwhile.",
                remedy=f"See who did, and keep them off. Then `mailmirror op abort {self.voyage.operation}`, and begin"
                " the rejoin anew: it compares again, and delivers nothing twice.",
            )
        self.voyage.notes.put("aside", {"said": f"{count} messages are linked aside"})


@dataclass(frozen=True)
class Reclaim(Homecoming):
    def probe(self) -> Found:
        return self.noted(RECLAIMED, "nothing is delivered yet")

    def act(self) -> None:
        found, plans = self.paper(FOUND), self.paper(PLAN)
        rows = []
        for number, returned, active in self.ends():
            plan, seen = Plan.unpacked(plans[number]), homecoming.Found.unpacked(found[number]["found"])
            outcome = self._carried(returned, active, plan, seen)
            rows.append(reporting.store_report(returned.path, found[number]["cut"], plan, outcome))
        report = reporting.report(
            self.voyage.pair, self.voyage.operation, self.voyage.world.host(self.voyage.passive),
            self.voyage.world.host(self.voyage.active), self.voyage.leads, rows,
        )  # fmt: skip
        papers.write(self.path(REPORT), report)
        self.put(RECLAIMED, report, counts=report["counts"])

    def _carried(self, returned: Store, active: Store, plan: Plan, seen: homecoming.Found) -> Outcome:
        try:
            outcome = homecoming.carry_out(returned, active, plan, seen, self.voyage.operation, self.voyage.leads)
        except AgentFault as fault:
            if fault.code == "no-account":  # only a person makes accounts
                raise Refused(str(fault), remedy=f"{fault.remedy} (`mailmirror op resume ID`)") from fault
            raise
        if outcome.missing:
            raise Refused(
                f"{len(outcome.missing)} messages were taken out of the reclaim area of {returned.link.name} before"
                " they were delivered.",
                remedy=f"Look in {returned.path}/.mailmirror/reclaim/{self.voyage.operation}, and put them back.",
            )
        return outcome


@dataclass(frozen=True)
class Reseed(Homecoming):
    how: str

    def probe(self) -> Found:
        return self.noted("reseeded", "the returned store isn't a copy yet")

    def act(self) -> None:
        if self.how != "adopt":
            raise Refused(
                "A returned store is adopted: what stands there is compared, and only what is missing is sent.",
                remedy="Say `how: adopt` in the playbook.",
            )
        world = self.voyage.world
        world.copying.let_go()
        for root in world.stores(self.voyage.passive):
            head = {
                "store": root, "operation": self.voyage.operation, "epoch": self.voyage.leads, "role": "passive",
                "active": self.voyage.active,
            }  # fmt: skip
            world.ask(self.voyage.passive, "store.turn", head, max(stores.BEYOND, self.voyage.left))
        self.voyage.notes.put("reseeded", {"said": f"adopted; {world.copying.adopt(self.voyage.left).said}"})


@dataclass(frozen=True)
class Ended(Homecoming):
    """Then the reclaim area gives up what the active took, and the cut goes."""

    def probe(self) -> Found:
        return self.noted("equal", str(self.voyage.notes.get("unequal") or "not proven yet"))

    def act(self) -> None:
        world = self.voyage.world
        found = world.copying.proof(self.voyage.left)
        if not found.equal:
            self.voyage.notes.put("unequal", f"the two places aren't equal: {found.said}")
            raise TryAgain(f"The two places aren't equal: {found.said}.", remedy="See `mailmirror verify`.")
        report = self.paper(RECLAIMED)
        for number, returned, active in self.ends():
            row = report["stores"][number]
            outcome = Outcome(delivered={(e["account"], e["stood"], e["base"]): e["sha256"] for e in row["delivered"]})
            row["left_aside"] = homecoming.let_go(returned, outcome, self.voyage.operation, self.voyage.leads)
            for cut in homecoming.cuts(active):
                if row["cut"] and (cut.epoch, cut.place) == (row["cut"]["epoch"], row["cut"]["place"]):
                    homecoming.forget(cut, self.voyage.operation)
        report["equal"] = {"at": world.wall(), "said": found.said}
        papers.write(self.path(REPORT), report)
        self.voyage.notes.put("equal", {"said": found.said})
