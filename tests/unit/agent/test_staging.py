"""Bodies on their way in: nameless or, where that can't be, in a directory of ours; whole, or not at all; no descriptor
and no file is left over.
"""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agent import beneath, staging
from orchestrator.agent.beneath import Root
from orchestrator.agent.staging import Arrivals, Staging
from orchestrator.agent.wire import Frame, Garbled, Kind
from orchestrator.remote.lines import house

WAYS = ("nameless", "named", "used up")


class Stage:
    """A store's staging, and a directory that the bodies go to."""

    def __init__(self, base: Path) -> None:
        (base / "cur").mkdir()
        self.root, self.home = Root(str(base)), base / ".mailmirror/tmp"
        self.cur = base / "cur"
        self.staging = Staging(self.root)
        self.owned: list[int] = []
        self.root.forget(b"")
        self._opened = descriptors()

    def arrivals(self, *sizes: int, offsets: dict[int, int] | None = None) -> Arrivals:
        numbered = dict(enumerate(sizes))
        return Arrivals(1, numbered, offsets or {}, dict.fromkeys(numbered, (0o600, 0, 0, 0)))

    def take(self, arrivals: Arrivals, blob: bytes, durable: bool = False, **head: Any) -> int:
        return self.staging.take(arrivals, Frame(Kind.BODY, 1, {"b": 1, **head}, blob), durable, self._own)

    def _own(self, fd: int, *_: int) -> None:
        self.owned.append(os.fstat(fd).st_size)

    def give(self, arrivals: Arrivals, item: int, name: bytes) -> bytes:
        self.staging.give(arrivals.files[item], self.root.open_dir(b"cur"), name)
        del arrivals.files[item]
        return (self.cur / os.fsdecode(name)).read_bytes()

    def spotless(self) -> None:
        self.root.forget(b"")
        assert list(self.home.iterdir()) == []
        assert descriptors() <= self._opened
        assert len(staging._OPEN) == 0


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture(params=WAYS)
def stage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """In each of the ways in which bodies may stand: without names, with, and the first without and the next with."""

    def unsupported(_: int, _mode: int = 0) -> int:
        raise beneath.Unsupported("as on NFS")

    if request.param == "named":
        monkeypatch.setattr(beneath, "nameless", unsupported)
    elif request.param == "used up":
        monkeypatch.setattr(staging, "_descriptors", lambda: 1)
    made = Stage(tmp_path)
    yield made
    made.spotless()
    made.root.close()


def test_whole_bodies_get_their_names(stage: Stage) -> None:
    arrivals = stage.arrivals(3, 0, 5)
    assert stage.take(arrivals, b"onethree", w=[0, 3, 1, 0, 2, 5]) == 8
    assert arrivals.complete
    assert stage.owned == [3, 0, 5], "each gets its attributes when all of it is there"
    assert list(stage.cur.iterdir()) == [], "no name before the batch is complete"
    assert [stage.give(arrivals, item, b"%d" % item) for item in range(3)] == [b"one", b"", b"three"]


def test_parts_make_a_body_once_all_of_them_are_there(stage: Stage) -> None:
    arrivals = stage.arrivals(6, 4)
    stage.take(arrivals, b"123abcde", w=[], p=[(1, 0, 3, 4), (0, 0, 5, 6)])
    before = arrivals.complete
    assert arrivals.files == {}
    stage.take(arrivals, b"4f", p=[(1, 3, 1, 4), (0, 5, 1, 6)])
    assert (before, arrivals.complete) == (False, True)
    assert stage.owned == [4, 6]
    assert [stage.give(arrivals, 0, b"a"), stage.give(arrivals, 1, b"b")] == [b"abcdef", b"1234"]


def test_what_begins_in_the_middle_is_only_that_much(stage: Stage) -> None:
    arrivals = stage.arrivals(9, offsets={0: 5})
    stage.take(arrivals, b"6789", p=[(0, 5, 4, 9)])
    assert stage.staging.content(arrivals.files.pop(0)) == b"6789"


@pytest.mark.parametrize(
    ("blob", "head"),
    [
        (b"abcdefg", {"w": [0, 7]}),
        (b"abcdef", {"w": [9, 6]}),
        (b"abcde", {"w": [0, 6]}),
        (b"abcdefabcdef", {"w": [0, 6, 0, 6]}),
        (b"abc", {"p": [(0, 3, 3, 6)]}),
        (b"abcabc", {"p": [(0, 0, 3, 6), (0, 0, 3, 6)]}),
        (b"abcdefg", {"p": [(0, 0, 7, 6)]}),
        (b"ab", {"p": [(0, 0, 3, 6)]}),
    ],
    ids=["larger", "unasked", "short", "twice", "a gap", "a part twice", "beyond its end", "a short part"],
)  # fmt: skip
def test_what_was_not_asked_for_is_refused_and_leaves_nothing(stage: Stage, blob: bytes, head: dict[str, Any]) -> None:
    arrivals = stage.arrivals(6)
    with pytest.raises(Garbled):
        stage.take(arrivals, blob, **head)
    stage.staging.drop(arrivals)


