"""The guarantees, watched while a simulation runs. Whoever changes anything tells; what is broken is raised at once.

G1: what was acknowledged to a client stands somewhere, and under one UID. G2: one place at a time gives positive
answers. G4: a UID names one letter. G5: what nobody deleted isn't taken away. G7: what changes a host has a durable
intent. (G6 is judged at the end, by `run`.)
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


class Broken(Exception):
    """A guarantee doesn't hold; the text says which one, and how."""


@dataclass
class Laws:
    """`places`: how often each letter stands anywhere. `doubtful`: those whose sender never heard the answer, and which
    may therefore stand twice (RFC 1047). `deleted`: when their owner heard that they are gone; `flags`: what users last
    heard of one's flag, where, and when; by the clock of that place.
    """

    acknowledged: dict[str, None] = field(default_factory=dict)
    doubtful: set[str] = field(default_factory=set)
    places: Counter[str] = field(default_factory=Counter)
    names: dict[int, str] = field(default_factory=dict)
    uids: dict[str, int] = field(default_factory=dict)
    deleted: dict[str, int] = field(default_factory=dict)
    flags: dict[str, tuple[bool, str, int]] = field(default_factory=dict)

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

    def expunged(self, letter: str, at: int) -> None:
        """Its owner heard that it is gone."""
        self.acknowledged.pop(letter, None)
        self.deleted[letter] = at

    def flagged(self, letter: str, value: bool, where: str, at: int) -> None:
        """Its owner heard that it has this flag, or hasn't."""
        self.flags[letter] = value, where, at

    def came_home(self, uid: int, letter: str) -> None:
        """The active place gives what a lost one had a UID of its own."""
        if self.names.setdefault(uid, letter) != letter:
            raise Broken(f"G4: UID {uid} names {self.names[uid]} and {letter}")
        self.uids[letter] = uid

    def resurrects(self, letter: str, complete: int) -> None:
        """A message of a lost place is put into the active store, which had all that was so there at `complete`."""
        if self.deleted.get(letter, complete + 1) <= complete:
            raise Broken(f"G1: {letter} comes back, and its expunge was acknowledged before the cut")

    def takes_back(self, letter: str, value: bool, where: str, complete: int) -> None:
        """The flag that a lost place had is put upon what the active has."""
        told, place, at = self.flags.get(letter, (value, where, 0))
        if told != value and place == where and at <= complete:
            raise Broken(f"G1: a flag of {letter} is as it was before its owner changed it, before the cut")

    def home(self, letters: list[str], waiting: set[str]) -> None:
        """All that was acknowledged stands in the active store, or waits to: when a lost place has been taken back."""
        for letter, count in Counter(letters).items():
            if count > 1 and letter not in self.doubtful:
                raise Broken(f"G1: {letter} stands {count} times in the active store")
        stand = set(letters)
        lost = [letter for letter in self.acknowledged if letter not in waiting and letter not in stand]
        if lost:
            raise Broken(f"G1: {lost[0]} isn't in the active store after the rejoin, and {len(lost) - 1} others")

    def twice(self, letter: str, host: str) -> None:
        """A queue has another copy of a letter that it has."""
        if letter not in self.doubtful:
            raise Broken(f"G1: {letter} stands twice in the queue of the {host}")

    def answering(self, places: list[str]) -> None:
        if len(places) > 1:
            raise Broken(f"G2: {' and '.join(places)} give positive answers at once")
