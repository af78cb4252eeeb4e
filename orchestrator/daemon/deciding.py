"""Who decides for a pair, all the time: every second the facts, a decision, its record, then the act.

The facts come from what others have found by themselves (`health`, replication, readiness, guards that are asked by
`listening`): nothing here waits for a host. What a decision starts runs on a thread of its own.

Invariants: a decision that changes anything is durable in the journal before it is acted on. A look that fails decides
nothing, and the next one is made. A playbook is started once for a decision.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

from orchestrator import __version__
from orchestrator.daemon.asides import Asides
from orchestrator.daemon.systemd import Sign
from orchestrator.errors import MailmirrorError, Refused
from orchestrator.failover import memory as memories
from orchestrator.failover.decide import decide, explain
from orchestrator.failover.facts import Decision, Facts, Flags, Order, as_json, from_json
from orchestrator.failover.gathered import Look, operation
from orchestrator.failover.memory import Memory
from orchestrator.failover.states import Event, State
from orchestrator.inventory.model import Pair
from orchestrator.records import flags
from orchestrator.records.journal import Journal
from orchestrator.records.journal import Operation as Kept
from orchestrator.web.decides import Standing

log = logging.getLogger(__name__)

EVERY = 1.0
SETTLES = 6  # looks that an order may wait for
JUST = 15.0
"""Seconds after the end of a journey in which what is known of the hosts may be of before it."""
MOST = 8
"""Decisions made one after the other on one look; from any state fewer lead to rest."""
LOOKS = 60.0
"""Seconds within which a look gives its next sign of life: it waits for no host, but for the journal's disk."""
OVER = (State.PROTECTED, State.EXPOSED, State.MOVING, State.ALONE)
"""States in which what was asked of an operator is asked no more."""
OVERDUE = 10.0
"""Seconds without a decision after which that is told."""
ONLY_NUMBERS = re.compile(r"\d+(\.\d+)?")


class Acts(Protocol):
    """What a decision has done. Each may take long, and is called on a thread of its own."""

    def go(self, journey: str, reason: str) -> None:
        """Carry a journey out to its end. Raises MailmirrorError where it can't be begun."""

    def restart(self, name: str, epoch: int) -> tuple[str, str]:
        """Restart what fails on the active place: "done" or another word, and why."""

    def leave(self, paused: str) -> None:
        """Have the granters know whether the pair is paused (why, or empty)."""

    def stand_still(self, still: bool) -> None:
        """Whether replication keeps off the stores. Raises TryAgain where it doesn't let go of them in time."""


