"""Bodies put into one frame's buffer: only whole ones, up to its size, whatever their files do meanwhile."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.agent.bundle import BUNDLE, NOTES, WORTH, Bundle
from orchestrator.agent.wire import MAX_HEAD, encode, inflate


class Files:
    """Files by content, as descriptors."""

    def __init__(self, base: Path) -> None:
        self._base, self._fds = base, list[int]()

    def of(self, content: bytes) -> int:
        path = self._base / str(len(self._fds))
        path.write_bytes(content)
        self._fds.append(os.open(path, os.O_RDWR))
        return self._fds[-1]

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    made = Files(tmp_path)
    yield made
    made.close()


def test_bodies_stand_in_the_order_of_the_head(files: Files) -> None:
    out = Bundle(7)
    filled = [out.empty]
    assert out.whole(files.of(b"one"), 4, 3)
    assert out.whole(files.of(b""), 2, 0)
    assert out.whole(files.of(b"three"), 9, 5)
    frame = out.frame(0)
    assert (frame.head, bytes(frame.blob), frame.id) == ({"b": 7, "w": [4, 3, 2, 0, 9, 5]}, b"onethree", 7)
    filled.append(out.empty)
    out.clear()
    assert [*filled, out.empty] == [True, False, True]
    assert bytes(out.frame(0).blob) == b""


def test_a_file_that_is_shorter_than_announced_leaves_no_trace(files: Files) -> None:
    out = Bundle(1)
    assert not out.whole(files.of(b"short"), 1, 6)
    assert not out.part(files.of(b"short"), 2, 3, 3, 9)
    assert out.empty
    assert out.whole(files.of(b"whole"), 3, 5)
    assert (out.frame(0).head, bytes(out.frame(0).blob)) == ({"b": 1, "w": [3, 5]}, b"whole")


def test_of_a_file_that_grows_only_what_was_announced_is_taken(files: Files) -> None:
    out = Bundle(1)
    fd = files.of(b"announced, and more")
    assert out.whole(fd, 1, 9)
    assert out.part(fd, 2, 3, 6, 9)
    assert bytes(out.frame(0).blob) == b"announcedounced"


def test_a_bundle_is_filled_to_its_last_byte_and_no_further(files: Files) -> None:
    out = Bundle(1)
    fd = files.of(b"x" * (BUNDLE + 1))
    assert out.room(BUNDLE)
    assert not out.room(BUNDLE + 1)
    assert not out.whole(fd, 1, BUNDLE + 1), "what doesn't fit is never cut"
    assert out.whole(fd, 1, BUNDLE - 1)
    assert out.room(1)
    assert not out.room(2)
    assert out.part(fd, 2, 5, 1, 9)
    assert len(out.frame(0).blob) == BUNDLE


def test_behind_a_part_nothing_may_come(files: Files) -> None:
    out = Bundle(1)
    assert out.part(files.of(b"part"), 1, 0, 4, 8)
    assert out.frame(0).head["p"] == [(1, 0, 4, 8)]
    assert not out.room(0)
    out.clear()
    assert out.room(0)


def test_a_head_with_as_many_notes_as_a_batch_has_rows_is_one_that_a_peer_takes() -> None:
    out = Bundle(1)
    for number in range(NOTES):
        assert out.room(0)
        out.note("v", number)
    assert not out.room(0), "the next body waits for the next frame"
    for number in range(NOTES, 20_000):  # rows of the largest batch; bodies that vanished need no room
        out.note("e", (number, f"can't be read: {os.strerror(errno.EOVERFLOW)}"))
    assert len(encode(out.frame(6))) < MAX_HEAD


def test_bodies_count_as_notes(files: Files) -> None:
    out, fd = Bundle(1), files.of(b"")
    for number in range(NOTES):
        assert out.room(0)
        assert out.whole(fd, number, 0)
    assert not out.room(0)


@pytest.mark.parametrize(
    ("content", "level", "deflated"),
    [
        (b"x" * (WORTH + 1), 1, True),
        (b"x" * (WORTH + 1), 0, False),
        (b"x" * WORTH, 1, False),
        (os.urandom(WORTH + 1), 1, False),
    ],
    ids=["worth it", "not asked for", "too short", "no smaller"],
)
def test_a_frame_is_deflated_where_that_is_worth_it(files: Files, content: bytes, level: int, deflated: bool) -> None:
    out = Bundle(1)
    assert out.whole(files.of(content), 1, len(content))
    frame = out.frame(level)
    assert (frame.deflated, bytes(inflate(frame))) == (deflated, content)
