"""What is noted of a passive store's messages, against a plain dictionary; and what its disk fails to do."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.agent import beneath
from orchestrator.agent.beneath import Root
from orchestrator.agent.delta import digest
from orchestrator.agent.ledger import Held, Ledger, Place
from orchestrator.agent.log import MESSAGE
from orchestrator.agent.passive import Passive

BASES = (b"a", b"b", b"c")
_STEP = st.tuples(
    st.sampled_from(("put", "drop", "look up", "look away", "flush", "commit")),
    st.integers(0, 1),
    st.sampled_from(BASES),
    st.integers(0, 1),
    st.sampled_from((b"", b":2,S")),
)


class Stored:
    """A passive store with two folders."""

    def __init__(self, base: Path) -> None:
        self.path, self._ledger_path = base / "store", str(base / "ledger.sqlite")
        for name in ("one", "two"):
            for part in ("cur", "new", "tmp"):
                (self.path / name / part).mkdir(parents=True, exist_ok=True)
        self.root = Root(str(self.path))
        self.open()
        self.places = [self.ledger.new_place(n, name, name, True, 1) for n, name in enumerate((b"one", b"two"))]
        self.ledger.commit()

    def open(self) -> None:
        self.ledger = Ledger(self._ledger_path)
        self.passive = Passive(self.root, self.ledger)

    def again(self, *, clean: bool = False) -> None:
        self.ledger.close(clean)
        self.open()

    def close(self) -> None:
        self.ledger.close(clean=False)
        self.root.close()

    def put(self, name: str, content: bytes = b"x") -> Path:
        (self.path / name).write_bytes(content)
        return self.path / name

    def kept(self) -> list[bytes]:
        found = (self.path / ".mailmirror/quarantine").rglob("*")
        return sorted(path.read_bytes() for path in found if path.is_file())


@contextmanager
def a_store() -> Iterator[Stored]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as base:
        made = Stored(Path(base))
        try:
            yield made
        finally:
            made.close()


@pytest.fixture
def stored() -> Iterator[Stored]:
    with a_store() as made:
        yield made


def held(place: int, sub: int = 1, info: bytes = b"", inode: int = 9) -> Held:
    return Held(sub, info, inode, 10 + place, 20, 1)


@given(st.lists(_STEP, max_size=25))
@example([("put", 0, b"a", 1, b""), ("flush", 0, b"a", 0, b""), ("drop", 0, b"a", 0, b""), ("put", 0, b"a", 0, b"")])
def test_what_is_noted_is_what_is_told_whether_it_was_asked_before_or_not(
    steps: list[tuple[str, int, bytes, int, bytes]],
) -> None:
    with a_store() as stored:
        passive, places = stored.passive, stored.places
        model: dict[tuple[int, bytes], Held] = {}
        for step, number, base, sub, info in steps:
            place, was = places[number], model.get((number, base))
            if step == "put":
                assert passive.held(place, base) == was
                model[number, base] = held(number, sub, info)
                passive.put(place, base, model[number, base], was)
            elif step == "drop" and was is not None:
                passive.drop(place, base, model.pop((number, base)))
            elif step == "look up":
                passive.look_up([(place, base), (None, base), (place, b"nowhere")])
            elif step == "look away":
                passive.look_away()
            elif step in ("flush", "commit"):
                passive.flush()
                if step == "commit":
                    stored.ledger.commit()
            assert [[passive.held(p, b) for b in BASES] for p in places] == [
                [model.get((n, b)) for b in BASES] for n in range(2)
            ]
        passive.flush()
        stored.ledger.commit()
        _agrees(stored.ledger, places, model)
        stored.again()
        _agrees(stored.ledger, [stored.ledger.places[place.lid] for place in places], model)


def _agrees(ledger: Ledger, places: list[Place], model: dict[tuple[int, bytes], Held]) -> None:
    for number, place in enumerate(places):
        mine = {base: row for (n, base), row in model.items() if n == number}
        assert ledger.all_held(place.lid) == mine
        total = 0
        for base, row in mine.items():
            total ^= digest(base, row.sub, row.info)
        assert (place.messages, place.digest) == (len(mine), total)


def test_many_messages_are_looked_up_with_few_statements(stored: Stored) -> None:
    place, passive = stored.places[0], stored.passive
    bases = [b"%d" % number for number in range(600)]
    for base in bases[:300]:
        passive.put(place, base, held(0), None)
    passive.flush()
    asked: list[str] = []
    stored.ledger._db.set_trace_callback(asked.append)
    passive.look_up((place, base) for base in bases)
    passive.look_up((place, base) for base in bases)
    assert [passive.held(place, base) for base in bases] == [held(0)] * 300 + [None] * 300
    assert len(asked) == 3


# --- names ----------------------------------------------------------------------------


@pytest.mark.issue("2.5 quarantine: what nobody knows and is in the way goes there")
def test_a_strangers_file_under_the_new_name_is_not_overwritten(stored: Stored) -> None:
    stored.put("one/cur/a:2,", b"ours")
    stored.put("one/cur/a:2,S", b"a stranger's")
    stored.passive.move(stored.places[0], b"a", held(0, info=b":2,"), 1, b":2,S")
    assert [path.name for path in (stored.path / "one/cur").iterdir()] == ["a:2,S"]
    assert (stored.path / "one/cur/a:2,S").read_bytes() == b"ours"
    assert stored.kept() == [b"a stranger's"]


def test_what_comes_back_out_of_quarantine_overwrites_nothing(stored: Stored) -> None:
    stored.put("one/cur/a:2,", b"ours")
    quarantine, place = stored.passive.quarantine, stored.places[0]
    quarantine.take(place, MESSAGE, 1, b"a:2,", counted=True)
    stored.put("one/cur/a:2,", b"a stranger's")
    (kept,) = stored.ledger.kept()
    with pytest.raises(FileExistsError):
        quarantine.release(kept, stored.passive.directory(place, 1), b"a:2,")
    assert (stored.path / "one/cur/a:2,").read_bytes() == b"a stranger's"
    assert stored.kept() == [b"ours"]


def test_a_message_that_is_gone_is_not_moved(stored: Stored) -> None:
    with pytest.raises(FileNotFoundError):
        stored.passive.move(stored.places[0], b"a", held(0), 0, b"")


# --- durability -----------------------------------------------------------------------


def _fails(*_: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.issue("2.5 durability before the name")
@pytest.mark.parametrize("at_once", [True, False], ids=["all at once", "one by one"])
def test_what_could_not_be_made_durable_once_is_never_said_to_be(
    stored: Stored, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    """The kernel tells a failed write to the first who asks, and to nobody after."""
    monkeypatch.setattr(beneath, "syncfs_reports_errors", lambda: at_once)
    passive = stored.passive
    assert passive.all_at_once is at_once
    passive.directory(stored.places[0], 1)
    with monkeypatch.context() as broken:
        broken.setattr(beneath, "syncfs", _fails)
        broken.setattr(os, "fsync", _fails)
        with pytest.raises(OSError, match="Input/output"):
            passive.sync_all()
    passive.directory(stored.places[0], 0)
    for again in (passive.sync_all, passive.sync_dirs):
        with pytest.raises(OSError, match="Input/output"):
            again()


def test_every_directory_whose_entries_changed_is_made_durable(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ends of a way into quarantine, and what was made for it."""
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    stored.put("one/cur/a:2,")
    assert stored.passive.quarantine.take(stored.places[0], MESSAGE, 1, b"a:2,", counted=True)
    stored.passive.sync_dirs()
    names = sorted(path.removeprefix(str(stored.path)) for path in synced)
    day = next((stored.path / ".mailmirror/quarantine").iterdir()).name
    assert names == ["/.mailmirror", "/.mailmirror/quarantine", f"/.mailmirror/quarantine/{day}", "/one/cur"]
    synced.clear()
    stored.passive.sync_dirs()
    assert synced == [], "once is enough"


def test_a_directory_that_is_gone_by_now_needs_no_care(stored: Stored) -> None:
    stored.passive.directory(stored.places[0], 1)
    stored.root.forget(b"")
    (stored.path / "one/cur").rename(stored.path / "one/gone")
    stored.passive.sync_dirs()


def test_what_was_not_committed_is_forgotten_with_an_unclean_end(stored: Stored) -> None:
    stored.ledger.touch([1])
    stored.ledger.commit()
    stored.passive.put(stored.places[0], b"a", held(0), None)
    stored.passive.flush()
    stored.again()
    assert stored.ledger.all_held(1) == {}
    assert stored.ledger.touched() == [1]
    stored.ledger.meta.set(live=5)
    stored.again(clean=True)
    assert stored.ledger.touched() == []
