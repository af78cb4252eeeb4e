"""One sidecar looked at: what of it counts, and whether it was appended to."""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.agent import sidecar
from orchestrator.agent.log import Sidecar
from orchestrator.agent.sidecar import GONE, look, settled, signature

HEAD = b"3 V7 N3 G0123456789abcdef0123456789abcdef\n"
ROWS = b"1 :1.host\n2 :2.host\n"


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    made = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield made
    os.close(made)


def seen(fd: int, name: bytes, was: Sidecar | None = None) -> Sidecar:
    found = look(fd, name, was)
    assert isinstance(found, Sidecar), found
    return found._replace(sig=signature(fd, name))


def test_a_file_is_known_by_its_content(tmp_path: Path, fd: int) -> None:
    (tmp_path / "subscriptions").write_bytes(b"Sent\n")
    first = seen(fd, b"subscriptions")
    assert (first.size, first.crc, first.rewrites) == (5, zlib.crc32(b"Sent\n"), 0)
    os.utime(tmp_path / "subscriptions", ns=(5, 5))
    again = seen(fd, b"subscriptions", first)
    assert (again.rewrites, again.mtime) == (0, 5)
    (tmp_path / "subscriptions").write_bytes(b"Drafts\n")
    assert seen(fd, b"subscriptions", again).rewrites == 1


def test_an_appended_uidlist_is_told_from_a_rewritten_one(tmp_path: Path, fd: int) -> None:
    path = tmp_path / "dovecot-uidlist"
    path.write_bytes(HEAD + ROWS)
    first = seen(fd, b"dovecot-uidlist")
    with path.open("ab") as out:
        out.write(b"3 :3.host\n")
    second = seen(fd, b"dovecot-uidlist", first)
    assert (second.rewrites, second.last_uid, second.next_uid) == (0, 3, 4)
    assert second.crc == zlib.crc32(HEAD + ROWS + b"3 :3.host\n")
    (tmp_path / "new").write_bytes(HEAD.replace(b"N3", b"N4") + b"3 :3.host\n")
    (tmp_path / "new").rename(path)
    third = seen(fd, b"dovecot-uidlist", second)
    assert (third.rewrites, third.last_uid) == (1, 3)


@pytest.mark.issue("2.5 uidlist validation: a torn row waits")
def test_a_torn_last_row_doesnt_count_until_it_is_whole(tmp_path: Path, fd: int) -> None:
    path = tmp_path / "dovecot-uidlist"
    path.write_bytes(HEAD + ROWS)
    first = seen(fd, b"dovecot-uidlist")
    with path.open("ab") as out:
        out.write(b"3 :3.ho")
    torn = seen(fd, b"dovecot-uidlist", first)
    assert (torn.size, torn.last_uid) == (len(HEAD + ROWS), 2)
    with path.open("ab") as out:
        out.write(b"st\n")
    assert seen(fd, b"dovecot-uidlist", torn).last_uid == 3


@pytest.mark.parametrize(
    "data",
    [HEAD.replace(b"N3", b"N2") + b"1 :1.host\n", HEAD + b"garbage\n", b"", HEAD + b"2 :b\n1 :a\n"],
    ids=["a lower next UID", "garbage", "empty", "descending"],
)
def test_a_uidlist_that_would_renumber_is_a_sentence(tmp_path: Path, fd: int, data: bytes) -> None:
    (tmp_path / "dovecot-uidlist").write_bytes(HEAD + ROWS)
    first = seen(fd, b"dovecot-uidlist")
    (tmp_path / "new").write_bytes(data)
    (tmp_path / "new").rename(tmp_path / "dovecot-uidlist")
    why = look(fd, b"dovecot-uidlist", first)
    assert isinstance(why, str) and "refused" in why


@pytest.mark.issue("2.P hostile links")
@pytest.mark.parametrize("target", ["/etc/passwd", "../../x", "a/../../x"])
def test_a_link_that_leaves_its_folder_is_a_sentence(tmp_path: Path, fd: int, target: str) -> None:
    (tmp_path / ".dovecot.sieve").symlink_to(target)
    why = look(fd, b".dovecot.sieve", None)
    assert isinstance(why, str) and "outside" in why


def test_a_link_within_counts_as_its_text(tmp_path: Path, fd: int) -> None:
    (tmp_path / ".dovecot.sieve").symlink_to("sieve/x.sieve")
    assert seen(fd, b".dovecot.sieve").link == b"sieve/x.sieve"


def test_what_is_gone_is_none_and_what_is_odd_a_sentence(
    tmp_path: Path, fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert look(fd, b"gone", None) is None
    os.mkfifo(tmp_path / "fifo")
    assert isinstance(look(fd, b"fifo", None), str)
    (tmp_path / "large").write_bytes(b"12345")
    monkeypatch.setattr(sidecar, "MAX_SIZE", 4)
    why = look(fd, b"large", None)
    assert isinstance(why, str) and "not copied" in why


def test_an_append_shows_even_when_the_times_were_set_before_it(tmp_path: Path, fd: int) -> None:
    """The kernel sets a file's times, and then its content: who looked in between has them with the old content."""
    path = tmp_path / "dovecot-uidlist"
    path.write_bytes(HEAD)
    kept = os.stat(path)
    before = signature(fd, b"dovecot-uidlist")
    with path.open("ab") as out:
        out.write(ROWS)
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    after = signature(fd, b"dovecot-uidlist")
    assert before.split()[0] == after.split()[0] and before.split()[2:] != after.split()[2:]
    assert signature(fd, b"none") == GONE


@pytest.mark.parametrize(("age", "expected"), [(0, False), (15_000_000, False), (30_000_000, True)])
def test_a_file_that_has_just_changed_isnt_settled(age: int, expected: bool) -> None:
    changed = time.time_ns() - age
    assert settled(f"{changed} {changed} 8 77", 20_000_000) is expected


def test_a_counter_that_a_power_cut_emptied_doesnt_count(tmp_path: Path, fd: int) -> None:
    (tmp_path / "dovecot-uidvalidity").write_bytes(b"6b059ba7")
    good = seen(fd, b"dovecot-uidvalidity")
    (tmp_path / "dovecot-uidvalidity").write_bytes(b"")
    told = look(fd, b"dovecot-uidvalidity", good)
    assert isinstance(told, str) and "isn't a uidvalidity counter ('')" in told
