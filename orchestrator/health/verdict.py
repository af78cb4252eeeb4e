"""The verdict on a mail host: from what was seen to HEALTHY, DEGRADED, SUSPECT, DOWN or UNKNOWN, and what it is. Pure.

DOWN takes two observers on two hosts, one of them neither the controller nor on its host, and a controller that isn't
cut off itself and whose clock ran steadily. Whatever can't be told is UNKNOWN, and UNKNOWN is never read as dead. The
verdict names a remedy and does nothing; the cheaper one comes first. Source: DESIGN section 7.

Invariant: the same facts give the same verdict, and each verdict says what it rests on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from orchestrator.health.looks import ODD, Observer, Rules, Seen

ESSENTIAL = frozenset(("smtp", "submission", "imap"))
"""Without one of these users are without mail; without another they miss a part of it."""
FULL = 0.02
NEARLY_FULL = 0.05
"""Shares of a disk, or of its inodes, that are free."""
CERTIFICATE_DAYS = 14
QUEUE_SECONDS = 2 * 3600.0
CLOCK_SECONDS = 60.0
"""A fifth of what TSIG's usual fudge of 300 s bears, and far more than a working NTP leaves."""
MOST_RESTARTS = 2


class Level(Enum):
    HEALTHY = "HEALTHY"
    DEGRADED = "DEGRADED"
    SUSPECT = "SUSPECT"
    DOWN = "DOWN"
    UNKNOWN = "UNKNOWN"


class Analysis(Enum):
    """What is the matter."""

    WELL = "all is well"
    PARTLY = "users have mail, but something needs a person"
    UNREACHABLE_FROM_US = "it can't be reached from one place; others haven't said so"
    NOT_CONFIRMED = "it fails, but not yet long enough, or not by two independent observers"
    SERVICES_DOWN = "the host lives, its services don't"
    DISK_FULL = "its disk is full"
    HOST_DEAD = "nobody gets an answer from it"
    ISOLATED = "the controller itself is cut off"
    TILT = "the controller's clock jumped, or it stood still"
    BLIND = "nobody could look"


class Remedy(Enum):
    NOTHING = "nothing"
    ALERT = "tell a person"
    RESTART = "restart the service"
    FAILOVER = "fail over"


@dataclass(frozen=True)
class Disk:
    """Free shares of 1, None where unknown."""

    path: str
    free: float | None = None
    free_inodes: float | None = None
    readonly: bool | None = None

    @property
    def least(self) -> float | None:
        """The smaller share; None where nothing is known."""
        return min((share for share in (self.free, self.free_inodes) if share is not None), default=None)

    def is_below(self, share: float) -> bool:
        """Whether it is known to have less."""
        return self.least is not None and self.least < share

    def __str__(self) -> str:
        return f"{self.path}: {'its room is unknown' if self.least is None else f'{self.least:.0%} free'}"


@dataclass(frozen=True)
class Facts:
    """What is known beside the looks. `references`: address -> whether the
    controller reaches it. `alive`: the host's own agent answered lately, or the mirror still follows it.
    `certificates`: service -> seconds until its end. `queue_age`: seconds that the oldest letter waits. `clock`:
    seconds by which the host's clock is ahead of the controller's. None is unknown. `letter`: what became of the last
    canary, empty when it came through or none was sent. `restartable`: services that may be restarted, at most
    `most_restarts` times; `restarts` were made. `passive`: nobody's mail is served there.
    """

    references: Mapping[str, bool] = field(default_factory=dict)
    steady: bool = True
    alive: bool = False
    disks: tuple[Disk, ...] = ()
    mirror_disks: tuple[Disk, ...] = ()
    certificates: Mapping[str, float] = field(default_factory=dict)
    queue_age: float | None = None
    clock: float | None = None
    letter: str = ""
    restartable: frozenset[str] = frozenset()
    restarts: int = 0
    most_restarts: int = MOST_RESTARTS
    passive: bool = False


@dataclass(frozen=True)
class Verdict:
    level: Level
    analysis: Analysis
    remedy: Remedy
    evidence: tuple[str, ...]


def verdict(seen: Seen, facts: Facts, now: float, rules: Rules) -> Verdict:
    """Judge. `now` is on the clock of the looks."""
    if not facts.steady:
        return Verdict(Level.UNKNOWN, Analysis.TILT, Remedy.NOTHING, (f"{Analysis.TILT.value}: looking anew",))
    if facts.references and sum(facts.references.values()) * 2 <= len(facts.references):
        cut = sorted(address for address, reached in facts.references.items() if not reached)
        return Verdict(Level.UNKNOWN, Analysis.ISOLATED, Remedy.ALERT, (f"no answer from {', '.join(cut)}",))
    if not seen.fresh(now, rules):
        return Verdict(Level.UNKNOWN, Analysis.BLIND, Remedy.ALERT, (f"no look within {rules.stale:g} s",))
    down = sorted(service for service in ESSENTIAL if _is_quorum(seen.agreed(service, now, rules)))
    if down:
        found = _down(down, seen, facts, now, rules)
        return _of_a_passive(found) if facts.passive else found
    return _suspect(seen, facts, now, rules) or _degraded(seen, facts, now, rules)


