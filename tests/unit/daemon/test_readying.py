"""A pair's readiness in the daemon: looked at again and again, told when it changes, and no look is the last."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.daemon.readying import Readying
from orchestrator.inventory.model import Pair
from orchestrator.readiness.facts import Facts
from orchestrator.records.journal import Journal, Opening
from tests.lab.waiting import until
from tests.unit.readiness.site import AWAY, PAIR, WIT, at, well

STATUS = {"link": "live"}


class Hosts:
    """What the hosts say, look after look; the last one for ever."""

    def __init__(self, *said: Facts | Exception) -> None:
        self.said = list(said)
        self.looks = 0
        self.go = threading.Semaphore(0)

    def gather(self, pair: Pair, status: Mapping[str, Any]) -> Facts:
        assert (pair, status) == (PAIR, STATUS)
        self.go.acquire()
        found = self.said[min(self.looks, len(self.said) - 1)]
        self.looks += 1
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    deaf = at(well(), WIT, clock=AWAY)
    hosts = Hosts(ValueError("nonsense"), well(), deaf, deaf, well())
    yield hosts
    hosts.go.release(10)


def test_changes_are_logged_once_and_a_look_that_fails_is_not_the_last(
    hosts: Hosts, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "orchestrator.daemon.readying")
    it = Readying(PAIR, lambda: STATUS, gather=hosts.gather, every=0.01)
    assert (it.last.at, it.last.told()["ready"]) == (0.0, False)
    it.start()
    hosts.go.release(2)
    told = until(lambda: it.last.told() if it.last.at else None, what="the second look tells")
    assert told is not None and told["ready"] and told["checks"]["lease"] == "ok" and told["reasons"] == []
    hosts.go.release(2)
    until(lambda: hosts.looks == 4 and not it.last.told()["ready"], what="the witness's clock isn't known")
    assert it.last.told()["checks"]["clock"] == "unknown"
    hosts.go.release(1)
    until(lambda: it.last.told()["ready"], what="it is again")
    it.stop()
    lines = [(record.levelname, record.getMessage().partition(":")[0]) for record in caplog.records]
    assert lines == [
        ("ERROR", "The readiness of org can't be looked at"),
        ("INFO", "Automatic failover is ready pair=org"),
        ("WARNING", "Automatic failover isn't ready"),
        ("INFO", "Automatic failover is ready pair=org"),
    ]


def test_the_journey_that_has_not_ended_and_the_fence_tests_are_told_too(tmp_path: Path) -> None:
    pair = replace(PAIR, state_dir=tmp_path)
    told = Readying(pair, lambda: STATUS, gather=lambda *_: well(), every=0.01)
    told.start()
    try:
        until(lambda: told.last.at > 0, what="a look where there is no journal yet")
        first = told.last
        assert (first.on, first.fences) == (None, well().fences)
        with Journal(tmp_path) as journal:
            journal.begin(Opening(PAIR.name, "switchover", "primary", "mirror", 3, 4, "ann", "", "steps", "0.1"))
        until(lambda: told.last.on is not None, what="the journey is seen")
        on = told.last.on
        assert on is not None and (on.journey, on.state) == ("switchover", "open")
    finally:
        told.stop()
