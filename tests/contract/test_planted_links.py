"""Links planted on the mirror in place of everything that the passive agent touches there: nothing outside is read or
written, the trouble is told with what to do, other accounts flow, and once the link is gone the mirror is equal again.

Reading is found out by inotify on the outside tree, which tells every open and every access.
"""

from __future__ import annotations

import ctypes
import os
import random
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.demo.mailbox import INBOX
from orchestrator.errors import MailmirrorError
from tests.support import pairs, seeds

IN_ALL_EVENTS = 0xFFF
EVENT = struct.Struct("iIII")


class Outside:
    """A tree that nobody may touch: a Maildir account, a state directory, some files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for part in ("cur", "new", "tmp", ".Sent/cur", ".Sent/new", ".Sent/tmp", "quarantine", "20200101"):
            (path / part).mkdir(parents=True)
        for name in ("cur/secret", "secret", "dovecot-uidlist", "store.json", ".Sent/cur/1.host:2,S", "tmp/x"):
            (path / name).write_text("secret\n")
        self._before = pairs.snapshot(path)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK)
        for directory in [directory for directory, _, _ in os.walk(path)]:
            assert self._libc.inotify_add_watch(self._fd, os.fsencode(directory), IN_ALL_EVENTS) >= 0

    def untouched(self, *, but_for_a_look: bool = False) -> None:
        """Assert that nothing in it was opened, read, written, made or removed since it was made.

        `but_for_a_look`: its top directory may have been opened, as an operator's word that a root is there.
        """
        events = []
        while data := self._heard():
            at = 0
            while at < len(data):
                _, mask, _, size = EVENT.unpack_from(data, at)
                events.append((hex(mask), data[at + EVENT.size : at + EVENT.size + size].rstrip(b"\0")))
                at += EVENT.size + size
        if but_for_a_look:
            events = [event for event in events if event[1]]
        assert events == []
        assert pairs.snapshot(self.path) == self._before
        while self._heard():  # what this look itself caused
            continue

    def _heard(self) -> bytes:
        try:
            return os.read(self._fd, 1 << 16)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        os.close(self._fd)


class Planted:
    """A copied pair of two accounts, and a link in place of something on its mirror."""

    def __init__(self, base: Path) -> None:
        self.laid = pairs.Laid(base, pairs.LOCAL)
        self.ann = pairs.Mailbox(self.laid.source / "ex.org/ann")
        self.bob = pairs.Mailbox(self.laid.source / "ex.org/bob")
        for name in ("Sent", "Old"):
            self.ann.create(name)
        for name in (INBOX, "Sent", "Old"):
            for number in range(4):
                self.ann.folder(name).deliver(b"Subject: %d\n\n%s\n" % (number, name.encode()))
        self.bob.folder(INBOX).deliver(b"Subject: bob\n\n")
        self.laid.session.initialise()
        self.laid.sync()
        # Something is in quarantine, so that it stands there.
        self.bob.folder(INBOX).expunge(self.bob.folder(INBOX).messages())
        self.laid.sync()
        self.outside = Outside(base / "outside")
        self.aside = base / "aside"

    def plant(self, place: str) -> None:
        """Put a link to the outside in place of something below the mirror's root; "" is the root itself."""
        here = self.laid.mirror / place if place else self.laid.mirror
        if "DAY" in place:
            (here,) = (self.laid.mirror / ".mailmirror/quarantine").iterdir()
        if here.exists():
            here.rename(self.aside)
        is_file = self.aside.is_file() or "." in here.name[1:]
        here.symlink_to(self.outside.path / "secret" if is_file else self.outside.path)
        self.link = here

    def clear(self) -> None:
        """The operator takes the link away and puts back what was there."""
        if self.link.is_symlink():
            self.link.unlink()
            if self.aside.exists():
                self.aside.rename(self.link)

    def change(self) -> None:
        for box in (self.ann, self.bob):
            box.folder(INBOX).deliver(b"Subject: later\n\n")
        for name in (INBOX, "Sent"):
            folder = self.ann.folder(name)
            known = sorted(folder.messages())
            folder.flag(known[0], "S" + folder.keyword("word"))
            folder.expunge(known[1:3])
            folder.deliver(b"Subject: x\n\n" + random.Random(3).randbytes(600_000))
        self.ann.folder(INBOX).move(sorted(self.ann.folder(INBOX).messages())[-1:], self.ann.folder("Sent"))
        self.ann.rename("Old", "Older")

    def bobs(self) -> int:
        return len(list((self.laid.mirror / "ex.org/bob/new").iterdir()))


@pytest.fixture
def planted() -> Iterator[Planted]:
    with pairs.in_memory() as base:
        made = Planted(base)
        try:
            yield made
        finally:
            made.laid.end()
            made.outside.close()


OF_AN_ACCOUNT = [
    "ex.org/ann",
    "ex.org/ann/cur",
    "ex.org/ann/new",
    "ex.org/ann/tmp",
    "ex.org/ann/.Sent",
    "ex.org/ann/.Sent/cur",
    "ex.org/ann/.Sent/new",
    "ex.org/ann/.Old",
    "ex.org/ann/.Older",
    "ex.org/ann/dovecot-uidlist",
    "ex.org/ann/.Sent/dovecot-uidlist",
    "ex.org/ann/dovecot-keywords",
    "ex.org/ann/subscriptions",
]
OF_THE_STORE = [
    ".mailmirror",
    ".mailmirror/tmp",
    ".mailmirror/quarantine",
    ".mailmirror/quarantine/DAY",
    ".mailmirror/store.json",
    ".mailmirror/store.json.tmp",
    ".mailmirror/ledger",
    ".mailmirror/ledger.tmp",
    "ex.org",
    "",
]


