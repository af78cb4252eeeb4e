"""The delete firewall from end to end: a source that was emptied, exchanged or restored never empties its mirror.

Two real agents as child processes, a small Maildir store, and the controller's session between them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator import errors
from orchestrator.inventory.model import DeleteBudget, Host, Pair, Store
from orchestrator.remote.opening import open_conversation
from orchestrator.replication.session import Session

MESSAGES = 150
FOLDERS = ("ex.org/ann", "ex.org/ann/.Sent", "ex.org/bob")


class Mirrored:
    """A store with two accounts and its mirror, followed pass by pass."""

    def __init__(self, base: Path) -> None:
        self.source, self.mirror, self._state = base / "p", base / "m", base / "state"
        for path in (self.source, self.mirror, self._state):
            path.mkdir()
        for number, folder in enumerate(FOLDERS):
            self._folder(number, folder)
        store = (Store(str(self.source)),)
        hosts = {
            "p": Host("p", "primary", "p", connection="local", stores=store),
            "m": Host("m", "mirror", "m", connection="local", stores=(Store(str(self.mirror)),)),
        }
        self.pair = Pair("firewall", hosts, store)
        self.session = self.open()
        self.session.initialise()

    def _folder(self, number: int, folder: str) -> None:
        path = self.source / folder
        for sub in ("cur", "new", "tmp"):
            (path / sub).mkdir(parents=True)
        rows = []
        for uid in range(1, MESSAGES + 1):
            base = f"{1700000000 + uid}.M{number}P{uid}.host"
            (path / "cur" / f"{base}:2,S").write_bytes(b"Subject: %d\n\n%d\n" % (uid, number))
            rows.append(f"{uid} :{base}\n")
        head = f"3 V1700000000 N{MESSAGES + 1} G{number:032x}\n"
        (path / "dovecot-uidlist").write_text(head + "".join(rows))

    def open(self) -> Session:
        links = {name: open_conversation(host, state=str(self._state / name)) for name, host in self.pair.hosts.items()}
        return Session(self.pair, links)

    def again(self) -> None:
        self.session.close()
        self.session = self.open()

    def names(self, folder: str) -> list[str]:
        return sorted(os.listdir(self.mirror / folder / "cur"))

    def rows(self, folder: str) -> list[str]:
        return (self.mirror / folder / "dovecot-uidlist").read_text().splitlines()[1:]

    def unlink(self, folder: str, count: int) -> None:
        path = self.source / folder / "cur"
        for name in sorted(os.listdir(path))[:count]:
            (path / name).unlink()

    def drop_rows(self, folder: str) -> None:
        """Rewrite the uidlist to what stands in the folder, as Dovecot does after expunges."""
        path = self.source / folder
        here = {name.split(":")[0] for name in os.listdir(path / "cur")}
        head, *rows = (path / "dovecot-uidlist").read_text().splitlines(keepends=True)
        fresh = path / "dovecot-uidlist.tmp"
        fresh.write_text(head + "".join(row for row in rows if row.split(":", 1)[1].strip() in here))
        fresh.rename(path / "dovecot-uidlist")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Mirrored]:
    mirrored = Mirrored(tmp_path)
    mirrored.session.sync()
    try:
        yield mirrored
    finally:
        mirrored.session.close()


@pytest.mark.issue("2.P firewall rm -rf account")
def test_an_account_removed_whole_stays_on_the_mirror(pair: Mirrored) -> None:
    before, sent = pair.names("ex.org/ann"), pair.names("ex.org/ann/.Sent")
    shutil.rmtree(pair.source / "ex.org/ann")
    pair.session.sync()
    pair.again()
    pair.session.sync()
    assert pair.names("ex.org/ann") == before
    assert pair.names("ex.org/ann/.Sent") == sent


@pytest.mark.issue("2.5 delete firewall")
def test_what_was_deleted_before_the_budget_tripped_comes_back_with_its_uids(pair: Mirrored) -> None:
    pair.pair = replace(pair.pair, delete_budget=DeleteBudget(account_messages=100))
    pair.again()
    before, rows = pair.names("ex.org/ann"), pair.rows("ex.org/ann")
    for count in (60, 90):
        pair.unlink("ex.org/ann", count)
        pair.drop_rows("ex.org/ann")
        pair.session.sync()
    pair.unlink("ex.org/bob", 3)
    pair.session.sync()
    assert pair.names("ex.org/ann") == before
    assert sorted(pair.rows("ex.org/ann")) == sorted(rows)
    assert len(pair.names("ex.org/bob")) == MESSAGES - 3, "other accounts flow"
    (waiting,) = pair.session.status().passives[0].waiting
    assert waiting.id and waiting.reason
    assert pair.session.verify(deep=True)[0].equal
    pair.session.release(waiting.id)
    assert pair.names("ex.org/ann") == []
    assert pair.session.verify(deep=True)[0].equal


@pytest.mark.issue("2.5 delete firewall: an id names one wave of waiting deletions")
def test_the_id_of_an_older_wave_releases_nothing_of_a_newer_one(pair: Mirrored) -> None:
    pair.pair = replace(pair.pair, delete_budget=DeleteBudget(account_messages=10, account_percent=1))
    pair.again()
    ids = []
    for count in (60, 1):
        pair.unlink("ex.org/ann", count)
        pair.session.sync()
        (waiting,) = pair.session.status().passives[0].waiting
        ids.append(waiting.id)
    assert ids[0] != ids[1]
    with pytest.raises(errors.Refused, match=f"What waits now: 61 of 'ex.org/ann' on m .id {ids[1]}."):
        pair.session.release(ids[0])
    assert len(pair.names("ex.org/ann")) == MESSAGES
    pair.again()
    assert [held.id for held in pair.session.look().passives[0].waiting] == [ids[1]], "another session says the same"
    assert pair.session.release(ids[1]) == 61
    with pytest.raises(errors.Refused, match="Nothing waits now"):
        pair.session.release(ids[1])
    pair.unlink("ex.org/ann", 61)
    pair.session.sync()
    (waiting,) = pair.session.status().passives[0].waiting
    assert waiting.count == 61 and waiting.id not in ids, "the same number again is another wave"


@pytest.mark.issue("2.5 permit")
def test_without_deletes_nothing_is_deleted_and_the_next_pass_does_it(pair: Mirrored) -> None:
    pair.unlink("ex.org/bob", 5)
    pair.session.sync(deletes=False)
    assert len(pair.names("ex.org/bob")) == MESSAGES
    pair.session.sync()
    assert len(pair.names("ex.org/bob")) == MESSAGES - 5


@pytest.mark.issue("2.P firewall POP3")
def test_a_small_mailbox_emptied_every_day_passes(pair: Mirrored) -> None:
    pair.unlink("ex.org/bob", 60)
    pair.session.sync()
    assert len(pair.names("ex.org/bob")) == MESSAGES - 60
    assert pair.session.status().passives[0].waiting == []


@pytest.mark.issue("2.P firewall unmounted store")
def test_a_root_without_its_marker_is_refused(pair: Mirrored) -> None:
    before = pair.names("ex.org/ann")
    pair.session.close()
    pair.source.rename(pair.source.with_name("elsewhere"))
    pair.source.mkdir()
    _refused(pair)
    assert pair.names("ex.org/ann") == before


@pytest.mark.issue("2.P firewall wrong mount")
def test_a_root_with_another_stores_marker_is_refused(pair: Mirrored, tmp_path: Path) -> None:
    before = pair.names("ex.org/ann")
    other = tmp_path / "other"
    other.mkdir()
    foreign = Mirrored(other)
    foreign.session.close()
    shutil.rmtree(foreign.source / "ex.org")
    pair.session.close()
    pair.source.rename(pair.source.with_name("elsewhere"))
    foreign.source.rename(pair.source)
    _refused(pair)
    assert pair.names("ex.org/ann") == before


def _refused(pair: Mirrored) -> None:
    with pytest.raises(errors.Refused):
        pair.again()
        pair.session.sync()