def _of_a_passive(found: Verdict) -> Verdict:
    """Users lose nothing with a passive place: nothing is moved, and one that lives isn't called down."""
    level = Level.DOWN if found.analysis is Analysis.HOST_DEAD else Level.DEGRADED
    return Verdict(level, found.analysis, Remedy.ALERT, found.evidence)


def _is_quorum(observers: set[Observer]) -> bool:
    """Whether they are on two hosts: then one of them is neither the controller nor on its host."""
    return len({observer.host for observer in observers}) >= 2


def _down(down: list[str], seen: Seen, facts: Facts, now: float, rules: Rules) -> Verdict:
    evidence = _words(seen, now, rules, set(down))
    full = [disk for disk in facts.disks if disk.is_below(FULL)]
    if full:
        there = [disk for disk in facts.mirror_disks if disk.least is None or disk.is_below(FULL)]
        said = tuple(map(str, full))
        also = tuple(f"on the mirror {disk}" for disk in there)
        remedy = Remedy.FAILOVER if facts.mirror_disks and not there else Remedy.ALERT
        return Verdict(Level.DOWN, Analysis.DISK_FULL, remedy, (*evidence, *said, *also))
    if facts.alive:
        first = facts.restartable.issuperset(down) and facts.restarts < facts.most_restarts
        tried = (f"restarted {facts.restarts} times",) if facts.restarts else ()
        remedy = Remedy.RESTART if first else Remedy.FAILOVER
        return Verdict(Level.DOWN, Analysis.SERVICES_DOWN, remedy, (*evidence, *tried))
    return Verdict(Level.DOWN, Analysis.HOST_DEAD, Remedy.FAILOVER, evidence)


def _suspect(seen: Seen, facts: Facts, now: float, rules: Rules) -> Verdict | None:
    fallen = {
        (observer, service)
        for (observer, service), streak in seen.fresh(now, rules).items()
        if streak.fallen and service in ESSENTIAL
    }
    if not fallen:
        return None
    services = {service for _, service in fallen}
    hosts = {observer.host for observer, _ in fallen}
    elsewhere = {o.host for (o, s), streak in seen.fresh(now, rules).items() if s in services and not streak.fallen}
    alone = len(hosts) == 1 and bool(elsewhere - hosts)
    analysis = Analysis.UNREACHABLE_FROM_US if alone else Analysis.NOT_CONFIRMED
    return Verdict(Level.SUSPECT, analysis, Remedy.ALERT, _words(seen, now, rules, services))


def _degraded(seen: Seen, facts: Facts, now: float, rules: Rules) -> Verdict:
    evidence = [
        *_words(seen, now, rules, {service for _, service in seen.streaks}),
        *(str(disk) for disk in facts.disks if disk.is_below(NEARLY_FULL)),
        *(f"{disk.path} is mounted read-only" for disk in facts.disks if disk.readonly),
        *(_of_certificate(service, end) for service, end in sorted(facts.certificates.items()) if end < _SOON),
    ]
    if facts.queue_age is not None and facts.queue_age > QUEUE_SECONDS:
        evidence.append(f"a letter waits in the queue for {facts.queue_age / 3600:.1f} h")
    if facts.letter:
        evidence.append(f"a canary letter didn't come through: {facts.letter}")
    if facts.clock is not None and abs(facts.clock) > CLOCK_SECONDS:
        evidence.append(f"its clock is off by {facts.clock:+.0f} s")
    if evidence:
        return Verdict(Level.DEGRADED, Analysis.PARTLY, Remedy.ALERT, tuple(evidence))
    return Verdict(Level.HEALTHY, Analysis.WELL, Remedy.NOTHING, ())


_SOON = CERTIFICATE_DAYS * 86400.0


def _of_certificate(service: str, end: float) -> str:
    return f"{service}: its certificate {'has run out' if end < 0 else f'runs out in {end / 86400:.0f} days'}"


def _words(seen: Seen, now: float, rules: Rules, services: set[str]) -> tuple[str, ...]:
    """What observers say against these services, a line each."""
    said = []
    for (observer, service), streak in sorted(seen.fresh(now, rules).items()):
        if service not in services:
            continue
        if streak.fallen:
            times = f"{len(streak.failed)} times" if streak.failed else f"until {streak.well} looks ago"
            said.append(f"{service} from {observer.name}: {streak.how} {times}")
        elif streak.how in ODD and streak.odd >= rules.fall:
            said.append(f"{service} from {observer.name}: it answers, but {streak.how}")
    return tuple(said)
