"""The deep proof reads what stands on the disks: a folder that can't be read is told, and the others are compared."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.agent.beneath import Root
from orchestrator.agent.digests import deep
from tests.support import pairs


def _gone(folder: Path) -> None:
    shutil.rmtree(folder / "cur")


def _link(folder: Path) -> None:
    (folder / "cur").rename(folder.parent / "elsewhere")
    (folder / "cur").symlink_to(folder.parent / "elsewhere")


def _file(folder: Path) -> None:
    shutil.rmtree(folder / "new")
    (folder / "new").write_text("no directory\n")


@pytest.fixture
def box(laid: pairs.Laid) -> pairs.Mailbox:
    made = pairs.Mailbox(laid.source / "ex.org/ann")
    for name in ("Sent", "Archive"):
        made.create(name)
    for name in ("INBOX", "Sent", "Archive"):
        for number in range(3):
            placed = made.folder(name).deliver(b"%d\n" % number)
            if number:
                made.folder(name).flag(placed.base, "S")
    laid.sync()
    return made


@pytest.mark.issue("2.6 verify --deep: a folder that can't be read is told, the others are compared")
@pytest.mark.parametrize("harm", [_gone, _link, _file], ids=lambda harm: harm.__name__.strip("_"))
def test_a_folder_of_the_mirror_that_cant_be_read_differs_and_the_others_are_compared(
    laid: pairs.Laid, box: pairs.Mailbox, harm: Callable[[Path], None]
) -> None:
    harm(laid.mirror / "ex.org/ann/.Sent")
    other = next(path for path in (laid.mirror / "ex.org/ann/.Archive/cur").iterdir())
    facts = other.stat()
    other.write_bytes(b"x\n")
    os.utime(other, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    report = laid.verify(deep=True)
    told = {difference.folder: difference.what for difference in report.differences if "missing" not in difference.what}
    assert not report.equal
    assert told["ex.org/ann/.Sent"].startswith("can't be read on the passive place: ")
    assert told["ex.org/ann/.Archive"].endswith("content, size or time differs")
    assert "ex.org/ann" not in told


@pytest.mark.parametrize("harm", [_gone, _link, _file], ids=lambda harm: harm.__name__.strip("_"))
def test_what_cant_be_read_on_either_place_is_never_equal(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    (tmp_path / "ann/.Sent/cur").mkdir(parents=True)
    (tmp_path / "ann/.Sent/new").mkdir()
    harm(tmp_path / "ann/.Sent")
    with Root(str(tmp_path)) as root:
        one, other = (deep(root, b"ann/.Sent", b"ann", True, True) for _ in range(2))
    assert one.digest != other.digest
    assert [base[:1] for base, *_ in one.names] == [b"/"]


def test_a_folder_of_the_source_that_cant_be_read_is_told_too(laid: pairs.Laid, box: pairs.Mailbox) -> None:
    here = laid.source / "ex.org/ann/.Sent"
    _link(here)
    report = laid.verify(deep=True)
    told = [difference.what for difference in report.differences if difference.folder == "ex.org/ann/.Sent"]
    assert any(what.startswith("can't be read on the active: ") for what in told), told
