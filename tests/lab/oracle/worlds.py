"""Where a message may stand after all that was promised about it: every state that the answers allow.

A message has one world when every command was answered. A command whose reply was lost may have been carried out, or
not, or may yet be: it splits the world in two, and stays pending in the half where it didn't happen. A delivery whose
reply was lost may stand, or not (RFC 1047 5: a sender has to try again, and a message may stand twice).

Invariant: the true state is always among the worlds as long as the servers kept their promises; so a final state that
is in none is a broken promise. It weighs no likelihood. A message whose worlds outgrow `MOST` is undecided, and is
reported as such, not as sound.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tests.lab.oracle.journal import Act

MOST = 512

Copy = tuple[str, frozenset[str]]  # folder, flags
Copies = tuple[Copy, ...]  # sorted


def settle(copies: Iterable[Copy]) -> Copies:
    return tuple(sorted(copies, key=lambda copy: (copy[0], sorted(copy[1]))))


@dataclass(frozen=True)
class World:
    copies: Copies
    pending: frozenset[int] = frozenset()


@dataclass
class Item:
    """One message of one account, as far as the promises go. `left` are the folders that it was taken out of by an
    acknowledged command; `impossible` is the first acknowledged command that fits no world.
    """

    worlds: set[World] = field(default_factory=lambda: {World(())})
    left: set[str] = field(default_factory=set)
    impossible: str = ""
    undecided: bool = False
    _pending: list[Act] = field(default_factory=list)
    _often: set[int] = field(default_factory=set)  # of the pending: those given more than once

    def delivered(self, least: int, most: int) -> None:
        """It stands in the INBOX between `least` and `most` times."""
        copy: Copy = ("INBOX", frozenset())
        self.worlds = {World((copy,) * count) for count in range(least, most + 1)}

    def happened(self, act: Act) -> None:
        """Takes one command of the account into account, in the order in which they were given."""
        if self.undecided or act.outcome == "no" or not _touches(act, self.worlds, self._pending):
            return
        if act.outcome == "unknown":
            number = self._number(act)
            self.worlds = {World(world.copies, world.pending | {number}) for world in self.worlds}
        else:
            self._promised(act)
        self.undecided = len(self.worlds) > MOST

    def _number(self, act: Act) -> int:
        """Of a pending command. The same store again is the same one: it can change no more than each copy once, so how
        often it was given doesn't matter from the second time on.
        """
        if act.act == "store":
            for number, other in enumerate(self._pending):
                if (other.act, other.folder, other.flags, other.add) == ("store", act.folder, act.flags, act.add):
                    self._often.add(number)
                    return number
        self._pending.append(act)
        return len(self._pending) - 1

    def _promised(self, act: Act) -> None:
        before = self._reached()
        after = {World(copies, world.pending) for world in before for copies in outcomes(act, world.copies)}
        if not after:
            self.impossible = self.impossible or f"{act.act} in {act.folder} was acknowledged, but it can't stand there"
            return
        self.worlds = after
        if act.act in ("move", "expunge", "delete", "rename"):
            self.left.add(act.folder)
        self.left.discard(act.target)

    def _reached(self) -> set[World]:
        """The worlds, with each pending command carried out or not, in any order."""
        found = set(self.worlds)
        todo = list(found)
        while todo and len(found) <= MOST:
            world = todo.pop()
            for number in world.pending:
                for copies in outcomes(self._pending[number], world.copies):
                    if copies == world.copies:
                        continue  # the world in which it is still pending has all that this one could become
                    later = World(copies, world.pending - ({number} - self._often))
                    if later not in found:
                        found.add(later)
                        todo.append(later)
        return found

    def ends(self) -> set[Copies]:
        """Every state that it may be found in; more than `MOST` of them make it undecided."""
        reached = self._reached()
        self.undecided = self.undecided or len(reached) > MOST
        return {world.copies for world in reached}


def _touches(act: Act, worlds: set[World], pending: list[Act]) -> bool:
    """A command on a whole folder says nothing of a message that can't be in it; one whose reply was lost may yet be
    carried out, when the message has come there.
    """
    if act.act == "create":
        return False
    if act.act not in ("rename", "delete") or act.outcome == "unknown":
        return True
    return bool(pending) or any(_within(folder, act.folder) for world in worlds for folder, _ in world.copies)


def _within(folder: str, top: str) -> bool:
    return folder == top or folder.startswith(f"{top}/")


def outcomes(act: Act, copies: Copies) -> Iterator[Copies]:
    """What the command makes of these copies: none when it can't have found the message there, several when it may
    have met either of two.
    """
    if act.act == "append":
        yield settle([*copies, (act.folder, frozenset(act.flags))])
    elif act.act == "rename":
        yield settle((_renamed(folder, act), flags) for folder, flags in copies)
    elif act.act == "delete":
        yield settle(copy for copy in copies if copy[0] != act.folder)
    else:
        seen: set[Copy] = set()
        for place, copy in enumerate(copies):
            if copy[0] == act.folder and copy not in seen:
                seen.add(copy)
                rest = [*copies[:place], *copies[place + 1 :]]
                yield settle([*rest, *_changed(act, copy)])


def _renamed(folder: str, act: Act) -> str:
    return act.target + folder[len(act.folder) :] if _within(folder, act.folder) else folder


def _changed(act: Act, copy: Copy) -> list[Copy]:
    folder, flags = copy
    if act.act == "store":
        return [(folder, flags | set(act.flags) if act.add else flags - set(act.flags))]
    if act.act == "copy":
        return [copy, (act.target, flags)]
    if act.act == "move":
        return [(act.target, flags)]
    return []  # expunge
