"""What each observer saw of each service, look after look: streaks, and when one of them is long enough to count. Pure.

A look fails, or succeeds, or is *odd*: the service answered and said no (a wrong password, an untrusted certificate),
which nobody mends by moving users. An observer that didn't answer saw nothing: its silence is no failure of the host.

Invariant: an observer's word on a service changes only by `fall` failures or `rise` successes in a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

OK = ""
ODD = frozenset(("rejected", "untrusted"))
"""Of `orchestrator.agent.probe`'s words for how a probe ended, those with which a service shows that it works."""


@dataclass(frozen=True)
class Rules:
    """Times in seconds; `fall`, `rise` and `confirm` in looks. `stale`: an older look says nothing of now.

    `confirm` failures in a row, after the suspicion and by each who agrees, make it DOWN. Where one look in five is
    lost for two observers, 3 would call a living host dead about once in three days (counted); 5 is 600 times rarer.
    """

    interval: float = 1.0
    timeout: float = 3.0
    fall: int = 3
    rise: int = 3
    confirm: int = 5

    @property
    def stale(self) -> float:
        return self.timeout + self.fall * self.interval


class Observer(NamedTuple):
    """Who looks, and from which host. Two on one host are one witness: what cuts off one cuts off both."""

    name: str
    host: str


class Look(NamedTuple):
    """One observer's look at all services: service -> how it ended, `OK` when well. `began` is on the judge's clock."""

    observer: Observer
    began: float
    services: Mapping[str, str]


@dataclass(frozen=True)
class Streak:
    """One observer's recent looks at one service. `failed` are the beginnings of its newest failures in a row, `how` is
    how the newest look ended, or while it is fallen the newest failure.
    """

    failed: tuple[float, ...] = ()
    well: int = 0
    odd: int = 0
    fallen: bool = False
    how: str = OK
    began: float = float("-inf")

    def after(self, began: float, how: str, rules: Rules) -> Streak:
        """The streak with one look more. One that began before the newest says nothing new; one that comes after a
        silence begins anew, since what happened meanwhile nobody saw.
        """
        if began <= self.began:
            return self
        known = self if began - self.began <= rules.stale else Streak()
        if how == OK or how in ODD:
            well = known.well + 1
            odd = known.odd + 1 if how in ODD else 0
            fallen = known.fallen and well < rules.rise
            return Streak((), well, odd, fallen, known.how if fallen else how, began)
        failed = (*known.failed, began)[-4 * rules.confirm :]
        return Streak(failed, 0, 0, known.fallen or len(failed) >= rules.fall, how, began)


@dataclass(frozen=True)
class Seen:
    """All streaks. `suspected`: service -> since when some observer that still looks says that it fell."""

    streaks: Mapping[tuple[Observer, str], Streak] = field(default_factory=dict)
    suspected: Mapping[str, float] = field(default_factory=dict)

    def after(self, look: Look, now: float, rules: Rules) -> Seen:
        """With one look more, which is known since `now`."""
        streaks = dict(self.streaks)
        for service, how in look.services.items():
            key = (look.observer, service)
            streaks[key] = streaks.get(key, Streak()).after(look.began, how, rules)
        seen = replace(self, streaks=streaks)
        fallen = {service for (_, service), streak in seen.fresh(now, rules).items() if streak.fallen}
        return replace(seen, suspected={service: self.suspected.get(service, now) for service in fallen})

    def fresh(self, now: float, rules: Rules) -> dict[tuple[Observer, str], Streak]:
        """Those that still say something of now."""
        return {key: streak for key, streak in self.streaks.items() if now - streak.began <= rules.stale}

    def agreed(self, service: str, now: float, rules: Rules) -> set[Observer]:
        """Who saw the service fail `confirm` times in a row in looks that began after it was suspected: the looks that
        made it suspect don't confirm themselves."""
        since = self.suspected.get(service)
        if since is None:
            return set()
        return {
            observer
            for (observer, about), streak in self.fresh(now, rules).items()
            if about == service and sum(began >= since for began in streak.failed) >= rules.confirm
        }
