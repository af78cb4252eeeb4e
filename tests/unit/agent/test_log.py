"""The change log: what a cursor lacks, in the order in which it may be applied."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.agent.log import MESSAGE, SIDECAR, FolderRow, Log, Placement, Removal, Sidecar


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    made = Log(str(tmp_path / "log.sqlite"))
    yield made
    made.close()


def placed(log: Log, base: bytes, fid: int = 1, inode: int = 9, info: bytes = b"") -> Placement:
    row = Placement(fid, base, 1, info, inode, 10, 20, 0o600, 0, 0, None, log.tick())
    log.put_placements([row], fresh=True)
    return row


def removed(log: Log, base: bytes, what: int = MESSAGE) -> Removal:
    row = Removal(log.tick(), 1, what, base, 0, 0, b"ann")
    log.put_removals([row])
    return row


@pytest.mark.issue("2.5 change log")
def test_a_cursor_lacks_what_changed_after_it_once_and_in_order(log: Log) -> None:
    first, second = placed(log, b"a"), placed(log, b"b")
    log.rename_placements([(1, b":2,S", 50, log.tick(), 1, b"a")])
    assert [row.base for row in log.placements_after(0, 10)] == [b"b", b"a"]
    assert [row.info for row in log.placements_after(second.seq, 10)] == [b":2,S"]
    assert log.placements_after(0, 1) == [second]
    assert first.seq < second.seq < log.head


def test_what_was_committed_is_there_for_the_next_agent(tmp_path: Path) -> None:
    log = Log(str(tmp_path / "log.sqlite"))
    row = placed(log, b"\xff\n")
    fid = log.new_fid()
    identity, head = log.id, log.head
    log.close()
    log = Log(str(tmp_path / "log.sqlite"))
    assert (log.id, log.head) == (identity, head)
    assert log.placements_after(0, 10) == [row]
    assert log.new_fid() == fid + 1, "a folder's number is never given out twice"
    log.close()


def test_another_index_has_another_id(tmp_path: Path) -> None:
    one, two = Log(str(tmp_path / "1.sqlite")), Log(str(tmp_path / "2.sqlite"))
    assert one.id != two.id
    one.close()
    two.close()


def test_what_comes_back_voids_its_removal(log: Log) -> None:
    removed(log, b"a")
    kept = removed(log, b"b")
    placed(log, b"a")
    assert log.removals_after(0, 10) == [kept]
    removed(log, b"keywords", SIDECAR)
    log.put_sidecar(Sidecar(1, b"keywords", "1 1 1", None, 1, 1, 0o600, 0, 0, 0, 7, 0, None, None, None, log.tick()))
    assert log.removals_after(0, 10) == [kept]


def test_a_twin_is_the_same_file_in_another_folder(log: Log) -> None:
    placed(log, b"a", fid=1, inode=5)
    placed(log, b"b", fid=2, inode=6)
    assert log.twins([1], {b"a": 5}) == {b"a": 1}
    assert log.twins([1, 2], {b"a": 6, b"b": 6, b"c": 5}) == {b"b": 2}, "the same name and the same file"
    assert log.twins([2], {b"a": 5}) == {}, "only among the folders that are named"
    assert log.twins([], {b"a": 5}) == {}


def test_pending_counts_what_a_cursor_lacks_and_since_when(log: Log) -> None:
    assert log.pending(0, 0) == (0, None)
    row = placed(log, b"a")
    log.commit()
    removed(log, b"b")
    log.commit()
    count, since = log.pending(0, 0)
    assert count == 2 and since is not None
    later = log.pending(row.seq, 0)
    assert later[0] == 1 and later[1] is not None and later[1] >= since
    assert log.pending(log.head, log.head) == (0, None)


def test_forgotten_removals_raise_the_horizon(log: Log) -> None:
    rows = [removed(log, b"%d" % number) for number in range(10)]
    log.prune(keep=4)
    assert log.removals_after(0, 100) == rows[6:]
    assert log.meta.get("horizon") == rows[5].seq
    log.prune(keep=4)
    assert log.meta.get("horizon") == rows[5].seq


def test_a_dropped_folder_takes_all_its_rows_along(log: Log) -> None:
    log.put_folder(FolderRow(1, b"ann", b"ann/.Sent", 1, 5, 0o700, 0, 0, "0 0 0", "0 0 0", "0 0 0", 3, 1, log.tick()))
    placed(log, b"a")
    log.drop_folder(1)
    assert (log.folders(), log.placements_after(0, 10), log.sidecars(1)) == ([], [], {})


def test_a_digest_with_its_highest_bit_set_comes_back(log: Log) -> None:
    row = FolderRow(1, b"", b"", 0, 1, 0, 0, 0, "0 0 0", "0 0 0", "0 0 0", (1 << 64) - 2, 0, 1)
    log.put_folder(row)
    assert log.folders() == [row]


def test_what_couldnt_be_read_is_remembered_once(log: Log) -> None:
    log.put_later(1, b"a", False)
    log.put_later(1, b"a", False)
    assert log.take_later() == [(1, b"a", False)]
    assert log.take_later() == []
