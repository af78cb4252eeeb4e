"""Links and their answers over decisions that are really made: once, only while it is asked, and with the loss seen."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.alerts import links
from orchestrator.alerts.conditions import ASKED, conditions
from orchestrator.daemon.confirming import Confirming
from orchestrator.errors import BrokenPromise, MailmirrorError, Refused, UsageError
from orchestrator.inventory.model import Inventory
from orchestrator.records import pairkey
from orchestrator.records.journal import Journal
from tests.unit.daemon.deciding import Stage
from tests.unit.failover.told import DEAD, WELL

URL = "https://mailmirror.example.net"


class Site(Stage):
    """A pair in which an operator confirms, whose primary has lost its power; and who answers by links."""

    def __init__(self, base: Path, **more: Any) -> None:
        super().__init__(base, mode="confirm", url=URL, **more)
        self.begun, self.lets_go, self.breaks = threading.Event(), threading.Event(), None
        self.confirming = Confirming(
            Inventory(base / "inventory.yaml", {"org": self.pair}), self, lambda _: self.row(),
            lambda _, what, text: self.events.append((what, text)), now=lambda: self.now,
        )  # fmt: skip
        assert self.tick(3) == "PROTECTED"
        self.tick(20)
        self.power_cut()
        assert self.tick(10) == "DOWN"

    breaks: Exception | None

    def row(self) -> dict[str, Any]:
        return {"pair": "org", "active": "mail1", "link": "live", **self.deciding.told()}

    # ---- as `ordering.Decisions`

    def confirm(self, pair: str, journey: str, by: str, reason: str, noted: Callable[[Journal], object]) -> None:
        with self.deciding.journey(journey, by, reason, noted):
            self.begun.set()
            assert self.lets_go.wait(10)
            if self.breaks is not None:
                raise self.breaks
            self.go(journey, reason)

    def note(self, pair: str, noted: Callable[[Journal], object]) -> None:
        self.deciding.note(noted)

    def sentences(self, pair: str) -> list[str]:
        return self.deciding.explained()

    # ---- who answers

    def fresh(self) -> str:
        return self.confirming.link("org", "pager").removeprefix(f"{URL}/confirm/")

    def answer(self, link: str, **said: str) -> None:
        form = said.pop("form", "") or self.confirming.look(link).form
        self.confirming.answer(link, {"form": form, **said})

    def asked(self) -> list[str]:
        return [each.name for each in conditions(self.row()) if each.name == ASKED]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.mark.issue(
    "6.4 mm_mode: confirm: an alert's one-time link, and the answer that it brings, is an order like another"
)
def test_a_failover_is_begun_by_a_link_once_with_the_loss_that_was_seen(site: Site) -> None:
    link, other = site.fresh(), site.fresh()
    question = site.confirming.look(link)
    assert question.asked and not question.answered and question.to == "mail2"
    assert "at the last contact" in question.loss and any("is DOWN" in each for each in question.evidence)
    assert site.asked() == [ASKED] and site.gone == []
    for said, remedy in (({"name": "Org"}, "Type it"), ({"name": ""}, "Type it"), ({"what": "x"}, "buttons")):
        with pytest.raises(UsageError) as wrong:
            site.answer(link, **{"what": "failover", **said})
        assert remedy in wrong.value.remedy
    with pytest.raises(UsageError, match="another question"):
        site.answer(link, what="failover", name="org", form=site.confirming.look(other).form)
    assert site.gone == [] and not site.begun.is_set(), "nothing of that began anything"
    site.answer(link, what="failover", name="org")
    assert site.begun.wait(5) and site.state == "MOVING"
    assert re.fullmatch(
        r"A failover was ordered at [\d:]+, by a link sent to pager\.", site.confirming.look(link).answered
    )
    with pytest.raises(Refused):
        site.answer(link, what="failover", name="org")
    site.lets_go.set()
    site.deciding.asides.join(5)
    with Journal(site.pair.state_dir) as journal:
        [decision] = [each for each in journal.decisions("org") if each.decision["event"] == "failover"]  # type: ignore[index,call-overload]
        assert decision.decision["by"] == "a link sent to pager"  # type: ignore[index,call-overload]


@pytest.mark.issue("6.4 a link is signed, good once and for a day; its answer can't be forged")
def test_two_who_answer_at_once_begin_one_journey(site: Site) -> None:
    link = site.fresh()
    form = site.confirming.look(link).form
    told: list[MailmirrorError] = []

    def answers() -> None:
        try:
            site.confirming.answer(link, {"form": form, "what": "failover", "name": "org"})
        except MailmirrorError as error:
            told.append(error)

    both = [threading.Thread(target=answers) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join(10)
    site.lets_go.set()
    assert len(told) == 1 and isinstance(told[0], Refused)


def test_what_is_asked_no_more_or_would_lose_other_things_is_refused(site: Site) -> None:
    link = site.fresh()
    form = site.confirming.look(link).form
    site.lag = 25.0
    site.tick(2)
    with pytest.raises(Refused, match="What could be lost has changed"):
        site.answer(link, form=form, what="failover", name="org")
    site.healths["primary"] = WELL
    site.words["primary"] = site.words["mirror"]
    site.tick(3)
    assert not site.confirming.look(link).asked and site.asked() == []
    with pytest.raises(Refused, match="Nothing is asked any more"):
        site.answer(link, what="failover", name="org")
    assert site.gone == []


@pytest.mark.issue("6.4 a link's snooze of 30 min, 2 h or 24 h puts the question off, and no later outage")
def test_a_snooze_puts_the_question_off_and_ends_with_the_outage(site: Site) -> None:
    link = site.fresh()
    with pytest.raises(UsageError, match="put off"):
        site.answer(link, what="snooze", seconds="3600")
    site.answer(link, what="snooze", seconds="7200")
    [told] = [each for each in conditions(site.row()) if each.name == ASKED]
    assert told.silent_until == site.now + 7200
    with pytest.raises(Refused, match="used for a snooze of 120 min"):
        site.answer(link, what="failover", name="org")
    site.again()
    site.tick(3)
    assert site.deciding.told()["decision"]["snoozed_until"] == told.silent_until - 0, "also for a new daemon"
    site.healths["primary"], site.words["primary"] = WELL, site.words["witness"]
    site.tick(3)
    assert site.state in ("PROTECTED", "EXPOSED")
    site.healths["primary"], site.words["primary"] = DEAD, None
    assert site.tick(10) == "DOWN"
    [told] = [each for each in conditions(site.row()) if each.name == ASKED]
    assert told.silent_until == 0.0, "another outage is another question"


def test_what_goes_wrong_after_it_was_begun_is_told_to_all(site: Site) -> None:
    site.breaks = BrokenPromise("the disk")
    site.answer(site.fresh(), what="failover", name="org")
    site.lets_go.set()
    for each in threading.enumerate():
        if each.name == "confirmed org":
            each.join(5)
    assert ("journey", "The failover that was confirmed ended with an error: the disk") in site.events


def test_no_link_without_a_page_and_none_of_a_pair_that_is_gone(site: Site, tmp_path: Path) -> None:
    gone = links.signed(pairkey.of_links(site.pair.state_dir), links.fresh("net", "pager", site.now))
    with pytest.raises(UsageError, match="no pair net"):
        site.confirming.look(gone)
    assert (site.pair.state_dir / "links.key").stat().st_mode & 0o777 == 0o600
    nowhere = Inventory(tmp_path / "inventory.yaml", {"org": Stage(tmp_path / "other").pair})
    assert Confirming(nowhere, site, lambda _: {}, lambda *_: None).link("org", "pager") == ""
