"""A staged pair for whoever decides: what is heard and judged is said here, and acts are written down.

Its journeys open and end real operations in the real journal, as the conductor does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.daemon.deciding import Deciding
from orchestrator.errors import MailmirrorError
from orchestrator.failover.facts import Flags, Word
from orchestrator.failover.gathered import Copied, Heard, Look
from orchestrator.health.verdict import Verdict
from orchestrator.inventory.model import Host, Pair, Restart, Store
from orchestrator.readiness.checks import Readied
from orchestrator.records.journal import Journal, Opening
from orchestrator.records.marks import Phase
from orchestrator.records.marks import State as Ended
from tests.unit.failover.told import DEAD, READY, WELL

EPOCH = 4
STORES = (Store("/var/vmail"),)


def pair(state_dir: Path, **more: Any) -> Pair:
    hosts = {
        name: Host(name, place, "192.0.2.1", stores=STORES)
        for name, place in (("mail1", "primary"), ("mail2", "mirror"), ("wit", "witness"))
    }
    known: dict[str, Any] = {
        "services": {"smtp": "postfix", "imap": "dovecot"}, "lease": 8.0, "state_dir": state_dir,
        "restart": Restart(("imap",), 2), **more,
    }  # fmt: skip
    return Pair("org", hosts, STORES, **known)


class Stage:
    """What is to be seen, what was done, and the clock. All is well at first."""

    def __init__(self, state_dir: Path, **more: Any) -> None:
        self.pair = pair(state_dir, **more)
        self.now = 1_000_000.0
        self.words: dict[str, Word | None] = {
            "primary": Word(EPOCH, "primary", serves=True, armed=True),
            "mirror": Word(EPOCH, "primary", armed=True),
            "witness": Word(EPOCH, "primary", armed=True),
        }
        self.leaving: dict[str, str] = {}
        self.markers: dict[str, int | None] = {"primary": EPOCH, "mirror": EPOCH}
        self.healths: dict[str, Verdict] = {"primary": WELL, "mirror": WELL}
        self.lag: float | None = 0.0
        self.readied_at = self.now - 5
        self.error: Exception | None = None
        self.refuses: MailmirrorError | None = None
        self.restarted: tuple[str, str] = ("done", "")
        self.gone: list[tuple[str, str]] = []
        self.restarts: list[str] = []
        self.paused: list[str] = []
        self.stands_still = False
        self.events: list[tuple[str, str]] = []
        self.soon: list[Callable[[], None]] = []  # what comes to pass, one before each look
        self.holds: threading.Event | None = None  # a journey waits for it before it opens its operation
        self.ends: Callable[[Journal, str], None] = lambda journal, name: journal.end(name, Ended.DONE, "every step")
        self.deciding = self.again()

    def again(self) -> Deciding:
        """A daemon that is started anew."""
        self.deciding = Deciding(
            self.pair, self.seen, self, lambda what, text: self.events.append((what, text)),
            every=0.01, now=lambda: self.now, clock=lambda: self.now,
        )  # fmt: skip
        return self.deciding

    # ---- what is seen

    def seen(self, active: str, epoch: int) -> Look:
        if self.error:
            raise self.error
        if self.soon:
            self.soon.pop(0)()
        heard = {
            place: Heard(self.now, True, word, self._marker(place), self.leaving.get(place, ""))
            for place, word in self.words.items()
            if word is not None
        }
        copied = Copied(
            self.now, "mail2" if active == "mirror" else "mail1", epoch, self.lag, 0 if self.lag == 0 else 3
        )
        readied = Readied("org", self.readied_at, READY)
        return Look(self.now, heard, dict(self.healths), copied=copied, readied=readied, flags=Flags())

    def _marker(self, place: str) -> tuple[dict[str, Any] | None, ...]:
        epoch = self.markers.get(place)
        return ({"epoch": epoch, "role": "active"},) if place != "witness" else ()

    # ---- what is done

    def go(self, journey: str, reason: str) -> None:
        self.gone.append((journey, reason))
        if self.holds:
            self.holds.wait(5)
        if self.refuses:
            raise self.refuses
        other = {"primary": "mirror", "mirror": "primary"}
        with Journal(self.pair.state_dir, lambda: self.now) as journal:
            active = self.word_of_all().active
            opening = Opening("org", journey, active, other[active], EPOCH, EPOCH + 1, "automatic", reason, "", "0")
            name = journal.begin(opening).id
            journal.mark(name, 5, "advance", Phase.VERIFIED, "done")
            self.ends(journal, name)

    def word_of_all(self) -> Word:
        return max((word for word in self.words.values() if word), key=lambda word: word.epoch)

    def restart(self, name: str, epoch: int) -> tuple[str, str]:
        self.restarts.append(name)
        return self.restarted

    def stand_still(self, still: bool) -> None:
        self.stands_still = still

    def stands(self) -> bool:
        """Whether replication keeps off the stores."""
        return self.stands_still

    def leave(self, paused: str) -> None:
        self.paused.append(paused)

    # ---- what happens

    def tick(self, times: int = 1, seconds: float = 1.0) -> str:
        """Looks, and the state then."""
        for _ in range(times):
            self.now += seconds
            self.deciding.tick()
            self.deciding.asides.join(0.0 if self.holds and not self.holds.is_set() else 5.0)  # done at once, but held
        return self.state

    @property
    def state(self) -> str:
        return str(self.deciding.told()["state"])

    def power_cut(self) -> None:
        self.healths["primary"] = DEAD
        self.words["primary"] = self.markers["primary"] = None
        self.lag = None

    def promoted(self) -> None:
        """As a failover leaves it: the mirror serves in the next epoch, the primary is away."""
        word = Word(EPOCH + 1, "mirror")
        self.words |= {"mirror": replace(word, serves=True), "witness": word}
        self.markers["mirror"] = EPOCH + 1
