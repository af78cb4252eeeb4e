"""Replication as a state machine: any history of a mailbox, any interruption, and what must be true all along.

At no moment does the mirror hold an incomplete, double or wrong message under a final name, or lack one that was there
and that the source still has; after a quiet pass both sides are equal. Interruptions: the link cut in the middle of any
frame, either agent killed at any frame or before any act upon the file system, the controller gone (both links at
once), and, as root, the mirror's disk full during a pass. Power cuts have tests of their own.

The controller keeps no state of its own between passes, so that its death is that of all its links.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from contextlib import ExitStack, suppress

import pytest
from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from orchestrator.demo import uidlist
from orchestrator.demo.mailbox import INBOX
from orchestrator.errors import HostUnreachable, LinkLost, MailmirrorError
from tests.support import kernel, pairs, require

ACCOUNT = "ex.org/ann"
NAMES = ("A", "B", "A.B", "C")
LONG = bool(os.environ.get("LONG_TESTS"))
FLAGS = ("", "S", "RS", "FST")
DISK = 32 << 20  # bytes, of the mirror

pick = st.integers(0, 1_000)


class Replication(RuleBasedStateMachine):
    """One account, followed by one mirror."""

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        base = self._stack.enter_context(pairs.in_memory())
        self.disk = base / pairs.SINKS[0]
        self.disk.mkdir()
        if not require.missing():
            kernel.mount("mirror", self.disk, "tmpfs", data=f"size={DISK},mode=0755")
            self._stack.callback(kernel.unmount, self.disk, kernel.MNT_DETACH)
        self.laid = pairs.Laid(base, pairs.MEMORY)
        self._stack.callback(self.laid.end)
        self.box = pairs.Mailbox(self.laid.source / ACCOUNT)
        self.content: dict[bytes, bytes] = {}
        self.arrived: set[bytes] = set()  # base names that the mirror had

    @initialize()
    def lay(self) -> None:
        self.laid.session.initialise()

    def teardown(self) -> None:
        self._stack.close()

    # --- what users and deliveries do -------------------------------------------------

    def _folder(self, number: int) -> str:
        names = self.box.names()
        return names[number % len(names)]

    def _message(self, folder: str, number: int) -> list[bytes]:
        found = sorted(self.box.folder(folder).messages())
        return [found[number % len(found)]] if found else []

    @rule(folder=pick, size=st.sampled_from((0, 1, 300, 5_000, 700_000)))
    def deliver_one(self, folder: int, size: int) -> None:
        self.deliver(folder, size)

    def deliver(self, folder: int, size: int) -> None:
        body = b"Subject: %d\n\n" % len(self.content) + random.Random(len(self.content)).randbytes(size)
        placed = self.box.folder(self._folder(folder)).deliver(body)
        self.content[placed.base] = body

    @rule(folder=pick, count=st.integers(2, 8))
    def deliver_some(self, folder: int, count: int) -> None:
        for number in range(count):
            self.deliver(folder + number, 200)

    @rule(folder=pick, message=pick, flags=st.sampled_from(FLAGS), word=st.sampled_from(("", "one", "two")))
    def flag(self, folder: int, message: int, flags: str, word: str) -> None:
        here = self.box.folder(self._folder(folder))
        for base in self._message(self._folder(folder), message):
            here.flag(base, flags + (here.keyword(word) if word else ""))

    @rule(folder=pick, message=pick, into=pick)
    def move(self, folder: int, message: int, into: int) -> None:
        here, there = self._folder(folder), self._folder(into)
        for base in self._message(here, message):
            if base not in self.box.folder(there).messages():
                self.box.folder(here).move([base], self.box.folder(there))

    @rule(folder=pick, message=pick, into=pick)
    def copy(self, folder: int, message: int, into: int) -> None:
        here, there = self._folder(folder), self._folder(into)
        for base in self._message(here, message):
            if base not in self.box.folder(there).messages():
                self.box.copy([base], here, there)

    @rule(folder=pick, message=pick)
    def expunge(self, folder: int, message: int) -> None:
        here = self._folder(folder)
        self.box.folder(here).expunge(self._message(here, message))

    @rule(name=st.sampled_from(NAMES))
    def create_folder(self, name: str) -> None:
        if name not in self.box.names():
            self.box.create(name)

    @rule(folder=pick, name=st.sampled_from(NAMES))
    def rename_folder(self, folder: int, name: str) -> None:
        old = self._folder(folder)
        if old != INBOX and name not in self.box.names():
            self.box.rename(old, name)

    @rule(folder=pick)
    def delete_folder(self, folder: int) -> None:
        if (name := self._folder(folder)) != INBOX:
            self.box.delete(name)

    # --- passes -----------------------------------------------------------------------

    @rule()
    def pass_in_quiet(self) -> None:
        if self.laid.links["p"].lost.is_set() or self.laid.links["m"].lost.is_set():
            self.laid.open()
        self.laid.sync()
        report = self.laid.verify()
        assert report.equal, report.differences
        here, there = pairs.messages(self.laid.source), pairs.messages(self.laid.mirror)
        assert here == there
        for name in self.box.names():
            folder = self.box.folder(name).path
            ours, theirs = (
                uidlist.read(root / folder.relative_to(self.laid.source))
                for root in (self.laid.source, self.laid.mirror)
            )
            standing = {base for base in theirs.rows.values() if base in self.box.folder(name).messages()}
            assert {uid: base for uid, base in ours.rows.items() if base in standing} == {
                uid: base for uid, base in theirs.rows.items() if base in standing
            }
            assert (theirs.validity, theirs.next_uid > ours.next_uid) == (ours.validity, True)
        folders = {path.parent.relative_to(self.laid.source) for path in self.laid.source.rglob("cur")}
        assert folders == {
            path.parent.relative_to(self.laid.mirror)
            for path in self.laid.mirror.rglob("cur")
            if ".mailmirror" not in path.parts
        }

    @rule()
    def restart(self) -> None:
        self.laid.open()

    @rule(frames=st.integers(0, 24), hosts=st.sampled_from((("p",), ("m",), ("p", "m"))))
    def cut_the_link(self, frames: int, hosts: tuple[str, ...]) -> None:
        self._interrupted(pairs.Faults.of(pairs.Gate(frames), hosts))

    @rule(frames=st.integers(0, 24), hosts=st.sampled_from((("p",), ("m",), ("p", "m"))))
    def kill_agents_at_a_frame(self, frames: int, hosts: tuple[str, ...]) -> None:
        self._interrupted(pairs.Faults.of(pairs.Gate(frames), hosts, kill=True))

    @rule(acts=st.integers(0, 80), host=st.sampled_from(("p", "m", "m", "m")))
    def kill_an_agent_before_an_act(self, acts: int, host: str) -> None:
        self._interrupted(pairs.Faults({}, {host: acts}))

    @precondition(lambda _: not require.missing())
    @rule(room=st.sampled_from((0, 4_096, 300_000)))
    def fill_the_mirror(self, room: int) -> None:
        filler = self.disk / "filler"
        ended = "there was room enough"
        try:
            with filler.open("wb", buffering=0) as file, suppress(OSError):
                while file.write(bytes(1 << 20)):
                    continue
            os.truncate(filler, max(0, filler.stat().st_size - room))
            self.laid.open()
            self.laid.sync()
        except MailmirrorError as error:
            ended = "told"
            # A child process leaves its last words; an agent in this process ends without them.
            assert "No space left" in str(error) or str(error).endswith(f"{pairs.SINKS[0]}: the agent ended it"), error
        finally:
            event(f"full disk: {ended}")
            self.laid.end()
            filler.unlink()
        self.truth()
        self.laid.open()

    def _interrupted(self, faults: pairs.Faults) -> None:
        ended = "too late to matter"
        try:
            self.laid.open(faults)
            self.laid.sync()
        except HostUnreachable:
            ended = "in the greeting"
        except LinkLost:
            ended = "in the pass"
        event(f"interrupted {ended}")
        self.laid.end()
        self.truth()
        self.laid.open()

    # --- what is true at every moment -------------------------------------------------

    @invariant()
    def truth(self) -> None:
        here = Counter(_base(path) for path in pairs.messages(self.laid.source))
        places: Counter[tuple[str, bytes]] = Counter()
        there: set[bytes] = set()
        for path, (*_, body) in pairs.messages(self.laid.mirror).items():
            base = _base(path)
            assert self.content.get(base) == body, f"{path} isn't the message that it is named for"
            there.add(base)
            places[path.rsplit("/", 2)[0], base] += 1
        assert [where for where, count in places.items() if count > 1] == [], "a message stands twice in a folder"
        assert self.arrived & here.keys() <= there, "a message is lost that was there"
        self.arrived |= there


def _base(path: str) -> bytes:
    return path.rsplit("/", 1)[1].partition(":")[0].encode("latin-1")


@pytest.mark.issue(
    "2.P hypothesis state machine; cut the link at any frame; kill agent; kill controller; full disk; restart"
)
def test_no_history_and_no_interruption_makes_the_mirror_lie() -> None:
    effort = settings(
        max_examples=400 if LONG else 25,
        stateful_step_count=40 if LONG else 18,
        derandomize=os.environ.get("CI") == "true",
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    run_state_machine_as_test(Replication, settings=effort)
