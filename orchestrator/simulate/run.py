"""One seed: a story of one journey or several, what befalls it, and what came of it.

Everything is drawn from the seed, so that a seed is a story: told again, it is the same. Faults come while the journey
runs and are mended when the last one is over; from then on an operation has to end by itself, or by an operator where
it is stuck.
"""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any

from orchestrator.failover.conductor import Ask, Conductor
from orchestrator.failover.playbook import SHIPPED, Playbook, read_bytes
from orchestrator.failover.steps import MAKERS
from orchestrator.failover.verbs import JOURNEYS
from orchestrator.records.journal import Journal, Operation
from orchestrator.records.marks import State
from orchestrator.simulate.clockwork import Clockwork
from orchestrator.simulate.controller import Kept, Life, begin, order
from orchestrator.simulate.faults import Fault, drawn, strike
from orchestrator.simulate.guards import PAIR
from orchestrator.simulate.laws import Broken
from orchestrator.simulate.site import MAIL, Site
from orchestrator.simulate.store import Store

Work = Callable[[Conductor[Any], Kept], Operation | None]
_NAME = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")
"""An operation's: drawn anew each time, so it isn't told."""
NOT_BEGUN = "not begun"
WARM = 18.0
"""Seconds after which the lease is armed, and the journey begins."""
PATIENCE = 900.0
"""Seconds, after all is mended, in which an operation ends."""
AFTER = 45.0
"""Seconds of peace at the end: a quiet or a lease that was forgotten shows by then."""


@dataclass(frozen=True)
class Outcome:
    """`broken`: the guarantee that didn't hold, empty when all did. `ended`: how the operation stands."""

    seed: int
    journey: str
    ended: str
    broken: str
    story: tuple[str, ...]
    seconds: float
    events: int


@cache
def playbooks() -> dict[str, Playbook]:
    """Those that are conducted here, without the steps that nobody does yet and that may be left out."""
    found = {}
    for name in ("switchover", "failover", "rejoin", "failback"):
        head, *steps = (SHIPPED / f"{name}.yaml").read_text().split("\n  - do: ")
        may = {verb for verb in JOURNEYS[name].may if verb not in MAKERS}
        kept = [step for step in steps if step.split("\n")[0] not in may]
        found[name] = read_bytes("\n  - do: ".join([head, *kept]).encode(), Path(f"{name}.yaml"))
    return found


STORIES = {
    "switchover": ("switchover",),
    "failover": ("failover",),
    "rejoin": ("failover", "rejoin", "failback"),
}
"""What is conducted, one after the other, as long as each is done."""
OFTEN = (*("switchover", "failover") * 3, "rejoin")
"""What a seed draws from: the longest story takes the most time to tell."""


@cache
def able() -> list[str]:
    """The stories whose journeys have a step for each verb."""
    return [name for name, parts in STORIES.items() if all(playbooks()[p].verbs() <= MAKERS.keys() for p in parts)]


