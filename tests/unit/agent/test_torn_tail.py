"""What a power cut leaves of an append to a uidlist is cut off before anybody can append to it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.agent.beneath import Root
from orchestrator.agent.install import Installer, SidecarRow, cut_torn_tail
from orchestrator.agent.ledger import Ledger, Place
from orchestrator.agent.names import UIDLIST

HEAD = b"3 V1700000000 N4 G00000000000000000000000000000001\n"
PLACE = Place((1, 1, b"ann", b"ann", 1, 0o700, 0, 0, 0, 0, 0, 1))


@pytest.mark.parametrize(
    ("content", "left"),
    [
        (HEAD + b"1 :a\n2 :b\n", HEAD + b"1 :a\n2 :b\n"),
        (HEAD + b"1 :a\n2 :b\n3 :17000", HEAD + b"1 :a\n2 :b\n"),
        (HEAD + b"3", HEAD),
        (b"3 V17", b"3 V17"),  # no line at all: not ours to mend, parsing refuses it
        (b"", b""),
    ],
)
def test_a_torn_last_row_is_cut_and_nothing_else(tmp_path: Path, content: bytes, left: bytes) -> None:
    (tmp_path / "ann").mkdir()
    path = tmp_path / "ann" / UIDLIST.decode()
    path.write_bytes(content)
    with Root(str(tmp_path)) as root:
        assert cut_torn_tail(root, PLACE) == (content != left)
    assert path.read_bytes() == left


def test_a_folder_without_a_uidlist_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "ann").mkdir()
    with Root(str(tmp_path)) as root:
        assert not cut_torn_tail(root, PLACE)


@contextmanager
def closing_ledger(directory: Path) -> Iterator[Ledger]:
    ledger = Ledger(str(directory / "sink.sqlite"))
    yield ledger
    ledger.close(clean=True)


def test_rows_are_appended_whole_also_where_the_disk_takes_them_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ann").mkdir()
    path = tmp_path / "ann" / UIDLIST.decode()
    path.write_bytes(HEAD + b"1 :a\n2 :torn")
    row = SidecarRow(1, UIDLIST, None, 0, 0, 0o600, 0, 0, 0, 0, None, None)
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data)[:3]))
    with Root(str(tmp_path)) as root, closing_ledger(tmp_path) as ledger:
        Installer(root, ledger, b"", lambda _fd, _row: None).write_append(
            PLACE, row, len(HEAD) + 5, b"2 :b\n3 :c\n", True
        )
    assert path.read_bytes() == HEAD + b"1 :a\n2 :b\n3 :c\n"
