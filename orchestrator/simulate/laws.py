"""The guarantees, watched while a simulation runs. Whoever changes anything tells; what is broken is raised at once.

G1: what was acknowledged to a client stands somewhere, and under one UID. G2: one place at a time gives positive
answers. G4: a UID names one letter. G7: what changes a host has a durable intent. (G6 is judged at the end, by `run`.)
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


class Broken(Exception):
    """A guarantee doesn't hold; the text says which one, and how."""


@dataclass
class Laws:
    """`places`: how often each letter stands anywhere. `doubtful`: those whose sender never heard the answer, and which
    may therefore stand twice (RFC 1047).
    """

    acknowledged: dict[str, None] = field(default_factory=dict)
    doubtful: set[str] = field(default_factory=set)
    places: Counter[str] = field(default_factory=Counter)
    names: dict[int, str] = field(default_factory=dict)
    uids: dict[str, int] = field(default_factory=dict)

    def stands(self, letter: str) -> None:
        self.places[letter] += 1

    def goes(self, letter: str) -> None:
        self.places[letter] -= 1
        if self.places[letter] <= 0 and letter in self.acknowledged:
            raise Broken(f"G1: {letter} was acknowledged, and stands nowhere any more")

    def accepted(self, letter: str, where: str) -> None:
        """A client heard that it was taken."""
        self.acknowledged[letter] = None
        if self.places[letter] <= 0:
            raise Broken(f"G1: the {where} acknowledged {letter}, and has it nowhere")

    def named(self, uid: int, letter: str) -> None:
        """A place's own server gave a letter this UID."""
        other = self.names.setdefault(uid, letter)
        if other != letter:
            raise Broken(f"G4: UID {uid} names {other} and {letter}")
        if self.uids.setdefault(letter, uid) != uid and letter not in self.doubtful:
            raise Broken(f"G1: {letter} was delivered twice, as UID {self.uids[letter]} and {uid}")

    def twice(self, letter: str, host: str) -> None:
        """A queue has another copy of a letter that it has."""
        if letter not in self.doubtful:
            raise Broken(f"G1: {letter} stands twice in the queue of the {host}")

    def answering(self, places: list[str]) -> None:
        if len(places) > 1:
            raise Broken(f"G2: {' and '.join(places)} give positive answers at once")
