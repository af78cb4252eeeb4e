"""The lines by which two places prove that they are equal."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

from orchestrator.agent.beneath import Root
from orchestrator.agent.digests import deep, from_names, lines


@dataclass
class Known:
    path: bytes
    account: bytes = b"ann"
    maildir: bool = True
    messages: int = 1
    digest: int = 5


class Card(NamedTuple):
    name: bytes
    size: int
    crc: int


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for sub in ("new", "cur"):
        (tmp_path / "ann" / sub).mkdir(parents=True)
    (tmp_path / "ann/new/1.host").write_bytes(b"one")
    (tmp_path / "ann/cur/2.host:2,S").write_bytes(b"two")
    (tmp_path / "ann/dovecot-uidlist").write_bytes(b"3 V5 N3\n1 :1.host\n2 :2.host\n")
    return tmp_path


def line(root: Path) -> tuple[int, int]:
    with Root(str(root)) as opened:
        found = deep(opened, b"ann", b"ann", True, False)
    return found.messages, found.digest


def test_lines_of_an_index_are_sorted_and_carry_their_sidecars() -> None:
    uidlist, keywords = Card(b"dovecot-uidlist", 10, 1), Card(b"dovecot-keywords", 3, 2)
    a, b = lines([(2, Known(b"b")), (1, Known(b"a"))], [(1, uidlist), (1, keywords)])
    assert (a.path, b.path) == (b"a", b"b")
    assert a.sidecars and not b.sidecars
    (again,) = lines([(9, Known(b"a"))], [(9, keywords), (9, uidlist)])
    assert again.sidecars == a.sidecars, "neither order nor numbers count"


def test_a_folder_that_lost_its_path_has_no_line() -> None:
    assert lines([(1, Known(b"a\0001"))], []) == []


def test_a_line_from_the_disk_counts_every_message(root: Path) -> None:
    assert line(root)[0] == 2


@pytest.mark.parametrize(
    "act",
    [
        lambda path: (path / "new/1.host").write_bytes(b"eno"),
        lambda path: (path / "new/1.host").rename(path / "cur/1.host"),
        lambda path: (path / "cur/2.host:2,S").rename(path / "cur/2.host:2,"),
        lambda path: os.utime(path / "new/1.host", ns=(0, 12345)),
        lambda path: (path / "new/1.host").unlink(),
        lambda path: (path / "dovecot-uidlist").write_bytes(b"3 V5 N3\n1 :1.host\n3 :2.host\n"),
        lambda path: (path / "dovecot-uidlist").write_bytes(b"3 V6 N3\n1 :1.host\n2 :2.host\n"),
        lambda path: (path / "dovecot-uidlist").write_bytes(b"3 V5 N3\n1 :1.host\n2 :2.host\ntorn, and no row\n"),
    ],
    ids=["content", "new to cur", "flags", "time", "gone", "UID", "UIDVALIDITY", "damaged uidlist"],
)
def test_every_difference_shows_in_the_digest(root: Path, act: object) -> None:
    before = line(root)
    act(root / "ann")  # type: ignore[operator]
    assert line(root)[1] != before[1]


@pytest.mark.parametrize("head", [b"3 V5 N2097152 G" + b"0a" * 16, b"3 V5 N9"])
def test_the_next_uid_is_no_difference(root: Path, head: bytes) -> None:
    before = line(root)
    (root / "ann/dovecot-uidlist").write_bytes(head + b"\n1 :1.host\n2 :2.host\n7 :gone.host\n")
    assert line(root) == before, "a passive place's is raised, and a row without its file names nothing"


def test_an_unreadable_message_is_told_as_such(root: Path) -> None:
    with Root(str(root)) as opened:
        (root / "ann/cur/3.host").symlink_to("2.host:2,S")
        found = deep(opened, b"ann", b"ann", True, True)
    assert [base for base, *_ in found.names] == [b"1.host", b"2.host"], "a link is no message"


def test_the_order_of_names_doesnt_count() -> None:
    rows = [(b"a", 0, b"", "", "x"), (b"b", 1, b":2,S", "5:1", "y")]
    assert from_names(rows) == from_names(rows[::-1])
    assert from_names(rows)[0] == 2
    assert from_names(rows) != from_names([(b"a", 0, b"", "", "x"), (b"b", 1, b":2,", "5:1", "y")])
