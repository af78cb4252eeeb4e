"""Who serves, and for how long: the cases that the design names, one after the other."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace

import pytest

from orchestrator.agent import lease
from orchestrator.agent.lease import ALWAYS, NEVER, Grant, Granter, Holder, Impossible, Kept, Terms

TERMS = Terms(drift=0.01, stop=0.5)
TTL = 8.0
EVERY = TTL / 4
BOTH = ("mirror", "witness")


class Site:
    """An active and its granters on one clock; rounds of a quarter of a ttl. Armed, and served, at the start."""

    def __init__(self) -> None:
        self.now = 0.0
        self.numbers = itertools.count(1)
        self.holder = Holder("b", 1, 1, TTL)
        self.granters = {name: lease.started(name, Kept(1), 0.0, TERMS) for name in BOTH}
        self.rounds(3 * TTL)
        assert not any(granter.kept.without_end for granter in self.granters.values()), "it is armed"

    @property
    def serves(self) -> bool:
        return self.now < self.holder.serves_until

    def rounds(self, seconds: float, *, reach: Iterable[str] = BOTH, up: Iterable[str] = BOTH) -> bool:
        """Lets time pass: the active reaches these granters, and these are up and hear each other. Whether it served
        all the time.
        """
        served, end = True, self.now + seconds
        while self.now < end:
            self.now += EVERY
            served = served and self.serves
            for name in up:
                if set(up) == set(BOTH):
                    self.granters[name] = lease.heard(self.granters[name], self.now)
            for name in set(reach) & set(up):
                self.ask(name)
        return served

    def ask(self, name: str) -> Grant | None:
        self.holder, request = lease.ask(self.holder, name, self.now, next(self.numbers))
        self.granters[name], grant = lease.answer(self.granters[name], request, self.now, TERMS, next(self.numbers))
        if grant is not None:
            self.holder = lease.granted(self.holder, grant)
        return grant


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.mark.issue("4.2 a healthy holder serves, and goes on when it is cut off from one granter")
@pytest.mark.parametrize("reach", [BOTH, ("mirror",), ("witness",)])
def test_one_granter_is_enough(site: Site, reach: tuple[str, ...]) -> None:
    assert site.rounds(10 * TTL, reach=reach)
    assert site.holder.serves_until < ALWAYS, "and the lease stays armed"


@pytest.mark.issue("4.2 cut off from both it stops at its deadline")
def test_cut_off_from_both_it_stops_at_its_deadline(site: Site) -> None:
    last = site.now
    assert not site.rounds(2 * TTL, reach=())
    assert site.holder.serves_until <= last + TTL
    assert site.rounds(EVERY) is False and site.serves, "and it serves again as soon as one answers"


@pytest.mark.issue("4.2 one granter lost and later the other: it serves on without an end")
@pytest.mark.parametrize("first", BOTH)
def test_one_granter_lost_and_later_the_other(site: Site, first: str) -> None:
    other = next(name for name in BOTH if name != first)
    assert site.rounds(2 * TTL, up=(other,))
    assert site.rounds(50 * TTL, up=())
    assert site.holder.serves_until == ALWAYS
    with pytest.raises(Impossible, match="may serve without an end"):
        lease.refuse(site.granters[other])
    assert site.rounds(4 * TTL)
    assert site.holder.serves_until < ALWAYS, "both are back, and it is armed again"


@pytest.mark.issue("4.2 both lost within one ttl: it stops at its deadline")
def test_both_lost_within_one_ttl(site: Site) -> None:
    site.rounds(EVERY, up=("witness",))
    assert not site.rounds(3 * TTL, up=())
    assert not site.serves


@pytest.mark.issue("4.2 a granter that leaves on purpose disarms first")
@pytest.mark.parametrize("name", BOTH)
def test_one_that_leaves_disarms_first(site: Site, name: str) -> None:
    site.granters[name] = replace(site.granters[name], leaving=True)
    site.rounds(EVERY)
    assert site.holder.serves_until == ALWAYS
    assert site.rounds(9 * TTL, up=())
    site.granters[name] = lease.started(name, site.granters[name].kept, site.now, TERMS)
    assert site.rounds(4 * TTL) and site.holder.serves_until < ALWAYS


@pytest.mark.issue("4.2 a guard that is restarted, and a host that reboots")
def test_what_is_left_after_a_start(site: Site) -> None:
    site.rounds(2 * TTL, up=("witness",))
    kept = site.holder.without_end
    site.holder = Holder("b", 1, 1, TTL, without_end=kept)
    assert site.holder.serves_until == ALWAYS, "its own guard alone"
    site.holder = Holder("c", 1, 2, TTL)
    assert site.holder.serves_until == NEVER, "a reboot: a later epoch may have begun"
    site.ask("witness")
    assert site.serves, "until a granter answers"


@pytest.mark.issue("4.2 a promotion waits until all that was granted has run out")
def test_a_promotion_waits_for_both(site: Site) -> None:
    for name in BOTH:
        site.granters[name] = lease.refuse(site.granters[name])
        assert site.ask(name) is None
        with pytest.raises(Impossible, match="hasn't run out"):
            lease.advance(site.granters[name], 2, site.now)
    wait = TERMS.run_out(TTL)
    assert wait == pytest.approx(TTL * 1.01 + 0.5)
    last = max(granter.run_out for granter in site.granters.values())
    assert last == pytest.approx(site.now + wait) and site.holder.serves_until + 0.5 < last
    for granter in site.granters.values():
        assert lease.advance(granter, 2, last).kept == Kept(2)
        with pytest.raises(Impossible, match="doesn't follow"):
            lease.advance(granter, 3, last)


def test_a_granter_that_starts_anew_counts_as_having_granted_then(site: Site) -> None:
    for name in BOTH:
        refusing = lease.refuse(site.granters[name])
        anew = lease.started(name, refusing.kept, site.now, TERMS)
        assert anew.kept.refuses and anew.run_out == pytest.approx(site.now + TERMS.run_out(TTL))
        assert not lease.has_run_out(anew, anew.run_out - 0.01) and lease.has_run_out(anew, anew.run_out)


@pytest.mark.issue("4.2 a promotion that was given up")
def test_a_promotion_that_was_given_up(site: Site) -> None:
    for name in BOTH:
        site.granters[name] = lease.relent(lease.refuse(site.granters[name]))
    assert site.rounds(5 * TTL)


@pytest.mark.issue("4.2 a replayed, old or foreign grant is dropped")
@pytest.mark.parametrize(
    "change", [{"nonce": 1}, {"boot": "a"}, {"epoch": 2}, {"generation": 0}, {"granter": "somebody"}], ids=str
)
def test_a_grant_that_answers_nothing_is_dropped(site: Site, change: dict[str, object]) -> None:
    site.holder, request = lease.ask(site.holder, "mirror", site.now, 999)
    good = Grant("mirror", request.nonce, "b", 1, 1, without_end=True)
    assert lease.granted(site.holder, good._replace(**change)) is site.holder  # type: ignore[arg-type]
    once = lease.granted(site.holder, good)
    assert once.serves_until == ALWAYS
    assert lease.granted(once, good) is once, "each request is answered once"


@pytest.mark.issue("4.2 a grant without an end that is late doesn't come back to life")
def test_a_late_grant_without_an_end_is_dropped_after_rearming(site: Site) -> None:
    site.holder, early = lease.ask(site.holder, "mirror", site.now, 501)
    late = Grant("mirror", early.nonce, "b", 1, 1, without_end=True)
    site.holder, request = lease.ask(site.holder, "mirror", site.now, 502)
    site.holder = lease.granted(site.holder, Grant("mirror", request.nonce, "b", 1, 1, rearm=77))
    assert lease.granted(site.holder, late) is site.holder
    site.holder, confirming = lease.ask(site.holder, "mirror", site.now, 503)
    assert confirming.confirms == 77


@pytest.mark.issue("4.2 a confirmation that is replayed doesn't arm the lease again")
def test_a_confirmation_counts_once(site: Site) -> None:
    site.granters["mirror"] = replace(site.granters["mirror"], leaving=True)
    site.ask("mirror")
    site.granters["mirror"] = replace(site.granters["mirror"], leaving=False)
    number = (site.ask("mirror") or pytest.fail("no grant")).rearm
    site.ask("mirror")
    assert number and not site.granters["mirror"].kept.without_end, "it agreed, and said so"
    site.granters["mirror"] = replace(site.granters["mirror"], leaving=True)
    site.ask("mirror")
    site.granters["mirror"] = replace(site.granters["mirror"], leaving=False)
    replayed = lease.Request(1, "b", 1, 1, TTL, confirms=number)
    after, _ = lease.answer(site.granters["mirror"], replayed, site.now, TERMS, next(site.numbers))
    assert after.kept.without_end and site.holder.serves_until == ALWAYS
    with pytest.raises(Impossible):
        lease.refuse(after)


def test_another_epoch_gets_no_answer(site: Site) -> None:
    granter: Granter = site.granters["mirror"]
    old = lease.Request(1, "b", 0, 1, TTL)
    assert lease.answer(granter, old, site.now, TERMS, 1) == (granter, None)