class Run:
    """A seed at work."""

    def __init__(self, seed: int, directory: Path, plan: list[Fault] | None = None, journey: str = "") -> None:
        self.seed, self.directory = seed, directory
        self.dice, self.clock = Random(seed), Clockwork()
        self.story: list[str] = []
        self.journey = journey or self.dice.choice(OFTEN)
        self.at = self.dice.choice(["mirror", "desk"])
        self.parts = STORIES[self.journey]
        self.part, self.earlier = "", 0
        few = [(0, 0, 1)] if len(self.parts) > 1 else []  # else hardly a lost place would come home
        self.plans = [drawn(self.dice, part, *few) if plan is None else plan for part in self.parts[:1]]
        self.plans += [drawn(self.dice, part) if plan is None else plan for part in self.parts[1:]]
        self.lives: list[Life] = []
        self.rival: list[Life] = []
        self.asks = self.rival_asks = 0

    def outcome(self) -> Outcome:
        broken = ""
        with contextlib.redirect_stderr(_Told(self.say)):
            witness = self.dice.random() < 0.8
            self.site = Site(self.dice, self.clock, say=self.say, desk=self.at, playbooks=playbooks(), witness=witness)
            self.site.device, self.site.states = self.dice.random() < 0.3, self.dice.random() < 0.2
            try:
                self._through()
            except Broken as error:
                broken = str(error)
                self.say(f"BROKEN {broken}")
            finally:
                for life in (*self.lives, *self.rival):
                    if life.process is not None and not life.process.ended:
                        life.process.kill()
        clock = self.clock
        return Outcome(self.seed, self.journey, self._state(), broken, tuple(self.story), clock.now, clock.events)

    def say(self, text: str) -> None:
        self.story.append(f"{self.clock.now:9.3f}  {_NAME.sub('op', text)}")

    def _state(self) -> str:
        with contextlib.closing(Journal(self.directory)) as journal:
            found = journal.operations(PAIR)
            return str(found[-1].state) if len(found) > self.earlier else NOT_BEGUN

    @property
    def _active_store(self) -> Store:
        return self.site.hosts[self.site.active].store

    def _count(self) -> int:
        with contextlib.closing(Journal(self.directory)) as journal:
            return len(journal.operations(PAIR))

    def _through(self) -> None:
        self._until(WARM, lambda: False)
        for name, plan in zip(self.parts, self.plans, strict=True):
            self._conducted(name, plan)
            if name == "rejoin" and self._state() == State.ABORTED:  # it is begun anew, and delivers nothing twice
                self._conducted(name, [])
            self._judge(name)
            if self._state() != State.DONE:
                return
            if name != "rejoin":
                self.site.active, self.site.passive = self.site.passive, self.site.active

    def _conducted(self, name: str, plan: list[Fault]) -> None:
        clock = self.site.clockwork
        self.part, self.earlier = name, self._count()
        self.asks = self.rival_asks = 0
        self.say(f"a {name} begins; the controller is at the {self.at}")
        for fault in plan:
            clock.after(fault.at, partial(strike, self, fault))
        mended = clock.now + max((fault.at + fault.lasts for fault in plan), default=0.0) + 1.0
        self.begins()
        self._until(mended, lambda: False)
        strike(self, Fault(0.0, "mend", "", 0.0))
        self._until(mended + PATIENCE, self._over)
        if not self._over():
            raise Broken("G6: the operation hasn't ended, and isn't stuck")
        for place in self.site.hosts:
            self.site.boots(place)  # a fence device may have switched it off after all else was mended
        self._until(max(clock.now, *self.site.off_until.values(), 0.0) + AFTER, lambda: False)
        if self._state() == State.STUCK:
            self._insisted()

    def _insisted(self) -> None:
        """What was stuck is resumed again: whatever it waited for is there now. Where another controller was at the
        pair, what that one did can't be undone by this one: then it is aborted, and somebody has to serve.
        """
        clock = self.site.clockwork
        self.asks = self.rival_asks = 0
        self._until(clock.now + PATIENCE, self._over)
        if self._state() == State.STUCK and self.site.rivals and self.part != "rejoin":
            self.ordered("abort")
            self._until(clock.now + PATIENCE, self._over)
            if not self.site.serving:
                raise Broken("G6: it is aborted because another controller was here, and nobody serves")
        self._until(clock.now + AFTER, lambda: False)

    def _until(self, until: float, over: Callable[[], bool]) -> None:
        self.site.clockwork.run(until, over)
        for life in (*self.lives, *self.rival):
            if life.process is not None and life.process.failed is not None:
                failed = life.process.failed
                raise failed if isinstance(failed, Broken) else Broken(f"the controller failed: {failed!r}") from failed

    def _judge(self, name: str) -> None:
        """What has to be so in the end, when nothing has been wrong for a while."""
        state, serves = self._state(), bool(self.site.serving)
        if state in (State.DONE, State.ROLLED_BACK) and not serves:
            raise Broken(f"G6: the operation is {state}, all is mended, and nobody serves")
        if state == State.STUCK and name == "rejoin" and self.site.rivals and self._active_store.cut is None:
            return  # the rival's replication ended the cut: the rejoin refuses to guess, and nothing was touched
        if state == State.STUCK:
            who = "" if serves else ", and nobody serves"
            raise Broken(f"G6: all is mended, and it stays stuck however often it is resumed{who}")
        if name == "rejoin" and state == State.DONE:
            hosts = self.site.hosts
            letters = [message.letter for message in self._active_store.letters.values()]
            self.site.laws.home(letters, {q.letter for place in MAIL for q in hosts[place].spool.letters.values()})

    # ---- controllers -------------------------------------------------------------------------------------------------

    def begins(self, dies_at: int = 0) -> None:
        """A controller's life: it goes on with what it finds in the journal."""
        if any(life.alive for life in self.lives) or (self.at == "mirror" and not self.site.hosts["mirror"].up):
            return  # the pair's lock is held; or there is nothing to run on
        life = Life(self.site, self.at, self.directory, dies_at)
        self.lives.append(life)
        life.begins(begin(self.playbook, self.site.active, self.site.passive, "an operator", self.earlier))

    def rivals(self) -> None:
        """Another controller, with a journal of its own, that orders a journey of the same pair."""
        if any(life.alive for life in self.rival):
            return  # it holds the pair's lock where it runs
        elsewhere = self.directory / "rival"
        elsewhere.mkdir(exist_ok=True)
        self.site.rivals = True
        self.site.cutting.clear()
        work = begin(playbooks()["failover"], self.site.active, self.site.passive, "another controller")
        self._lives_elsewhere(elsewhere, work)

    def _lives_elsewhere(self, directory: Path, work: Work) -> None:
        life = Life(self.site, "witness", directory, 0)
        self.rival.append(life)
        life.begins(work)

    @property
    def playbook(self) -> Playbook:
        return playbooks()[self.part]

    def dies(self) -> None:
        for life in self.lives:
            if life.process is not None and life.alive:
                self.say(f"{self.at}: the controller dies")
                life.process.kill()

    def ordered(self, verb: str) -> None:
        """An operator's word: to the controller that runs, or by a new one where none does."""
        self.say(f"{self.at}: an operator orders {verb}")
        if verb == "abort":
            self.dies()  # the verb ends a journey that another process conducts
        running = [life for life in self.lives if life.alive]
        if running:
            if verb == "rollback":
                running[0].wanted = Ask.ROLL_BACK
            return
        life = Life(self.site, self.at, self.directory, 0)
        self.lives.append(life)
        life.begins(order(verb))

    def _over(self) -> bool:
        """Whether the operation has ended. One that is stuck is resumed twice, then left; and so is another
        controller's, for nobody else can end what that one has half done.
        """
        if any(life.alive for life in (*self.lives, *self.rival)):
            return False
        state = self._state()
        if state == NOT_BEGUN and self.earlier and self.asks < 2:
            self.asks += 1
            self.begins()
            return False
        if state == State.OPEN:
            self.begins()
            return False
        if state == State.STUCK and self.asks < 2:
            self.asks += 1
            self.ordered("resume")
            return False
        return self._rival_over()

    def _rival_over(self) -> bool:
        if not self.rival:
            return True
        elsewhere = self.rival[0].home
        with contextlib.closing(Journal(elsewhere)) as journal:
            found = journal.operations(PAIR)
        if not found or found[-1].state is not State.STUCK or self.rival_asks >= 2:
            return True
        self.rival_asks += 1
        self.say("witness: an operator orders resume")
        self._lives_elsewhere(elsewhere, order("resume"))
        return False


class _Told(io.TextIOBase):
    """What guards write for their journal, into the story."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def write(self, text: str) -> int:
        if text.strip():
            self._say(f"  a guard: {text.strip()}")
        return len(text)


def run(seed: int, journey: str = "", plan: list[Fault] | None = None) -> Outcome:
    """The seed's story. Of a seed, `journey` and `plan` may be said instead of drawn."""
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="mailmirror-", dir=shm if shm.is_dir() else None) as directory:
        return Run(seed, Path(directory), plan, journey).outcome()
