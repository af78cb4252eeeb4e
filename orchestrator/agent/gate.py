"""The gate in the kernel: mail ports answer only while a timed element stands, whatever becomes of the guard.

It stands twice: in a plain table, which a foreign `flush ruleset` removes and the guard's death doesn't, and in one
that the guard owns, with which it is the other way round. A timeout counts from the commit, and a process may be
stopped before its commit: so a renewal lays a ticket of a quarter of a second, reads the clock, and opens only if the
ticket is still there. What is late by more than that fails whole.

Invariant: the gate is never open longer than the deadline plus a ticket's life. What the kernel holds is read back, not
remembered. Deadlines are seconds of CLOCK_BOOTTIME; the kernel's set timers don't count a suspended host's sleep.
"""

from __future__ import annotations

import json
import math
import time
from typing import Any, Callable, Dict, List, Optional

from . import ruleset
from .lease import ALWAYS
from .nft import Missing, Nft, Refused
from .ruleset import Ports

TABLE, OWNED = "mailmirror_gate", "mailmirror_gate_owned"
TABLES = (TABLE, OWNED)
TICKET = 250  # milliseconds
LEAST = 0.01
Run = Callable[[str], str]
"""As Nft.run."""


def boottime() -> float:
    """Seconds of CLOCK_BOOTTIME (clock_gettime(2)): goes on while the host sleeps, and nobody can set it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def is_open() -> bool:
    """Whether the plain table still lets the mail ports answer; for who comes after a guard that has ended."""
    try:
        nft = Nft()
    except Missing:
        return False
    try:
        return Gate(Ports(()), nft.run).plain_left() is not None
    finally:
        nft.close()


class Gate:
    """`run` applies a text as one transaction, on a netlink socket that lives as long as the gate is guarded."""

    def __init__(self, ports: Ports, run: Run, clock: Callable[[], float] = boottime) -> None:
        self.ports = ports
        self._run, self._clock = run, clock
        self._laid: List[str] = []  # the tables as they were listed when this had laid them

    def lay(self, ports: Optional[Ports] = None, *, opened: bool = False) -> None:
        """Both tables anew, shut or open without an end, with other ports if they are given. Raises Refused."""
        self.ports = ports or self.ports
        self._run("".join(ruleset.laid(each, self.ports, owned=each == OWNED, opened=opened) for each in TABLES))
        self._laid = [self._listed(table) for table in TABLES]

    def resume(self) -> float:
        """Both tables stand afterwards, open as long as the plain one was left by a guard of this boot that ended in
        order; returns until when. Raises Refused.
        """
        asked = self._clock()  # before the kernel answers: whoever is stopped in between finds it past
        left = self.plain_left()
        until = asked + (left or 0.0)
        if left is None or not self.lay_open(until):
            self.lay()
            return -math.inf
        return until

    def open_until(self, deadline: float) -> bool:
        """Open until then, or ALWAYS; False when the deadline is past or this came too late: then nothing was changed.

        Raises Refused for every other reason: a table is gone, lay them.
        """
        self._run("".join(ruleset.ticket(table, TICKET) for table in TABLES))
        left = deadline - self._clock()
        if left < LEAST:
            return False
        try:
            self._run("".join(ruleset.opened(table, _milliseconds(left)) for table in TABLES))
        except Refused:
            if self.stands():
                return False
            raise
        return True

    def lay_open(self, deadline: float, ports: Optional[Ports] = None) -> bool:
        """`lay` and `open_until` in one transaction, so that it cuts nobody off whom the gate lets pass. False when it
        changed nothing: then use `lay`. Its ticket is in the owned table, which nobody else can have removed.
        """
        ports = ports or self.ports
        try:
            self._run(ruleset.ground(OWNED) + ruleset.ticket(OWNED, TICKET))
            left = deadline - self._clock()
            if left < LEAST:
                return False
            texts = [
                ruleset.laid(table, ports, owned=table == OWNED, opened=True, milliseconds=_milliseconds(left))
                for table in TABLES
            ]
            self._run(ruleset.spent(OWNED) + "".join(texts))
        except Refused:
            return False
        self.ports = ports
        self._laid = [self._listed(table) for table in TABLES]
        return True

    def shut(self) -> None:
        """At once. Raises Refused."""
        self._run("".join(ruleset.shut(table) for table in TABLES))

    def left(self) -> Optional[float]:
        """For how many seconds the kernel holds it open: the shorter of both tables; None when it is shut."""
        both = [self._left(table) for table in TABLES]
        return None if None in both else min(each for each in both if each is not None)

    def plain_left(self) -> Optional[float]:
        """As `left`, of the table that outlives its guard."""
        return self._left(TABLE)

    def stands(self) -> bool:
        """Whether both tables are as this has laid them, to the rule."""
        try:
            return [self._listed(table) for table in TABLES] == self._laid
        except Refused:
            return False

    def remove(self) -> None:
        """No trace of it is left: everything answers. Raises Refused."""
        self._run("".join(ruleset.gone(table, owned=table == OWNED) for table in TABLES))

    def _left(self, table: str) -> Optional[float]:
        try:
            answer = self._run(f"list set inet {table} {ruleset.OPEN}")
        except Refused:
            return None
        for part in json.loads(answer)["nftables"]:
            for element in part.get("set", {}).get("elem", []):
                timed: Dict[str, Any] = element["elem"] if isinstance(element, dict) else {}
                # In whole seconds, rounded down: what is told is never too long.
                return float(timed["expires"]) if "expires" in timed else ALWAYS
        return None

    def _listed(self, table: str) -> str:
        """A table but for what its sets hold; with the handles, which a rule that was put back doesn't have again."""
        parts = json.loads(self._run(f"list table inet {table}"))["nftables"]
        for part in parts:
            part.get("set", {}).pop("elem", None)
        return json.dumps(parts)


def _milliseconds(left: float) -> Optional[int]:
    return None if left == ALWAYS else math.floor(left * 1000)
