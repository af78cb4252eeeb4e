"""A sender's queue, as pure arithmetic: whose turn it is, which exchanger comes first, when to try again.

Invariant: a message leaves the queue only by an acknowledgement or a permanent refusal; every other end of an attempt
brings it back later. Real senders wait for minutes (failover.md 6.1); this one's waits are short, so that a test sees
them, and grow in the same way.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from tests.lab.oracle.site import Exchange

FIRST_WAIT, LONGEST_WAIT = 0.5, 8.0

End = Literal["accepted", "refused", "lost", "later"]


@dataclass(frozen=True)
class Letter:
    """`via` is mx or submission; `account` the recipient, and for a submission the sender too."""

    id: str
    account: str
    via: str


def in_order(exchanges: Iterable[Exchange], dice: random.Random) -> list[Exchange]:
    """Lowest preference first, equals in random order (RFC 5321 5.1)."""
    return sorted(exchanges, key=lambda exchange: (exchange.preference, dice.random()))


def wait(attempts: int, dice: random.Random) -> float:
    """Seconds until the next attempt after so many: doubled each time, a quarter of it random."""
    return min(FIRST_WAIT * 2.0 ** max(attempts - 1, 0), LONGEST_WAIT) * dice.uniform(0.75, 1.0)


def verdict(code: int, *, dot_sent: bool) -> End:
    """What an attempt came to by its last reply; code 0: the connection was lost."""
    if code == 0:
        return "lost" if dot_sent else "later"
    if dot_sent and 200 <= code < 300:
        return "accepted"
    return "refused" if code >= 500 else "later"


@dataclass
class Spool:
    """Not safe for threads: its owner locks."""

    dice: random.Random
    _due: list[tuple[float, int, Letter]] = field(default_factory=list)
    _attempts: dict[str, int] = field(default_factory=dict)
    _count: int = 0
    _out: list[Letter] = field(default_factory=list)  # letters that are being tried now

    def add(self, letter: Letter, t: float) -> None:
        self._count += 1
        heapq.heappush(self._due, (t, self._count, letter))

    def take(self, t: float) -> Letter | None:
        """One that is due, to be given back by `ended`."""
        if not self._due or self._due[0][0] > t:
            return None
        letter = heapq.heappop(self._due)[2]
        self._out.append(letter)
        return letter

    def ended(self, letter: Letter, end: End, t: float) -> None:
        """After an attempt."""
        self._out.remove(letter)
        if end in ("accepted", "refused"):
            self._attempts.pop(letter.id, None)
            return
        attempts = self._attempts[letter.id] = self._attempts.get(letter.id, 0) + 1
        self.add(letter, t + wait(attempts, self.dice))

    @property
    def waiting(self) -> int:
        return len(self._due) + len(self._out)

    def __iter__(self) -> Iterator[Letter]:
        """All that wait, those that are being tried too."""
        return iter([*self._out, *(letter for _, _, letter in self._due)])

    @property
    def next(self) -> float | None:
        """When the next one is due."""
        return self._due[0][0] if self._due else None
