"""A queue's move cut off at every act, with two real Postfixes: nothing is lost, and nothing is delivered twice.

What is let go is delivered at once, as an impatient Postfix would; then the whole move is run again. ALL_CRASHES=1
tries every act, otherwise a sample is drawn by a seed that is printed.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.faults.crashing import ALL, Crash, chosen, failures
from tests.support import require, seeds
from tests.support.spools import GIVES, SPOOL, TAKES, Spools

pytestmark = [pytest.mark.lab, pytest.mark.issue("5.2 queue: a crash before and after every act of its move")]
DELIVERABLE = ("incoming", "active", "deferred")
Live = Callable[[Spools, Crash], list[str]]
FEW = 8
"""Crashes in an ordinary run: each costs some seconds."""
MOVE, UNDO = ("move", "release", "drop"), ("move", "lift", "unhold")
LOG = f"{SPOOL[GIVES]}/bounce"


@pytest.fixture(scope="module")
def spools() -> Iterator[Spools]:
    """The giving host has two letters, of which one has something to be told, and one that the site itself holds."""
    require.root()
    with Spools() as built:
        first, *_, own = built.send(3)
        built.sh(f"postsuper -h {own}; echo told > {LOG}/{first}; chown postfix {LOG}/{first}; chmod 600 {LOG}/{first}")
        built.keep()
        yield built


class Life:
    """One life: a move that is cut off, the same again; `delivered` counts by content."""

    def __init__(self, spools: Spools) -> None:
        self.spools = spools
        spools.back()
        self.letters = spools.contents(GIVES, "deferred")
        self.own = spools.contents(GIVES, "hold")
        self.delivered: Counter[str] = Counter()

    def deliver(self) -> None:
        self.delivered.update(self.spools.contents(TAKES, *DELIVERABLE))
        self.spools.sh("; ".join(f"find {SPOOL[TAKES]}/{queue} -type f -delete" for queue in DELIVERABLE))

    def truth(self) -> None:
        """What holds at every moment: nothing is lost, nothing may go out twice."""
        self.deliver()
        standing = {each for host in SPOOL for each in self.spools.contents(host, *DELIVERABLE, "hold")}
        assert set(self.letters) <= standing | set(self.delivered), "a letter is lost"
        assert max(self.delivered.values(), default=0) <= 1, "a letter was delivered twice"
        assert set(self.own) <= set(self.spools.contents(GIVES, "hold")), "the site's own letter was touched"


def moved(spools: Spools, crash: Crash) -> list[str]:
    life = Life(spools)
    acts = spools.run(*MOVE, at=crash.at, how=crash.how).acts
    life.truth()
    assert spools.run(*MOVE).lived
    life.truth()
    assert life.delivered == Counter(life.letters), "every letter was delivered, once"
    assert spools.contents(GIVES, *DELIVERABLE, "hold") == life.own
    assert spools.contents(TAKES, "hold") == [] and len(spools.ids(TAKES, "bounce")) == 1
    assert spools.sh(f"ls -A {SPOOL[TAKES]}/hold") == ""
    spools.run(*MOVE, operation="two", epoch=2)
    life.truth()
    assert life.delivered == Counter(life.letters), "a second operation moves nothing"
    return acts


def undone(spools: Spools, crash: Crash) -> list[str]:
    life = Life(spools)
    acts = spools.run(*UNDO, at=crash.at, how=crash.how).acts
    life.truth()
    assert spools.run(*UNDO[1:]).lived
    assert spools.contents(GIVES, "deferred") == life.letters, "the sender has them again, each once"
    assert spools.contents(GIVES, "hold") == life.own
    assert spools.contents(TAKES, *DELIVERABLE, "hold") == [] and spools.sh(f"ls -A {SPOOL[TAKES]}/hold") == ""
    assert spools.run(*MOVE, operation="two", epoch=2).lived
    life.truth()
    assert life.delivered == Counter(life.letters), "what was taken back can be moved later"
    return acts


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("live", [moved, undone], ids=["moved", "undone"])
def test_a_queues_move_may_die_at_any_act(spools: Spools, live: Live) -> None:
    acts = live(spools, Crash(-1, "before"))
    kinds = Counter(acts)
    assert {"commit", "open", "write", "rename", "fsync", "run"} <= kinds.keys()
    seed = seeds.drawn("crash_queue")
    every = chosen(acts, seed) + [Crash(at, "half") for at, what in enumerate(acts) if what == "run"]
    crashes = every if ALL or len(every) <= FEW else random.Random(seed).sample(every, FEW)
    print(f"{len(acts)} acts {dict(kinds)}, {len(crashes)} crashes")
    failed = failures(crashes, acts, lambda crash: live(spools, crash))
    assert not failed, "\n".join(failed)
