"""One account's owner: does one operation after the other, by IMAP or POP3, and keeps its connection as a real client.

Invariant: all that changes this account, but for deliveries, is done by one thread in the order of the journal. When
the connection is lost the operation in hand ends there, and the next ones wait for a new connection, with pauses; a
person who is behind leaves operations out, and counts them.
"""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.lab.oracle import plan
from tests.lab.oracle.imap import Refused
from tests.lab.oracle.mailbox import Mailbox
from tests.lab.oracle.popuser import PopUser
from tests.lab.oracle.resolver import NoName
from tests.lab.oracle.wire import Lost

MOST_FOLDERS = 6
WAITING = 4
PAUSES = (0.1, 0.2, 0.4, 0.8)


@dataclass
class Person:
    mailbox: Mailbox
    pop: PopUser
    seed: int
    inbox: queue.Queue[plan.Step] = field(default_factory=lambda: queue.Queue(WAITING))
    done: int = 0
    left_out: int = 0
    refusals: list[str] = field(default_factory=list)
    _lost_in_a_row: int = 0
    _count: int = 0

    def __post_init__(self) -> None:
        self._dice = random.Random(f"person {self.seed} {self.mailbox.user.address}")
        self._doings: dict[str, Callable[[plan.Step], object]] = {
            "append": self._append,
            "read": self._read,
            "flag": lambda _: self._mark(plan.FLAGS),
            "keyword": lambda _: self._mark(plan.KEYWORDS),
            "move": lambda _: self._move(self.mailbox.move),
            "copy and expunge": lambda _: self._move(self.mailbox.copy_and_expunge),
            "expunge": self._expunge,
            "create": self._create,
            "rename": self._rename,
            "delete": self._delete,
            "pop": lambda _: self.pop.session(self._dice),
            "reconnect": self._reconnect,
        }

    def ask(self, step: plan.Step) -> None:
        """From any thread; never waits."""
        try:
            self.inbox.put_nowait(step)
        except queue.Full:
            self.left_out += 1

    def work(self, stop: threading.Event) -> None:
        """A thread's body: until `stop` is set. The caches are journaled at the end."""
        while not stop.is_set():
            try:
                step = self.inbox.get(timeout=0.1)
            except queue.Empty:
                continue
            self.perform(step)
            if self._lost_in_a_row:
                stop.wait(PAUSES[min(self._lost_in_a_row, len(PAUSES)) - 1])
        self.mailbox.remember()
        self.mailbox.disconnect()

    def perform(self, step: plan.Step) -> None:
        try:
            self._doings[step.operation](step)
        except (Lost, NoName):
            self._lost_in_a_row += 1
        except Refused as refused:
            self._lost_in_a_row += 1
            self.refusals.append(f"{self.mailbox.user.address} {step.operation}: {refused}")
            self.mailbox.disconnect()
        else:
            self._lost_in_a_row = 0
            self.done += 1

    # ---- what they do ----

    def _folder(self) -> str:
        self.mailbox.connect()
        return plan.folder_to_use(sorted(self.mailbox.folders), self.mailbox.selected, self._dice)

    def _message(self) -> tuple[str, int] | None:
        """One of ours in a folder that was synced just now."""
        folder = self._folder()
        cache = self.mailbox.sync(folder)
        ours = [uid for uid, identity in cache.ids.items() if identity]
        return (folder, self._dice.choice(ours)) if ours else None

    def _read(self, _: plan.Step) -> None:
        if found := self._message():
            self.mailbox.read(*found)

    def _append(self, step: plan.Step) -> None:
        flags = tuple(flag for flag in (*plan.FLAGS, plan.KEYWORDS[0]) if self._dice.random() < 0.3)
        self.mailbox.append(self._folder(), plan.identity(self.seed, step), flags)

    def _mark(self, flags: tuple[str, ...]) -> None:
        if found := self._message():
            folder, uid = found
            flag = self._dice.choice(flags)
            self.mailbox.store(folder, uid, (flag,), add=flag.lower() not in self.mailbox.caches[folder].flags[uid])

    def _move(self, how: Callable[[str, int, str], object]) -> None:
        found = self._message()
        others = sorted(self.mailbox.folders - {found[0]}) if found else []
        if found and others:
            how(*found, self._dice.choice(others))

    def _expunge(self, _: plan.Step) -> None:
        if found := self._message():
            self.mailbox.expunge(*found)

    def _name(self, parents: list[str]) -> str:
        self._count += 1
        name = f"f{self._count}"
        return f"{self._dice.choice(parents)}/{name}" if parents and self._dice.random() < 0.3 else name

    def _others(self) -> list[str]:
        self.mailbox.connect()
        return sorted(folder for folder in self.mailbox.folders if folder.rpartition("/")[2].startswith("f"))

    def _create(self, _: plan.Step) -> None:
        others = self._others()
        if len(others) < MOST_FOLDERS:
            self.mailbox.create(self._name([folder for folder in others if "/" not in folder]))

    def _rename(self, _: plan.Step) -> None:
        if others := self._others():
            self.mailbox.rename(self._dice.choice(others), self._name([]))

    def _delete(self, _: plan.Step) -> None:
        others = self._others()
        leaves = [folder for folder in others if not any(other.startswith(f"{folder}/") for other in others)]
        if len(leaves) > 1:
            self.mailbox.delete(self._dice.choice(leaves))

    def _reconnect(self, _: plan.Step) -> None:
        self.mailbox.disconnect()
        for folder in sorted(self.mailbox.caches):
            self.mailbox.sync(folder)