class Deciding:
    """Decides from `start` to `stop`. `seen` is the look: quick, and without the journal's part; `event` tells who
    listens, as (event, sentence).
    """

    def __init__(
        self,
        pair: Pair,
        seen: Callable[[str, int], Look],
        acts: Acts,
        event: Callable[[str, str], None],
        *,
        every: float = EVERY,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pair, self._seen, self._acts, self._event = pair, seen, acts, event
        self._every, self._now, self._clock = every, now, clock
        self._stop, self._wake = threading.Event(), threading.Event()
        self._turn = threading.RLock()
        self._journal: Journal | None = None
        self._memory = Memory()
        self._news: Event | None = None
        self._last: Decision | None = None
        self._key: tuple[Any, ...] = ()
        self._number, self._since = 0, 0.0
        self._at, self._trouble = 0.0, ""
        self._suppressed, self._flags = 0, Flags()
        self._snoozed = 0.0  # until when the question is put off
        self._journeys, self._started = 0, 0.0  # how many are begun or run by our word, and since when
        self._still = False  # replication keeps off the stores, by our word
        self._unnamed = 0  # the decision whose operation isn't known yet
        self.asides = Asides(pair.name)
        self.restarts = 0
        self._sign = Sign(f"the decisions of {pair.name}", time.monotonic(), every + LOOKS)
        self._thread = threading.Thread(target=self._run, name=f"decisions {pair.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """No further decision; returns at once. What was started goes on."""
        self._stop.set()
        self._wake.set()

    def join(self, timeout: float) -> bool:
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def sign(self) -> Sign:
        """The thread's last sign of life. From any thread, at once."""
        return self._sign

    def poke(self) -> None:
        """Look now."""
        self._wake.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            self._sign = self._sign._replace(at=time.monotonic())
            try:
                self.tick()
            except MailmirrorError as error:
                self._failed(f"{error} {error.remedy}")
            except Exception as error:  # the last fence: a look that nobody foresaw must not end the deciding
                log.exception("Nothing could be decided pair=%s", self._pair.name)
                self._failed(f"an unexpected {type(error).__name__}: {error}")
            self._wake.wait(self._every)
        with self._turn:
            if self._journal is not None:
                self._journal.close()
                self._journal = None

    def _failed(self, why: str) -> None:
        if why != self._trouble:
            self._trouble = why
            log.warning("Nothing could be decided: %s pair=%s", why, self._pair.name)

    # ---- one look ----------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Look, decide until nothing changes, act. Raises MailmirrorError where nothing could be decided."""
        with self._turn:
            journal = self._opened()
            look, kept = self._look(journal)
            if self._begins(kept):
                return
            self._name_it(journal, kept)
            known = self._memory.epoch
            self._memory = memories.noticed(self._memory, look, self._pair)
            fresh = memories.learnt(self._memory, look, self._pair, self._clock())
            if not known or fresh.epoch == known:  # else somebody was promoted: the next look is of that epoch
                self._settle(journal, look, self._news)
                self._news = None
            self._memory = replace(fresh, state=self._memory.state, moving=self._memory.moving)
            self._at, self._trouble = look.now, ""
            paused = flags.paused(journal, self._pair.name, look.now)
        if (self._memory.state is State.SPLIT_BRAIN) is not self._still:
            self.asides.run("stand still", self._stand_still)
        if self._pair.lease:
            self.asides.run("grants", lambda: self._acts.leave(f"by {paused.by}, {paused.why}" if paused else ""))

    def _opened(self) -> Journal:
        if self._journal is None:
            journal = Journal(self._pair.state_dir, self._now)
            self._recall(journal)
            self._journal = journal
        return self._journal

    def _recall(self, journal: Journal) -> None:
        for kept in journal.decisions(self._pair.name, newest=1):
            if not isinstance(kept.facts, dict) or not isinstance(kept.decision, dict):
                return
            try:
                facts, decision = from_json(Facts, kept.facts), from_json(Decision, kept.decision)
            except MailmirrorError as error:  # of another version: then it begins as if nothing had been decided
                log.warning("The last decision can't be read: %s pair=%s", error, self._pair.name)
                return
            self._memory = memories.recalled(self._pair, facts, decision, kept.at)
            self._last, self._number, self._since = decision, kept.id, kept.at
            self._news = Event.CONTROLLER_RESTARTED

    def _look(self, journal: Journal) -> tuple[Look, Kept | None]:
        pair, now = self._pair.name, self._now()
        look = self._seen(self._memory.active, self._memory.epoch)
        kept = journal.last(pair)
        count, failed, restarted = flags.restarts(journal, pair, now)
        self.restarts = self._pair.restart.times if failed else count
        paused = flags.paused(journal, pair, now)
        self._flags = replace(
            look.flags,
            paused_until=paused.until if paused else 0.0, paused_by=paused.by if paused else "",
            paused_why=paused.why if paused else "",
            cooldown_until=flags.cooldown_until(journal, pair, self._pair.cooldown),
        )  # fmt: skip
        self._snoozed = flags.snoozed_until(journal, pair)
        look = replace(
            look, now=now, flags=self._flags, refused=flags.not_begun(journal, pair),
            operation=operation(kept, journal.marks(kept.id) if kept else ()),
            restarted=now if self.asides.busy("restart") else restarted,
        )  # fmt: skip
        return look, kept

    def _begins(self, kept: Kept | None) -> bool:
        """A journey that was decided on or ordered hasn't opened its operation yet, or is about to return."""
        begun = kept is not None and (kept.running or kept.began >= self._started)
        return self._journeys > 0 and not begun

    def _name_it(self, journal: Journal, kept: Kept | None) -> None:
        """The decision that led to an operation bears its name from when it has one."""
        if self._unnamed and kept is not None and kept.began >= self._started:
            journal.belongs(self._unnamed, kept.id)
            self._unnamed = 0

    def _settle(self, journal: Journal, look: Look, news: Event | None) -> None:
        for _ in range(MOST):
            facts = memories.facts(self._memory, look, self._pair, news=news)
            decision = decide(facts)
            self._keep(journal, facts, decision)
            self._act(decision)
            if decision.state is facts.state or decision.by:
                return  # what was started is looked at by the next look
            news = None

    def _keep(self, journal: Journal, facts: Facts, decision: Decision) -> None:
        """In the journal where it says something new; then it is so."""
        key = said(decision)
        if key != self._key:
            about = facts.operation.name if facts.operation and State.MOVING in (decision.was, decision.state) else ""
            self._number = journal.decided(
                self._pair.name, as_json(facts), as_json(decision), __version__, "" if decision.playbook else about
            )
            self._key = key
            if decision.would:
                self._suppressed += 1
            self._tell(decision)
        if self._snoozed > facts.now and decision.state in OVER:  # the next time it is asked at once
            flags.snooze(journal, self._pair.name, 0.0, "")
            self._snoozed = 0.0
        if decision.state is not decision.was or self._last is None:
            self._since = facts.now
        moving = facts.now if decision.state is State.MOVING is not decision.was else self._memory.moving
        self._last = decision
        self._memory = replace(self._memory, state=decision.state, moving=moving)

    def _tell(self, decision: Decision) -> None:
        if decision.state is not decision.was:
            self._event("state", f"{decision.was.value} -> {decision.state.value}: {decision.why}")
        if decision.suppressed_by:
            what = {"failover": "fail over", "restart": "restart the services that failed"}.get(decision.would, "act")
            asks = "; `mailmirror failover` would" if decision.asks else ""
            self._event("held back", f"Doesn't {what} unasked: {' '.join(decision.suppressed_by)}{asks}")

    # ---- acts --------------------------------------------------------------------------------------------------------

    def _act(self, decision: Decision) -> None:
        number = self._number
        if decision.playbook:
            self._event("journey", f"Starts the {decision.playbook} (decision {number})")
            self._started, self._unnamed = self._now(), number
            self._journeys += 1
            self.asides.run(f"journey {number}", lambda: self._travel(decision.playbook, number))
        if decision.restart:
            self._event("restart", f"Restarts the services that failed (decision {number})")
            self.asides.run("restart", lambda: self._restart(number))

    def _travel(self, playbook: str, number: int) -> None:
        try:
            self._acts.go(playbook, f"decision {number}: `mailmirror explain` tells it")
        except MailmirrorError as error:
            self._not_done(playbook, f"{error} {error.remedy}")
        except Exception as error:  # told as such; the next look decides
            log.exception("A journey failed unexpectedly pair=%s", self._pair.name)
            self._not_done(playbook, f"an unexpected {type(error).__name__}: {error}")
        finally:
            with self._turn:
                self._journeys -= 1
            self.poke()

    def _not_done(self, playbook: str, why: str) -> None:
        """It raised: an operation that is open goes on or waits for an operator; where none is, that is kept."""
        self._event("journey", f"The {playbook} ended with an error: {why}")
        with self._turn:
            journal = self._opened()
            kept = journal.last(self._pair.name)
            if kept is None or kept.began < self._started:
                journal.event(self._pair.name, flags.NOT_BEGUN, {"journey": playbook, "why": why})

    def _restart(self, number: int) -> None:
        try:
            state, why = self._acts.restart(f"restart-{number}", self._memory.epoch)
        except MailmirrorError as error:
            state, why = "failed", f"{error} {error.remedy}"
        except Exception as error:  # a restart that fails is a word for the larger remedy, whatever it fails of
            log.exception("A restart failed unexpectedly pair=%s", self._pair.name)
            state, why = "failed", f"an unexpected {type(error).__name__}: {error}"
        self._event("restart", f"The restart is {state}{f': {why}' if why else ''}")
        with self._turn:
            self._opened().event(self._pair.name, flags.RESTART, {"decision": number, "state": state, "why": why})
        self.poke()

    def _stand_still(self) -> None:
        """Nothing is copied either way while two places claim the users."""
        still = self._memory.state is State.SPLIT_BRAIN
        try:
            self._acts.stand_still(still)
        except MailmirrorError as error:  # the next look tries again
            log.warning("Replication doesn't stand still: %s pair=%s", error, self._pair.name)
            return
        self._still = still

    # ---- orders ------------------------------------------------------------------------------------------------------

    def order(self, verb: str, by: str, reason: str, noted: Callable[[Journal], object] = bool) -> Decision:
        """An operator's order, decided and kept; `noted` writes its record first. Raises Refused where it isn't
        obeyed. That something may be lost is asked by the verb. Right after a journey it waits for the hosts' new words
        before it refuses: what was heard last is of before.
        """
        order = Order(verb, by, reason, accept_loss=True)
        for left in reversed(range(SETTLES)):
            with self._turn:
                journal = self._opened()
                look, facts, decision = self._decided(journal, order)
                if not decision.refused:
                    noted(journal)
                    self._key = ()
                    self._keep(journal, facts, decision)
                    self._look(journal)  # flags are as they are now at once
                    break
            if not left or not _just_ended(look) or self._stop.wait(self._every):
                raise Refused(decision.refused, remedy=f"`mailmirror explain {self._pair.name}` says how it stands.")
            self.tick()
        self.poke()
        return decision

    def note(self, noted: Callable[[Journal], object]) -> None:
        """Keep something that isn't decided on, and see it at once."""
        with self._turn:
            journal = self._opened()
            noted(journal)
            self._look(journal)

    def _decided(self, journal: Journal, order: Order) -> tuple[Look, Facts, Decision]:
        """What comes of an order now; nothing is kept."""
        if self._memory.state is State.MOVING:
            self.tick()  # a journey that has just ended is one no more
        look, _ = self._look(journal)
        facts = memories.facts(self._memory, look, self._pair, order)
        return look, facts, decide(facts)

    @contextmanager
    def journey(self, verb: str, by: str, reason: str, noted: Callable[[Journal], object] = bool) -> Iterator[None]:
        """Around a journey that an operator orders. Raises as `order` does, and nothing is begun."""
        with self._turn:
            self.order(verb, by, reason, noted)
            self._started, self._unnamed = self._now(), self._number
            self._journeys += 1
        try:
            yield
        finally:
            with self._turn:
                self._journeys -= 1
            self.poke()

    # ---- what is told ------------------------------------------------------------------------------------------------

    def told(self) -> dict[str, Any]:
        """For `status --format json`."""
        last = self._last
        if last is None:
            return {"state": self._memory.state.value, "why": self._trouble or "Nothing was decided yet.", "may": []}
        flagged = self._flags
        return {
            "state": last.state.value, "why": self._why(last), "may": list(last.may),
            "decision": {
                "number": self._number, "since": self._since, "at": self._at, "event": last.event.value,
                "would": last.would, "held_back": list(last.suppressed_by), "asks": last.asks,
                "loss": str(last.loss or ""), "snoozed_until": self._snoozed or None,
                "paused_until": flagged.paused_until or None, "cooldown_until": flagged.cooldown_until or None,
            },
        }  # fmt: skip

    def _why(self, last: Decision) -> str:
        ago = self._now() - self._at
        if self._at and ago > OVERDUE:
            return f"Nothing was decided for {ago:.0f} s: {self._trouble or 'a journey begins, or the disk is slow'}"
        return last.why

    def explained(self) -> list[str]:
        """The present decision in words."""
        last = self._last
        return explain(last) if last is not None else [self._trouble or "Nothing was decided yet."]

    def standing(self) -> Standing:
        now = self._now()
        paused, cooling = self._flags.paused_until > now, self._flags.cooldown_until > now
        return Standing(self._pair.name, self._memory.state, self._at, self._suppressed, paused, cooling)


def _just_ended(look: Look) -> bool:
    last = look.operation
    return last is not None and not last.running and look.now - last.ended < JUST


def said(decision: Decision) -> tuple[Any, ...]:
    """What of a decision is worth a record: numbers that only grow aren't."""
    held = tuple(ONLY_NUMBERS.sub("#", each) for each in (decision.why, *decision.suppressed_by))
    return (decision.event, decision.state, decision.playbook, decision.restart, held, decision.would)
