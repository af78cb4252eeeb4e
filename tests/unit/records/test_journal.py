"""The controller's journal: what is written is durable, one operation a pair, and a damaged file is never made anew."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import BrokenPromise, MailmirrorError, OperatorError, Refused, TryAgain
from orchestrator.records import database
from orchestrator.records.journal import Journal, Opening
from orchestrator.records.marks import Course, Phase, State
from tests.support import require
from tests.support.powercut import Disk

OPENING = Opening("org", "switchover", "primary", "mirror", 3, 4, "jane (uid 7)", "patches", "journey: x", "0.1.0")


def test_an_operation_is_known_again_with_all_that_happened_in_it(tmp_path: Path) -> None:
    with Journal(tmp_path / "state") as journal:
        name = journal.begin(OPENING).id
        journal.mark(name, 1, "quiesce", Phase.INTENDED, parameters={"for": 20})
        journal.mark(name, 1, "quiesce", Phase.ACTING)
        journal.note(name, "queue", ["A1"])
        journal.note(name, "queue", ["A1", "B2"])
        seen = journal.decided("org", {"lag": None}, {"journey": "switchover"}, "0.1.0", name)
    with Journal(tmp_path / "state") as again:
        found = again.running("org")
        assert found is not None and found.id == name and found.opening == OPENING
        assert (found.state, found.course, found.ended) == (State.OPEN, Course.FORWARD, None)
        assert [(mark.number, mark.verb, mark.phase) for mark in again.marks(name)] == [
            (1, "quiesce", Phase.INTENDED), (1, "quiesce", Phase.ACTING),
        ]  # fmt: skip
        assert again.marks(name)[0].parameters == {"for": 20}
        assert again.notes(name) == {"queue": ["A1", "B2"]}
        [decision] = again.decisions("org")
        assert (decision.id, decision.operation, decision.facts) == (seen, name, {"lag": None})
        assert again.decisions("org", "another") == [] and again.decisions("org", name) == [decision]


def test_a_pair_has_one_operation_at_a_time_also_while_it_is_stuck(tmp_path: Path) -> None:
    with Journal(tmp_path) as one, Journal(tmp_path) as other:
        name = one.begin(OPENING).id
        with pytest.raises(Refused, match=name) as caught:
            other.begin(OPENING)
        assert "op rollback" in caught.value.remedy
        one.end(name, State.STUCK, "no answer")
        with pytest.raises(Refused, match=r"\(stuck\)"):
            other.begin(OPENING)
        one.turn(name, Course.BACK, "ordered")
        found = other.operation(name)
        assert (found.state, found.course, found.ended) == (State.OPEN, Course.BACK, None)
        one.end(name, State.ROLLED_BACK, "all undone")
        assert other.begin(OPENING).id != name
        assert [operation.state for operation in other.operations("org")] == [State.ROLLED_BACK, State.OPEN]


def test_of_many_that_begin_at_once_one_does(tmp_path: Path) -> None:
    begun: list[str] = []
    refused: list[MailmirrorError] = []

    def begin() -> None:
        with Journal(tmp_path) as journal:
            try:
                begun.append(journal.begin(OPENING).id)
            except Refused as error:
                refused.append(error)

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(begun), len(refused)) == (1, 7)


def test_nothing_is_added_to_an_operation_that_has_ended(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        name = journal.begin(OPENING).id
        journal.end(name, State.DONE, "")
        attempts: list[Callable[[], None]] = [
            lambda: journal.mark(name, 1, "quiesce", Phase.ACTING),
            lambda: journal.note(name, "key", 1),
            lambda: journal.turn(name, Course.BACK, ""),
            lambda: journal.end(name, State.ROLLED_BACK, ""),
            lambda: journal.mark("another", 1, "quiesce", Phase.ACTING),
        ]
        for attempt in attempts:
            with pytest.raises(BrokenPromise):
                attempt()
        assert journal.marks(name) == () and journal.operation(name).state is State.DONE
        with pytest.raises(OperatorError, match="no operation another") as caught:
            journal.operation("another")
        assert "history" in caught.value.remedy


def test_every_commit_is_synced_and_the_log_is_no_write_ahead_log(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        asked = {name: journal._rows(f"PRAGMA {name}")[0][0] for name in ("journal_mode", "synchronous", "mmap_size")}
    assert asked == {"journal_mode": "truncate", "synchronous": 2, "mmap_size": 0}


def _write_until_killed(directory: str, pipe: int) -> None:
    with Journal(Path(directory)) as journal:
        name = journal.begin(OPENING).id
        for number in range(1, 100_000):
            journal.mark(name, number, "quiesce", Phase.ACTING)
            os.write(pipe, number.to_bytes(4, "big"))


def _killed_after(directory: Path, count: int) -> int:
    """A process that writes marks, killed in the middle of it; the number of the last one that it said was durable."""
    reading, writing = os.pipe()
    process = multiprocessing.get_context("fork").Process(target=_write_until_killed, args=(str(directory), writing))
    process.start()
    os.close(writing)
    told = b""
    while len(told) < 4 * count:
        told += os.read(reading, 4096)
    process.kill()
    while more := os.read(reading, 4096):
        told += more
    os.close(reading)
    process.join()
    return len(told) // 4


def test_what_was_written_is_there_after_the_process_was_killed(tmp_path: Path) -> None:
    last = _killed_after(tmp_path, 40)
    with Journal(tmp_path) as journal:
        running = journal.running("org")
        assert running is not None
        numbers = [mark.number for mark in journal.marks(running.id)]
    assert numbers in (list(range(1, last + 1)), list(range(1, last + 2)))


def test_what_was_written_is_there_after_the_power_went(tmp_path: Path) -> None:
    require.root()
    with Disk(tmp_path / "disk", size=32 << 20) as disk:
        last = _killed_after(disk.path / "state", 40)
        disk.cut()
        with Journal(disk.path / "state") as journal:
            running = journal.running("org")
            assert running is not None
            assert [mark.number for mark in journal.marks(running.id)][:last] == list(range(1, last + 1))


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:4096]),
        lambda path: path.write_bytes(path.read_bytes()[:4096] + b"\xff" * (path.stat().st_size - 4096)),
        lambda path: path.write_bytes(b"SQLite it is not" * 512),
        lambda path: sqlite3.connect(path).execute("PRAGMA application_id=7").close(),
    ],
    ids=["empty", "cut short", "overwritten", "another file", "another program's"],
)
def test_a_damaged_file_is_refused_with_a_remedy_and_left_as_it_is(tmp_path: Path, harm: object) -> None:
    with Journal(tmp_path) as journal:
        journal.begin(OPENING)
    path = database.path_of(tmp_path)
    assert callable(harm)
    harm(path)
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(OperatorError, match=r"journal\.sqlite can't be used") as caught:
            Journal(tmp_path)
        assert "mailmirror-guard status" in caught.value.remedy
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir() if found.suffix == ".new"] == []


def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    Journal(tmp_path).close()
    sqlite3.connect(database.path_of(tmp_path)).execute("PRAGMA user_version=99").close()
    with pytest.raises(OperatorError, match="version 99") as caught:
        Journal(tmp_path)
    assert "newer" in caught.value.remedy


def test_a_file_of_an_older_version_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal(tmp_path) as journal:
        name = journal.begin(OPENING).id
    monkeypatch.setattr(database, "_STEPS", (*database._STEPS, "CREATE TABLE later (what TEXT)"))
    for _ in range(2):
        with Journal(tmp_path) as journal:
            assert journal._rows("SELECT * FROM later") == []
            assert journal.operation(name).state is State.OPEN


def test_another_process_that_writes_for_too_long_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "PATIENCE", 0.1)
    with Journal(tmp_path) as journal:
        other = sqlite3.connect(database.path_of(tmp_path), isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(TryAgain):
            journal.begin(OPENING)
        other.execute("ROLLBACK")
        assert journal.begin(OPENING).id
        other.close()


def test_a_full_disk_is_told_and_what_was_written_stays(tmp_path: Path) -> None:
    require.root()
    with Disk(tmp_path / "disk", size=4 << 20) as disk, Journal(disk.path) as journal:
        name = journal.begin(OPENING).id
        with (disk.path / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="space"):
            while True:
                filler.write(b"x" * 4096)
        written = 0
        with pytest.raises(OperatorError, match="full") as caught:
            while True:
                journal.mark(name, written + 1, "quiesce", Phase.ACTING, said="x" * 500)
                written += 1
        assert "Make room" in caught.value.remedy
        (disk.path / "filler").unlink()
        journal.mark(name, written + 1, "quiesce", Phase.ACTING)
        assert len(journal.marks(name)) == written + 1


def test_reading_it_needs_no_library_beside_pythons_own() -> None:
    told = "import sys, orchestrator.records.history; print([n for n in ('yaml', 'pydantic') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True).stdout == "[]\n"
