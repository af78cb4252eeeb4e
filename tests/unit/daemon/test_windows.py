"""The daemon's calendar over a real journal: what is due is done on a thread, and marked; none repeats it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from orchestrator.daemon.windows import Windows
from orchestrator.errors import NothingToDo, Refused, UsageError
from orchestrator.inventory.model import MIRROR, PRIMARY, Host, Pair, Store, Window
from orchestrator.records import windows as records

HOUR = 3600.0
NOW = 1_796_000_000.0


class Hosts:
    """Where users are, and the journeys that move them."""

    def __init__(self) -> None:
        self.active, self.ready = PRIMARY, True
        self.went: list[tuple[str, str]] = []

    def go(self, pair: str, journey: str, by: str, reason: str, outlet: Any) -> dict[str, Any]:
        self.went.append((journey, by))
        if not self.ready:
            return {"state": "rolled back", "why": "ready: copying isn't well", "seconds": 0.1}
        self.active = MIRROR if journey == "switchover" else PRIMARY
        return {"state": "done", "why": "", "seconds": 3.2}


class Site:
    def __init__(self, base: Path, *rules: Window) -> None:
        stores = (Store("/var/vmail"),)
        hosts = {place: Host(place, place, place, stores=stores) for place in (PRIMARY, MIRROR)}
        self.pair = Pair("org", hosts, stores, services={"imap": "dovecot"}, state_dir=base, windows=rules)
        self.hosts, self.told, self.now = Hosts(), list[str](), NOW
        self.held = ""
        self.begins()

    def begins(self) -> None:
        """A daemon's life begins."""
        self.calendar = Windows(
            self.pair, self.hosts, lambda: self.hosts.active, lambda *words: self.told.append(words[-1]),
            lambda: self.held, lambda: self.now,
        )  # fmt: skip

    def ticks(self, at: float) -> None:
        """A tick at this time, and all that comes of it."""
        self.now = at
        self.calendar.tick()
        for thread in threading.enumerate():
            if thread.name == "windows org":
                thread.join(10)

    def marks(self) -> list[str]:
        book = records.read(self.pair.state_dir, "org")
        return [mark.what for marks in book.marks.values() for mark in marks]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def add(site: Site, opens: float = NOW + 2 * HOUR, **more: Any) -> str:
    told = site.calendar.said("add", "disks", "ann", {"opens": opens, "seconds": HOUR, "failback": True, **more})
    return str(told["key"])


@pytest.mark.issue("6.6 windows ad hoc add extend cancel list")
def test_a_window_is_kept_over_daemons_that_end(site: Site) -> None:
    key = add(site)
    site.ticks(NOW + HOUR)
    assert site.hosts.went == [] and "opens in 1 h" in site.told[-1]
    site.begins()
    site.ticks(NOW + 2 * HOUR)
    assert site.hosts.went == [("switchover", "window disks")] and site.hosts.active == MIRROR
    site.begins()
    site.ticks(NOW + 2 * HOUR + 1)
    site.ticks(NOW + 3 * HOUR)
    assert [journey for journey, _ in site.hosts.went] == ["switchover", "failback"]
    assert site.marks() == ["reminded", "moved", "home", "closed"]
    [row] = site.calendar.listed()
    assert (row["key"], row["state"], row["by"]) == (key, "over", "ann")


def test_a_journey_that_is_rolled_back_is_told_and_tried_again(site: Site) -> None:
    add(site)
    site.hosts.ready = False
    site.ticks(NOW + 2 * HOUR)
    site.ticks(NOW + 2 * HOUR + 299)
    assert len(site.hosts.went) == 1 and "copying isn't well" in site.told[-1]
    site.ticks(NOW + 2 * HOUR + 301)
    assert len(site.hosts.went) == 2
    site.ticks(NOW + 2.5 * HOUR)
    assert site.marks()[-1] == "missed" and len(site.hosts.went) == 2


def test_a_mode_or_a_pause_holds_it_back(site: Site) -> None:
    add(site)
    site.held = "Paused by ann"
    site.ticks(NOW + 2 * HOUR)
    assert site.hosts.went == []
    site.held = ""
    site.ticks(NOW + 2 * HOUR + 60)
    assert len(site.hosts.went) == 1


def test_a_journal_that_cannot_be_read_stops_no_later_look(site: Site) -> None:
    key = add(site)
    path = site.pair.state_dir / "journal.sqlite"
    whole = path.read_bytes()
    path.write_bytes(b"")
    site.begins()
    site.ticks(NOW + 2 * HOUR)
    assert site.hosts.went == []
    path.write_bytes(whole)
    site.ticks(NOW + 2 * HOUR + 5)
    assert len(site.hosts.went) == 1 and key


def test_orders_that_make_no_sense_are_refused(site: Site) -> None:
    key = add(site)
    with pytest.raises(Refused, match="overlap"):
        add(site, NOW + 2.5 * HOUR)
    with pytest.raises(UsageError, match="is over"):
        add(site, NOW - HOUR)
    with pytest.raises(UsageError, match="a minute"):
        add(site, NOW + 9 * HOUR, seconds=1.0)
    with pytest.raises(NothingToDo):
        site.calendar.said("cancel", "nobody", "ann", {})
    assert site.calendar.said("extend", "disks", "ann", {"seconds": HOUR})["closes"] == NOW + 4 * HOUR
    site.ticks(NOW + 2 * HOUR)
    with pytest.raises(Refused, match="users were moved"):
        site.calendar.said("cancel", key, "ann", {})


def test_a_window_of_a_rule_is_cancelled_once(tmp_path: Path) -> None:
    site = Site(tmp_path, Window("nightly", "0 3 * * *", HOUR))
    site.ticks(NOW)
    first, second, *_ = [row for row in site.calendar.listed() if row["state"] == "to come"]
    site.calendar.said("cancel", "nightly", "ann", {"reason": "no need"})
    site.ticks(first["opens"])
    assert site.hosts.went == []
    site.ticks(second["opens"])
    assert len(site.hosts.went) == 1
