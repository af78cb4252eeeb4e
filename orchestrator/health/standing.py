"""How one mail host stands: looks, vitals and letters come in, verdicts and what is told of them go out. Pure.

Whoever feeds it says what the time is. A verdict is *new* when its level or what it is has changed; its evidence alone
may change with every look. An UNKNOWN neither begins nor ends a suspicion: it isn't read as well, nor as dead.

Invariant: what is told beside a verdict is what the verdict was made of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from orchestrator.health.answers import Reading
from orchestrator.health.looks import Look, Observer, Rules, Seen
from orchestrator.health.report import Glance, Letter, PlaceHealth, Vitals
from orchestrator.health.verdict import Disk, Facts, Level, Remedy, Verdict, verdict

VITALS_SECONDS = 60.0
"""How long what a host told of itself says something of now."""


@dataclass(frozen=True)
class Change:
    """A verdict that is new, and the level before it."""

    place: str
    host: str
    was: str
    verdict: Verdict
    would: str

    def sentence(self) -> str:
        """For the log and for who listens."""
        text = f"{self.host} ({self.place}) is {self.verdict.level.value}: {self.verdict.analysis.value}"
        why = "; ".join(self.verdict.evidence[:6])
        return text + (f" ({why})" if why else "") + (f"; {self.would}" if self.would else "")


class Standing:
    """One mail host, as it stands. One thread feeds and judges it."""

    def __init__(self, place: str, host: str, rules: Rules, programs: Mapping[str, str]) -> None:
        self.place, self.host = place, host
        self._rules, self._programs = rules, programs
        self.suspect = False
        self._seen = Seen()
        self._told: PlaceHealth = PlaceHealth(place, host)
        self._verdict: Verdict | None = None
        self._glances: dict[tuple[str, str], tuple[Observer, Reading, float]] = {}
        self._vitals = Vitals()
        self._letter: Letter | None = None
        self._well: set[str] = set()  # services that were seen well once

    # --- what comes in

    def looked(self, observer: Observer, began: float, found: Iterable[Reading], now: float, wall: float) -> None:
        """One observer's look that began at `began` and is known `now`, both on the judge's clock."""
        readings = list(found)
        look = Look(observer, began, {each.service: each.how for each in readings})
        self._seen = self._seen.after(look, now, self._rules)
        for each in readings:
            self._glances[observer.name, each.service] = observer, each, wall
            self._well |= set() if each.how else {each.service}

    def weighed(self, vitals: Vitals) -> None:
        """What the host told of itself."""
        self._vitals = vitals

    def wrote(self, found: Reading, wall: float) -> None:
        """What became of a canary letter."""
        before = self._letter or Letter()
        lost, last = (before.lost + 1, before.last_success) if found.how else (0, wall)
        self._letter = Letter(wall, found.how, found.why, found.seconds, lost, last)

    def forget(self) -> None:
        """What was seen can't be trusted: look anew."""
        self._seen = Seen()

    # --- what is made of it

    def disks(self, wall: float) -> tuple[Disk, ...]:
        """The host's disks as it told of them lately."""
        if wall - self._vitals.at > VITALS_SECONDS:
            return ()
        return tuple(Disk(path, free, None, readonly) for path, free, readonly in self._vitals.disks)

    def judge(self, facts: Facts, now: float, wall: float) -> Change | None:
        """Judge; a Change when the verdict is new. `facts` hold what isn't known here: all but the host's own word."""
        found = verdict(self._seen, self._with_own_word(facts, wall), now, self._rules)
        before, self._verdict = self._verdict, found
        if found.level is not Level.UNKNOWN:
            self.suspect = found.level in (Level.SUSPECT, Level.DOWN)
        is_new = before is None or (before.level, before.analysis) != (found.level, found.analysis)
        would = self._would(found, now)
        self._told = PlaceHealth(
            self.place, self.host, not facts.passive, found.level.value, wall if is_new else self._told.since,
            found.analysis.value, found.remedy.value, would, list(found.evidence), self._newest(now),
            {each.service: each.expires for _, each, _ in self._glances.values() if each.expires is not None},
            self._vitals, self._letter, sorted({service for _, service in self._glances} - self._well),
        )  # fmt: skip
        if not is_new:
            return None
        return Change(self.place, self.host, before.level.value if before else "", found, would)

    def told(self) -> PlaceHealth:
        """As of the last judgement; not to be changed by who gets it."""
        return self._told

    def _with_own_word(self, facts: Facts, wall: float) -> Facts:
        fresh = wall - self._vitals.at <= VITALS_SECONDS
        ends = {each.service: each.expires - wall for _, each, _ in self._glances.values() if each.expires is not None}
        letter, vitals = self._letter, self._vitals
        lost = letter is not None and letter.lost >= self._rules.fall  # one alone may have met a lossy link
        return replace(
            facts,
            disks=self.disks(wall),
            certificates=ends,
            queue_age=wall - vitals.oldest if fresh and vitals.oldest is not None else None,
            clock=vitals.clock if fresh else None,
            letter=f"{letter.how}, {letter.why}" if letter and lost and not facts.passive else "",
        )

    def _newest(self, now: float) -> list[Glance]:
        streaks = self._seen.fresh(now, self._rules)
        found = []
        for (_, service), (observer, each, wall) in sorted(self._glances.items()):
            streak = streaks.get((observer, service))
            if streak is not None:
                failed = len(streak.failed)
                how = (observer.name, service, each.how, each.why, each.seconds, wall)
                found.append(Glance(*how, streak.fallen, failed))
        return found

    def _would(self, found: Verdict, now: float) -> str:
        """The remedy in words. Nothing here carries it out."""
        if found.remedy is Remedy.FAILOVER:
            return "would fail over"
        if found.remedy is not Remedy.RESTART:
            return ""
        down = {service for (_, service), streak in self._seen.fresh(now, self._rules).items() if streak.fallen}
        programs = sorted({self._programs.get(service, service) for service in down})
        return f"would restart {', '.join(programs)}"