def test_a_dropped_batch_leaves_no_descriptor_and_no_file(stage: Stage) -> None:
    arrivals = stage.arrivals(3, 3, 6, 6)
    stage.take(arrivals, b"oneTWOabcdef", w=[0, 3, 1, 3], p=[(2, 0, 3, 6), (3, 0, 3, 6)])
    stage.staging.drop(arrivals)
    assert (arrivals.files, arrivals.parts) == ({}, {})


@pytest.mark.issue("2.P full disk")
def test_a_body_that_cannot_be_made_durable_leaves_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    arrivals = stage.arrivals(3, 3)
    with pytest.raises(OSError, match="No space left"):
        stage.take(arrivals, b"one", w=[0, 3], durable=True)
    with pytest.raises(OSError, match="No space left"):
        stage.take(arrivals, b"two", p=[(1, 0, 3, 3)], durable=True)
    assert arrivals.files == {}
    stage.staging.drop(arrivals)
    stage.staging.clear()


def test_a_disk_that_takes_only_some_bytes_at_a_time_gets_them_all(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """write(2) may write less than it was asked to, on a disk that is nearly full, without an error."""
    write, pwrite = os.write, os.pwrite
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:2]))
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, data[:2], at))
    arrivals = stage.arrivals(5, 5)
    stage.take(arrivals, b"wholeparts", w=[0, 5], p=[(1, 0, 5, 5)])
    assert [stage.give(arrivals, 0, b"a"), stage.give(arrivals, 1, b"b")] == [b"whole", b"parts"]


def test_a_body_is_made_durable_when_it_comes_only_where_that_was_asked(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_size))
    arrivals = stage.arrivals(3, 6, 1)
    stage.take(arrivals, b"1", w=[2, 1])
    assert synced == []
    stage.take(arrivals, b"oneabc", w=[0, 3], p=[(1, 0, 3, 6)], durable=True)
    assert synced == [3]
    stage.take(arrivals, b"def", p=[(1, 3, 3, 6)], durable=True)
    assert synced == [3, 6], "a part when it is the last one"
    stage.staging.drop(arrivals)


def test_a_taken_name_is_told_and_the_body_kept(stage: Stage) -> None:
    arrivals = stage.arrivals(3)
    stage.take(arrivals, b"one", w=[0, 3])
    (stage.cur / "1").write_bytes(b"whose?")
    with pytest.raises(FileExistsError):
        stage.give(arrivals, 0, b"1")
    assert (stage.cur / "1").read_bytes() == b"whose?"
    assert stage.give(arrivals, 0, b"2") == b"one"


def test_what_an_earlier_conversation_left_is_cleared(stage: Stage) -> None:
    (stage.home / "body-1-2").write_bytes(b"left")
    Staging(stage.root)
    assert list(stage.home.iterdir()) == []


_FEW = """
import os, resource, sys
sys.path.append(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (620, 620))
from orchestrator.agent.beneath import Root
from orchestrator.agent.staging import Arrivals, Staging
from orchestrator.agent.wire import Frame, Kind
COUNT = 400
for name in sys.argv[2:]:
    os.makedirs(name + "/cur")
roots = [Root(name) for name in sys.argv[2:]]
stages = [(root, Staging(root), Arrivals(1, dict.fromkeys(range(COUNT), 1), {}, {})) for root in roots]
for root, staging, arrivals in stages:
    head = {"b": 1, "w": [n for item in range(COUNT) for n in (item, 1)]}
    staging.take(arrivals, Frame(Kind.BODY, 1, head, b"x" * COUNT), False, print)
print(sum(isinstance(each, int) for *_, arrivals in stages for each in arrivals.files.values()))
for root, staging, arrivals in stages:
    for item, arrived in arrivals.files.items():
        staging.give(arrived, root.open_dir(b"cur"), b"%d" % item)
    print(len(os.listdir(root.path + "/cur")), os.listdir(root.path + "/.mailmirror/tmp"))
"""


def test_all_stores_of_a_process_share_its_few_descriptors(tmp_path: Path) -> None:
    names = [str(tmp_path / name) for name in "abc"]
    told = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _FEW, house(), *names], capture_output=True, text=True, timeout=60
    )
    assert (told.stderr, told.stdout.splitlines()) == ("", ["20", *["400 []"] * 3])


@pytest.mark.parametrize(
    ("hard", "most"),
    [(512, 0), (600, 0), (1024, 424), (1 << 20, staging.MOST), (-1, staging.MOST)],
    ids=["too few", "just too few", "a few", "many", "no limit"],
)
def test_some_descriptors_are_left_to_everything_else(monkeypatch: pytest.MonkeyPatch, hard: int, most: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, hard))
    raised: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: raised.append(limits))
    assert staging._descriptors() == most
    assert raised == [(hard, hard)]