def passes(planted: Planted, *, fresh: bool) -> list[str]:
    """Passes with the link in place; what was said of it."""
    said = []
    for _ in range(2):
        try:
            if fresh:
                planted.laid.end()
            report = planted.laid.sync()
            said += report.problems
        except MailmirrorError as error:
            assert error.remedy
            said.append(str(error))
            planted.laid.end()
    return said


@pytest.mark.issue("2.P hostile links: everything that the sink touches, replaced")
@pytest.mark.issue("2.4 beneath the root; links aren't followed; hostile write outside")
@pytest.mark.parametrize("fresh", [True, False], ids=["before", "while open"])
@pytest.mark.parametrize("place", OF_AN_ACCOUNT)
def test_a_link_in_an_account_harms_nothing_outside_and_no_other_account(
    planted: Planted, place: str, fresh: bool
) -> None:
    planted.change()
    planted.plant(place)
    said = passes(planted, fresh=fresh)
    planted.outside.untouched()
    assert planted.bobs() == 1, "other accounts flow"
    if planted.link.is_symlink():
        assert any("link" in each for each in said), said
    assert not any("Traceback" in each for each in said)
    planted.clear()
    planted.laid.end()
    planted.laid.sync()
    pairs.equal(planted.laid)
    planted.outside.untouched()


@pytest.mark.issue("2.P hostile links: taken away while the mirror is followed")
def test_a_link_that_is_taken_away_is_noticed_without_a_pass(planted: Planted) -> None:
    planted.change()
    planted.plant("ex.org/ann/.Sent")
    planted.laid.sync()
    planted.laid.sync()
    assert not planted.laid.links["m"].lost.is_set(), "the conversation goes on without that folder"
    planted.clear()
    assert planted.laid.links["m"].lost.wait(20), "and begins anew when it is free"
    planted.laid.open()
    planted.laid.sync()
    pairs.equal(planted.laid)


@pytest.mark.issue("2.P hostile links: the store's own directory and root, replaced")
@pytest.mark.parametrize("fresh", [True, False], ids=["before", "while open"])
@pytest.mark.parametrize("place", OF_THE_STORE)
def test_a_link_in_place_of_what_the_store_needs_stops_it_with_a_word(
    planted: Planted, place: str, fresh: bool
) -> None:
    planted.change()
    planted.plant(place)
    said = passes(planted, fresh=fresh)
    planted.outside.untouched(but_for_a_look=not place)
    assert not any("Traceback" in each for each in said), said
    planted.clear()
    planted.laid.end()
    planted.laid.sync()
    pairs.equal(planted.laid)
    planted.outside.untouched()


@pytest.mark.issue("2.P hostile links: a message's own name")
def test_a_link_under_a_messages_name_is_neither_read_nor_written_through(planted: Planted) -> None:
    folder = planted.ann.folder(INBOX)
    base, path = sorted(folder.messages().items())[0]
    here = planted.laid.mirror / path.relative_to(planted.laid.source)
    here.unlink()
    here.symlink_to(planted.outside.path / "secret")
    folder.flag(base, "S")
    placed = folder.deliver(b"Subject: new\n\n")
    (planted.laid.mirror / "ex.org/ann/new" / os.fsdecode(placed.base)).symlink_to(planted.outside.path / "secret")
    planted.laid.sync()
    planted.outside.untouched()
    report = planted.laid.verify()
    assert [each.what for each in report.differences] == [f"{base.decode()}: missing on the passive place"]
    planted.outside.untouched()


@pytest.mark.issue("2.P hostile links while a pass is on")
@pytest.mark.parametrize("place", ["ex.org/ann", "ex.org/ann/cur", "ex.org/ann/.Sent", ".mailmirror/tmp"])
def test_links_that_come_and_go_during_passes_lead_nowhere(planted: Planted, place: str) -> None:
    chance, over = random.Random(seeds.drawn("planted_links")), threading.Event()
    here = planted.laid.mirror / place

    def toggle() -> None:
        while not over.wait(chance.uniform(0.0, 0.01)):
            try:
                planted.plant(place)
                over.wait(chance.uniform(0.0, 0.005))
            finally:
                _put_back(here, planted.aside)

    thread = threading.Thread(target=toggle)
    thread.start()
    try:
        for _ in range(12):
            for number in range(6):
                planted.ann.folder(chance.choice((INBOX, "Sent"))).deliver(b"%d\n" % number * 400)
            passes(planted, fresh=False)
    finally:
        over.set()
        thread.join()
    planted.outside.untouched()
    planted.laid.end()
    planted.laid.sync()
    pairs.equal(planted.laid)
    planted.outside.untouched()


def _put_back(here: Path, aside: Path) -> None:
    """What was renamed away, in its place again, whatever the agent has made there meanwhile."""
    if here.is_symlink():
        here.unlink()
    if not here.exists():
        aside.rename(here)
        return
    for root, _, files in os.walk(here):
        for name in files:
            (aside / Path(root).relative_to(here) / name).parent.mkdir(parents=True, exist_ok=True)
            os.rename(os.path.join(root, name), aside / Path(root).relative_to(here) / name)
    here.rename(here.with_name("emptied"))
    aside.rename(here)
