"""One store that takes what a source offers: what is told as durable is durable, what stands in the way isn't
overwritten, and nothing is removed without leave. The offers are written here, the disk is slowed down or fails.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agent import beneath
from orchestrator.agent.ledger import Held
from orchestrator.agent.log import FOLDER, MESSAGE
from orchestrator.agent.serve import Fault
from orchestrator.agent.sink import CREDIT_STEP
from orchestrator.agent.wire import Frame, Garbled, Kind, pack
from tests.unit.agent.receiving import ANN, FOLDERS, MANY, SENT, Receiving


@pytest.fixture
def receiving(tmp_path: Path) -> Iterator[Receiving]:
    made = Receiving(tmp_path)
    yield made
    made.close()


class SlowDisk:
    """syncfs in the background returns when it is let; what it is asked for by the worker itself returns at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self._let = threading.Semaphore(0), threading.Semaphore(0)
        self.failing = False
        monkeypatch.setattr(beneath, "syncfs", self._syncfs)

    def _syncfs(self, _: int) -> None:
        if threading.current_thread().name != "barrier":
            return
        self.begun.release()
        assert self._let.acquire(timeout=10)
        if self.failing:
            self.fail(0)

    def fail(self, _: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def let(self, receiving: Receiving) -> None:
        """Let the one that is under way return, and wait for that."""
        assert self.begun.acquire(timeout=10), "none is under way"
        self._let.release()
        receiving.woken()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> SlowDisk:
    return SlowDisk(monkeypatch)


def numbered(count: int, first: int = 0) -> dict[str, bytes]:
    return {f"{number}.host:2,": b"%d" % number for number in range(first, first + count)}


# --- what is told as durable ----------------------------------------------------------


@pytest.mark.issue("2.5 durability before the name")
def test_bodies_are_durable_before_their_names_and_names_before_they_are_told(
    receiving: Receiving, disk: SlowDisk
) -> None:
    receiving.deliver(1, numbered(MANY))
    assert receiving.sink.background() is None, "the bodies aren't durable yet"
    assert not (receiving.path / "ann").exists()
    disk.let(receiving)
    assert receiving.sink.background() == 0.0
    assert len(receiving.cur()) == MANY
    assert receiving.sink.background() is None, "the names aren't durable yet"
    ledger = receiving.ledger_elsewhere()
    assert (ledger.meta.get("live"), ledger.total()) == (0, 0)
    ledger.close(clean=False)
    assert receiving.done() == []
    disk.let(receiving)
    assert receiving.sink.background() == 0.0
    assert receiving.done() == [1]
    ledger = receiving.ledger_elsewhere()
    assert (ledger.meta.get("live"), ledger.total()) == (1, MANY)
    ledger.close(clean=False)
    receiving.sink.close()


@pytest.mark.issue("2.5 durability before the name")
def test_a_batch_that_completes_while_the_disk_works_for_an_earlier_one_is_not_covered_by_that(
    receiving: Receiving, disk: SlowDisk
) -> None:
    receiving.deliver(1, numbered(MANY))
    receiving.sink.background()
    disk.let(receiving)
    assert receiving.sink.background() == 0.0
    assert receiving.sink.background() is None, "it works for what was applied"
    receiving.deliver(2, numbered(MANY, MANY))
    assert receiving.sink.background() is None
    disk.let(receiving)
    assert receiving.sink.background() == 0.0
    assert receiving.done() == [1]
    assert len(receiving.cur()) == MANY, "the second batch's bodies came later"
    assert receiving.sink.background() is None
    disk.let(receiving)
    assert receiving.sink.background() == 0.0
    assert len(receiving.cur()) == 2 * MANY
    receiving.sink.background()
    disk.let(receiving)
    receiving.sink.background()
    assert receiving.done() == [2]
    receiving.sink.close()


@pytest.mark.issue("2.5 durability before the name")
@pytest.mark.parametrize("asked", [False, True], ids=["in the background", "by a verb"])
def test_a_failed_write_ends_the_conversation_and_nothing_is_told(
    receiving: Receiving, disk: SlowDisk, asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiving.deliver(1, numbered(MANY))
    receiving.sink.background()
    disk.let(receiving)
    receiving.sink.background()
    disk.failing = True
    if asked:  # its asker gets a fault, and the conversation would go on
        with monkeypatch.context() as broken:
            broken.setattr(beneath, "syncfs", disk.fail)
            with pytest.raises(OSError, match="Input/output"):
                next(receiving.sink.digests({}))
        disk.failing = False
    assert receiving.sink.background() is None
    disk.let(receiving)
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output"):
            receiving.sink.background()
    with pytest.raises(OSError, match="Input/output"):
        receiving.sink.close()
    assert receiving.done() == []
    ledger = receiving.ledger_elsewhere()
    assert (ledger.meta.get("live"), ledger.total(), ledger.touched()) == (0, 0, receiving.lids())
    ledger.close(clean=False)
    monkeypatch.undo()
    receiving.open()
    assert len(receiving.sink.ledger.all_held(receiving.lids()[0])) == MANY, "what stands there was read again"
    receiving.sink.close()


def test_a_directory_that_cannot_be_made_durable_is_not_so_at_the_end_either(
    receiving: Receiving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beneath, "syncfs_reports_errors", lambda: False)
    receiving.deliver(1, numbered(2))
    real, failed = os.fsync, list[int]()

    def fails_once(fd: int) -> None:
        if not failed and os.readlink(f"/proc/self/fd/{fd}").endswith("/ann/cur"):
            failed.append(fd)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(fd)

    monkeypatch.setattr(os, "fsync", fails_once)
    with pytest.raises(OSError, match="Input/output"):
        receiving.settle()
    with pytest.raises(OSError, match="Input/output"):
        receiving.sink.close()
    assert receiving.done() == []
    ledger = receiving.ledger_elsewhere()
    assert (ledger.meta.get("live"), ledger.touched()) == (0, receiving.lids())
    ledger.close(clean=False)


VERBS = {
    "release": lambda sink: sink.release("ann"),
    "recall": lambda sink: sink.recall("ann", 60.0, "tripped"),
    "undelete": lambda sink: sink.undelete({"restore": [1]}),
    "adopt": lambda sink: sink.adopt(),
    "sweep": lambda sink: sink.sweep({}, False),
}


@pytest.mark.parametrize("verb", list(VERBS))
def test_what_waits_for_the_disk_is_settled_and_told_before_an_operators_verb(
    receiving: Receiving, disk: SlowDisk, verb: str
) -> None:
    receiving.deliver(1, numbered(MANY))
    receiving.sink.background()
    disk.let(receiving)
    receiving.sink.background()
    receiving.sink.permit(30.0)
    VERBS[verb](receiving.sink)
    assert receiving.done() == [1]
    receiving.settle()
    assert receiving.done() == [], "once"
    receiving.sink.close()


@pytest.mark.issue("2.5 durability before the name")
def test_folders_are_noted_as_touched_before_anything_in_them_changes(
    receiving: Receiving, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiving.copy(1, {"1.host:2,": b"one"})
    receiving.sink.close()
    receiving.open()
    seen: list[list[int]] = []
    real = os.rename

    def look(*words: Any, **more: Any) -> None:
        ledger = receiving.ledger_elsewhere()
        seen.append(ledger.touched())
        ledger.close(clean=False)
        real(*words, **more)

    receiving.offer(2, {"1.host:2,S": b"one"})
    monkeypatch.setattr(os, "rename", look)
    receiving.settle()
    monkeypatch.undo()
    assert seen[-1] == receiving.lids()[:1]
    receiving.sink.close()


def test_the_folder_that_a_message_is_taken_over_from_is_noted_as_touched_too(receiving: Receiving) -> None:
    receiving.copy(1, numbered(1))
    receiving.sink.close()
    (receiving.path / "ann/.Sent/cur/old.host:2,").write_bytes(b"one")
    receiving.open()
    receiving.sink.adopt()
    needs = receiving.offer(2, {"1.host:2,": b"one"})
    assert needs["unless"]
    receiving.send(2, {}, s=[(0, 0)])
    receiving.sink.applier.begin(next(iter(receiving.sink._pending.values()))[0], receiving.desk.wake)
    assert receiving.sink.ledger.touched() == receiving.lids()
    receiving.settle()
    assert receiving.cur() == {"0.host:2,": b"0", "1.host:2,": b"one"}
    assert receiving.cur("ann/.Sent") == {}
    receiving.sink.close()


def test_the_end_leaves_no_descriptor_and_no_file_of_a_batch_that_was_not_complete(receiving: Receiving) -> None:
    before = len(os.listdir("/proc/self/fd"))
    receiving.sink.close()
    receiving.open()
    receiving.offer(1, numbered(3))
    receiving.send(1, {0: b"0", 1: b"1"})
    assert receiving.sink.background() is None, "a batch that isn't complete waits"
    receiving.sink.close()
    assert list((receiving.path / ".mailmirror/tmp").iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) <= before


# --- what stands in the way -----------------------------------------------------------


@pytest.mark.issue("2.5 quarantine: what nobody knows and is in the way goes there")
@pytest.mark.parametrize("way", ["arrives", "renamed", "adopted"])
def test_a_strangers_file_under_a_messages_final_name_goes_into_quarantine(receiving: Receiving, way: str) -> None:
    receiving.copy(1, {"1.host:2,": b"one"})
    name = "2.host:2," if way == "arrives" else "1.host:2,S"
    if way == "adopted":
        receiving.sink.close()
        for suffix in ("", "-wal", "-shm"):
            (receiving.base / f"state/s/sink.sqlite{suffix}").unlink(missing_ok=True)
        (receiving.path / ".mailmirror/ledger").unlink()
        receiving.open()
        receiving.sink.adopt()
    (receiving.path / "ann/cur" / name).write_bytes(b"whose?")
    if way == "arrives":
        receiving.deliver(2, {name: b"two"})
    else:
        needs = receiving.offer(2, {name: b"one"})
        assert bool(needs["unless"]) == (way == "adopted")
        if way == "adopted":
            receiving.send(2, {}, s=[(0, 0)])
    receiving.settle()
    assert receiving.cur() == ({"1.host:2,": b"one", name: b"two"} if way == "arrives" else {name: b"one"})
    assert receiving.kept() == [b"whose?"]
    assert [head["problems"] for head in receiving.told()] == [[]]
    receiving.sink.close()


@pytest.mark.issue("2.5 quarantine")
def test_a_message_that_is_another_file_by_now_replaces_the_old_one_which_is_kept(receiving: Receiving) -> None:
    receiving.copy(1, {"1.host:2,": b"one"})
    receiving.copy(2, {"1.host:2,S": b"another"}, mtime=6)
    assert receiving.cur() == {"1.host:2,S": b"another"}
    assert receiving.kept() == [b"one"]
    receiving.sink.close()


def test_a_message_that_somebody_took_away_is_asked_for_anew(receiving: Receiving) -> None:
    receiving.copy(1, {"1.host:2,": b"one"})
    (receiving.path / "ann/cur/1.host:2,").unlink()
    assert receiving.offer(2, {"1.host:2,S": b"one"})["plain"] == []
    receiving.settle()
    assert [head["again"] for head in receiving.told()] == [[[ANN, "1.host", False]]]
    receiving.copy(3, {"1.host:2,S": b"one"})
    assert receiving.cur() == {"1.host:2,S": b"one"}
    receiving.sink.close()


@pytest.mark.parametrize("folders", [FOLDERS, []], ids=["that is offered", "that is not"])
def test_a_file_in_a_directorys_place_bars_that_folder_and_no_other(
    receiving: Receiving, folders: list[list[Any]]
) -> None:
    receiving.copy(1, {"1.host:2,": b"one"})
    receiving.copy(2, {"2.host:2,": b"two"}, fid=SENT)
    receiving.sink.passive.root.forget(b"")
    shutil.move(receiving.path / "ann/.Sent/cur", receiving.base / "elsewhere")
    (receiving.path / "ann/.Sent/cur").write_bytes(b"")
    receiving.sink.permit(30.0)
    removals = ([SENT, MESSAGE, "2.host", False, False, "ann"], [ANN, MESSAGE, "1.host", False, False, "ann"])
    receiving.offer(3, {}, removals=removals, folders=folders)
    receiving.settle()
    (told,) = receiving.told()
    assert receiving.cur() == {}
    assert "ann/.Sent" in told["problems"][0]
    receiving.sink.close()


# --- removals -------------------------------------------------------------------------


REMOVAL = [ANN, MESSAGE, "1.host", False, False, "ann"]


@pytest.mark.issue("2.5 permit")
def test_nothing_is_removed_without_leave(receiving: Receiving) -> None:
    receiving.copy(1, {"1.host:2,": b"one"})
    dead = receiving.sink.ledger.meta.get("dead")
    receiving.offer(2, {}, removals=(REMOVAL,))
    receiving.settle()
    (told,) = receiving.told()
    assert (told["tally"], told["dead"]) == ({"folders": 0, "folders_renamed": 0, "not_permitted": 1}, dead)
    assert receiving.cur() == {"1.host:2,": b"one"}
    receiving.sink.permit(30.0)
    receiving.sink.permit(0.0)
    receiving.offer(3, {}, removals=(REMOVAL,))
    receiving.settle()
    assert receiving.cur() == {"1.host:2,": b"one"}, "leave was taken back"
    with pytest.raises(Fault, match="no deletion is permitted"):
        receiving.sink.sweep({}, False)
    with pytest.raises(Fault, match="no deletion is permitted"):
        receiving.sink.release("ann")
    receiving.sink.close()


@pytest.mark.issue("2.5 quarantine; delete firewall")
def test_what_is_said_to_have_moved_but_stands_nowhere_else_is_kept(receiving: Receiving) -> None:
    """A source may be wrong about it: only a name that another folder's file shares is taken away without a trace."""
    receiving.copy(1, {"1.host:2,": b"one", "2.host:2,": b"two"})
    os.link(receiving.path / "ann/cur/2.host:2,", receiving.path / "ann/.Sent/cur/2.host:2,")
    receiving.sink.permit(30.0)
    moved = ([ANN, MESSAGE, name, True, False, "ann"] for name in ("1.host", "2.host"))
    receiving.offer(2, {}, removals=tuple(moved))
    receiving.settle()
    assert (receiving.cur(), receiving.kept()) == ({}, [b"one"])
    assert receiving.cur("ann/.Sent") == {"2.host:2,": b"two"}


@pytest.mark.issue("2.5 quarantine; delete firewall")
def test_a_removal_leaves_its_file_in_quarantine_or_waits(receiving: Receiving) -> None:
    receiving.copy(1, {"1.host:2,": b"one", "2.host:2,": b"two"})
    receiving.sink.permit(30.0)
    receiving.offer(2, {}, removals=(REMOVAL,), hold={"ann": "too many"})
    receiving.settle()
    receiving.offer(3, {}, removals=([ANN, MESSAGE, "2.host", False, False, "ann"],))
    receiving.settle()
    assert [head["tally"]["waiting"] for head in receiving.told()] == [1, 1], "behind one that waits, all wait"
    assert len(receiving.cur()) == 2
    assert receiving.sink.release("ann").head == {"deleted": 2}
    assert (receiving.cur(), receiving.kept()) == ({}, [b"one", b"two"])
    assert receiving.sink.ledger.all_held(receiving.lids()[0]) == {}
    assert receiving.sink.ledger.waiting_accounts() == []
    receiving.sink.close()


def test_what_was_removed_is_out_of_the_ledger_with_the_batch(receiving: Receiving) -> None:
    receiving.copy(1, {"1.host:2,": b"one", "2.host:2,": b"two"})
    receiving.sink.permit(30.0)
    receiving.offer(2, {"2.host:2,S": b"two"}, removals=(REMOVAL,))
    receiving.settle()
    ledger = receiving.ledger_elsewhere()
    assert {base: row.info for base, row in ledger.all_held(receiving.lids()[0]).items()} == {b"2.host": b":2,S"}
    assert ledger.meta.get("dead") == 2
    ledger.close(clean=False)
    receiving.sink.close()


def test_a_folder_with_something_in_it_stays(receiving: Receiving) -> None:
    receiving.copy(1, {"1.host:2,": b"one"}, fid=SENT)
    receiving.sink.permit(30.0)
    receiving.offer(2, {}, removals=([SENT, FOLDER, "", False, False, "ann"],))
    receiving.settle()
    assert receiving.cur("ann/.Sent") == {"1.host:2,": b"one"}
    receiving.sink.close()


# --- bodies and credit ----------------------------------------------------------------


def test_credit_comes_back_for_every_byte(receiving: Receiving) -> None:
    large = os.urandom(CREDIT_STEP + 1)
    receiving.offer(1, {"1.host:2,": large, "2.host:2,": b"two", "3.host:2,": b"three", "4.host:2,": b"4"}, group=4)
    receiving.send(1, {1: b"two"})
    credit = [frame.head for frame in receiving.frames() if frame.kind is Kind.CREDIT]
    assert credit == [], "not for each little piece"
    receiving.send(1, {0: large})
    receiving.send(1, {3: b"4"}, v=[2])
    credit = [frame.head for frame in receiving.frames() if frame.kind is Kind.CREDIT]
    assert sum(head["bytes"] for head in credit) == len(large) + 4
    assert {head["g"] for head in credit} == {4}
    receiving.settle()
    assert set(receiving.cur()) == {"1.host:2,", "2.host:2,", "4.host:2,"}
    receiving.sink.close()


def test_what_a_later_batch_brings_is_not_asked_for_twice(receiving: Receiving) -> None:
    receiving.offer(1, {"1.host:2,": b"one"})
    receiving.offer(2, {"2.host:2,": b"two"})
    receiving.send(1, {0: b"one"})
    while receiving.sink.background() == 0.0:
        pass
    assert receiving.offer(3, {"2.host:2,S": b"two"})["plain"] == []
    receiving.sink.close()


def test_bodies_that_nobody_asked_for_end_the_conversation(receiving: Receiving) -> None:
    with pytest.raises(Garbled):
        receiving.send(1, {0: b"x"})
    receiving.sink.close()


def test_what_was_looked_up_is_forgotten_when_no_batch_needs_it(receiving: Receiving) -> None:
    passive = receiving.sink.passive
    receiving.copy(1, {"1.host:2,": b"one"})
    assert passive._known == {}
    placements = [[ANN, [["1.host", 1, "", 1, 1, 1, 0o600, 0, 0, None, 7]]]]
    blob, deflated = pack({"folders": FOLDERS, "placements": placements})
    answer = receiving.sink.plan({"items": 1}, Frame(Kind.REQUEST, 1, {}, blob, deflated))
    assert answer.head["tally"]["messages"] == 1
    assert passive._known == {}
    held = Held(1, b":2,", 1_000 + sum(b"1.host"), 3, 5, 2, 7)
    assert passive.held(receiving.sink.ledger.by_fid[ANN], b"1.host") == held
    receiving.sink.close()
