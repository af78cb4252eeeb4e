"""A damaged or hostile agent against the controller: whatever it says, the controller ends the conversation in time,
with a sentence that names the host and what to do, stays small, and attends to its other pairs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestrator.daemon.service import Daemon
from orchestrator.demo.mailbox import INBOX
from orchestrator.inventory.model import Inventory, Pair
from orchestrator.replication.report import Link
from orchestrator.replication.session import Session
from tests.support import beset, hostile_agent, pairs
from tests.unit.daemon.test_follower import until

WITHIN = 25.0
"""Seconds: the greeting and a dead peer take 3 and 2 here, one answer 4."""
PEAK = 600.0
"""MiB: 64 of a blob that inflates, the text that it is, and a list of as many numbers as fit."""
OF_A_SINK = (
    "batches that are done", "rows to be offered again", "credit that nobody asked for",
    "needs of wrong types", "needs of what wasn't offered", "a status of wrong types", *hostile_agent.NOTICES,
)  # fmt: skip
HARMLESS = ("notices", "credit that nobody", "bodies that nobody", "pongs")
"""Floods that change nothing: the pass is done beside them, or given up."""
MODES = [
    *(("p" if number % 2 else "m", mode) for number, mode in enumerate(hostile_agent.RAW)),
    *(("p", mode) for mode in (*hostile_agent.FLOODS, *hostile_agent.CHANGES) if mode not in OF_A_SINK),
    *(("m", mode) for mode in OF_A_SINK),
    ("m", "facts of wrong types"),
    ("m", "digests that inflate"),
    ("m", "digests of empty lists"),
    ("m", "digests of numbers"),
    ("m", "digests of wrong types"),
]


def lay(base: Path) -> pairs.Mailbox:
    """A pair, initialised, with mail that isn't copied yet."""
    laid = pairs.Laid(base, pairs.MEMORY)
    box = pairs.Mailbox(laid.source / "ex.org/ann")
    for number in range(40):
        box.folder(INBOX).deliver(b"Subject: %d\n\n" % number + bytes(2_000))
    laid.session.initialise()
    laid.end()
    return box


@pytest.fixture
def base() -> Iterator[Path]:
    with pairs.in_memory() as place:
        yield place


def judged(base: Path, host: str, mode: str) -> dict[str, Any]:
    argv = [sys.executable, "-m", "tests.support.beset", str(base), host, mode]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=WITHIN + 20, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(told)
    return told


@pytest.mark.issue("2.4 hostile grow; hostile hang")
@pytest.mark.issue("2.P hostile frames: cut, swollen, garbage, floods, numbers out of range")
@pytest.mark.parametrize(("host", "mode"), MODES, ids=[f"{host}: {mode}" for host, mode in MODES])
def test_a_hostile_agent_ends_with_a_sentence_in_time_and_in_bounds(base: Path, host: str, mode: str) -> None:
    lay(base)
    told = judged(base, host, mode)
    assert told["kind"] != "unexpected", told["text"]
    assert told["seconds"] < WITHIN
    assert told["peak"] < PEAK
    if told["kind"] or not mode.startswith(HARMLESS):
        assert told["kind"], "it was taken for an honest one"
        assert told["text"].startswith(f"{host}:") or f"{host}:" in told["text"]
        assert told["remedy"]


class Beset:
    """A daemon of two pairs: in the one every agent is honest, in the other the primary's is hostile."""

    def __init__(self, base: Path, mode: str) -> None:
        self._base, self._mode = base, mode
        self.box = lay(base / "good")
        lay(base / "bad")
        (base / "state").mkdir()
        described = {
            name: replace(beset.pair(base / name), name=name, state_dir=base / "state") for name in ("good", "bad")
        }
        inventory = Inventory(path=base / "inventory.yaml", pairs=described)
        self.daemon = Daemon(inventory, self._connect, lambda: inventory)
        self._thread = threading.Thread(target=self.daemon.run)

    def _connect(self, pair: Pair, tell: object, suspect: object) -> Session:
        return beset.connect(pair, self._base / pair.name, "p" if pair.name == "bad" else "", self._mode)

    def __enter__(self) -> Beset:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.daemon.stop.set()
        self._thread.join(10.0)
        assert not self._thread.is_alive()

    def status(self, name: str) -> Any:
        return next(status for status in self.daemon.desk.statuses() if status.pair == name)

    def has_copied(self, count: int) -> bool:
        return len(list((self._base / "good/m/0/ex.org/ann/new").glob("*"))) == count


@pytest.mark.issue("2.4 hostile hang: the other pairs of the same daemon go on")
@pytest.mark.parametrize(
    "mode",
    [
        "notices that something changed",
        "half a frame, then silence",
        "an offer of the same for ever",
        "garbage",
        "pongs",
    ],
)
def test_the_other_pairs_of_the_daemon_go_on(base: Path, mode: str) -> None:
    with Beset(base, mode) as running:
        until(lambda: running.status("good").link is Link.LIVE, 20.0)
        for count in range(41, 51):
            running.box.folder(INBOX).deliver(b"Subject: %d\n\n" % count)
            until(partial(running.has_copied, count), 10.0)
        if mode not in ("notices that something changed", "pongs"):
            until(lambda: running.status("bad").trouble != "", 10.0)
            assert running.status("bad").remedy
