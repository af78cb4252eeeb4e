"""The daemon's alerts: told once over daemons that end; a channel that fails is tried again; no book is needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.alerts.ledger import STEADY, Notice
from orchestrator.daemon.alerting import PATIENCE, Alerting
from orchestrator.errors import HostError
from orchestrator.inventory.model import AlertChannel, AlertProgram, Pair
from orchestrator.records import alerts as records

CHANNELS = tuple(AlertChannel(name, least, program=AlertProgram(("x",))) for name, least in
                 (("pager", "page"), ("mail", "warning")))  # fmt: skip


class Site:
    def __init__(self, base: Path) -> None:
        self.base, self.now, self.deaf = base, 1000.0, set[str]()
        self.heard: list[tuple[str, str, str]] = []
        self.links: list[str] = []
        self.status: dict[str, Any] = {"pair": "org", "link": "live", "state": "DOWN"}
        self.begins()

    def begins(self) -> None:
        pair = Pair("org", {}, (), state_dir=self.base, alerts=CHANNELS)
        self.alerting = Alerting(
            pair, lambda: self.status, way=lambda channel: _Way(self, channel.name), now=self.clock,
            link=lambda channel: f"link for {channel}",
        )  # fmt: skip

    def clock(self) -> float:
        return self.now

    def look(self, later: float = 0.0) -> None:
        self.now += later
        self.alerting.look()


class _Way:
    def __init__(self, site: Site, name: str) -> None:
        self.site, self.name = site, name

    def send(self, notices: Sequence[Notice]) -> None:
        if self.name in self.site.deaf:
            raise HostError("no answer")
        self.site.links += [each.link for each in notices if each.link]
        self.site.heard += [(self.name, each.status, each.condition.name) for each in notices]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_what_was_told_is_known_to_the_next_daemon(site: Site) -> None:
    site.look()
    assert site.heard == [("mail", "firing", "state DOWN"), ("pager", "firing", "state DOWN")]
    site.begins()
    site.look(5)
    assert len(site.heard) == 2
    site.status["state"] = "PROTECTED"
    site.begins()
    site.look(5)
    site.look(STEADY)
    assert site.heard[2:] == [("mail", "resolved", "state DOWN"), ("pager", "resolved", "state DOWN")]
    assert records.read(site.base, "org") == {}


@pytest.mark.issue("6.4 a link that an alert carries leads to a page with evidence, expected loss and buttons")
def test_a_question_has_a_link_for_each_channel_and_nothing_else_has(site: Site) -> None:
    site.look()
    assert site.links == []
    site.status["decision"] = {"asks": "failover", "loss": "3 messages"}
    site.look(5)
    assert sorted(site.links) == ["link for mail", "link for pager"]
    site.status["decision"] = {"asks": ""}
    site.look(5)
    site.look(STEADY)
    assert ("pager", "resolved", "failover asked") in site.heard and len(site.links) == 2


def test_a_channel_that_fails_is_tried_again_after_a_while_and_holds_nobody_up(site: Site) -> None:
    site.deaf = {"mail"}
    site.look()
    site.look(5)
    assert site.heard == [("pager", "firing", "state DOWN")]
    site.deaf = set()
    site.look(5)
    assert len(site.heard) == 1
    site.look(PATIENCE)
    assert site.heard[1:] == [("mail", "firing", "state DOWN")]


@pytest.mark.parametrize("text", ["", "[]", '{"state DOWN": 7}', '{"state DOWN": {"since": "x"}}'])
def test_a_book_that_cannot_be_read_has_people_told_again(site: Site, text: str) -> None:
    site.look()
    records.path_of(site.base, "org").write_text(text)
    site.begins()
    site.look(5)
    assert len(site.heard) == 4
