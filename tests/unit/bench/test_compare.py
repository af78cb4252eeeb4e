"""The comparer overlooks nothing that counts, and forgives only what it says."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.compare import Comparer
from tests.unit.bench.conftest import Made

pytestmark = pytest.mark.issue("2.8 make bench: equality")


@pytest.fixture
def copy(made: Made, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.root, tmp_path / "copy", copy_function=shutil.copy2))


def first(root: Path, pattern: str) -> Path:
    return sorted(root.glob(pattern))[0]


def test_a_true_copy_is_equal_again_and_again(made: Made, copy: Path) -> None:
    comparer = Comparer(made.root, copy)
    assert comparer.differences() == []
    assert comparer.differences() == []


def corrupt(copy: Path) -> None:
    path = first(copy, "**/cur/*")
    times = path.stat()
    path.write_bytes(b"?" + path.read_bytes()[1:])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def reflag(copy: Path) -> None:
    path = first(copy, "**/cur/*")
    path.rename(path.with_name(path.name + "T"))


def redate(copy: Path) -> None:
    path = first(copy, "**/cur/*")
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


def duplicate(copy: Path) -> None:
    path = first(copy, "**/cur/*")
    shutil.copy2(path, path.parent.parent / "new" / path.name.partition(":")[0])


def renumber(copy: Path) -> None:
    path = first(copy, "**/dovecot-uidlist")
    path.write_bytes(path.read_bytes().replace(b"\n1 :", b"\n1 ::"))


def forget(copy: Path) -> None:
    first(copy, "**/dovecot-keywords").unlink()


def leave_a_folder(copy: Path) -> None:
    (first(copy, "**/Maildir") / ".Gone/cur").mkdir(parents=True)


def drop(copy: Path) -> None:
    first(copy, "**/cur/*").unlink()


HARMS = [corrupt, reflag, redate, duplicate, renumber, forget, leave_a_folder, drop]


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
@pytest.mark.parametrize("compared_before", [False, True])
def test_every_harm_is_found(made: Made, copy: Path, harm: Callable[[Path], None], compared_before: bool) -> None:
    comparer = Comparer(made.root, copy, raised=True)
    if compared_before:
        assert comparer.differences() == []
    harm(copy)
    assert comparer.differences()


def test_a_raised_next_uid_is_forgiven_only_where_that_was_asked_for(made: Made, copy: Path) -> None:
    path = first(copy, "**/dovecot-uidlist")
    head, _, rows = path.read_bytes().partition(b"\n")
    words = [b"N2097152" if word.startswith(b"N") else word for word in head.split(b" ")]
    path.write_bytes(b" ".join(words) + b"\n" + rows)
    assert Comparer(made.root, copy, raised=True).differences() == []
    assert Comparer(made.root, copy).differences()
    path.write_bytes(b" ".join(b"N1" if word.startswith(b"N") else word for word in words) + b"\n" + rows)
    assert Comparer(made.root, copy, raised=True).differences()


def test_raised_uidvalidity_counters_are_forgiven_and_lower_ones_are_not(made: Made, copy: Path) -> None:
    counter = first(copy, "**/dovecot-uidvalidity")
    marker = first(copy, "**/dovecot-uidvalidity.*")
    value = int(counter.read_text(), 16)
    counter.write_text(f"{value + 4096:08x}")
    marker = marker.rename(marker.with_suffix(f".{value + 4096:08x}"))
    assert Comparer(made.root, copy, raised=True).differences() == []
    assert Comparer(made.root, copy).differences()
    counter.write_text(f"{value - 1:08x}")
    assert Comparer(made.root, copy, raised=True).differences()
    counter.write_text(f"{value:08x}")
    marker.rename(marker.with_suffix(f".{value - 1:08x}"))
    assert Comparer(made.root, copy, raised=True).differences()


def test_a_peer_that_keeps_whole_seconds_is_compared_by_whole_seconds(made: Made, copy: Path) -> None:
    for path in copy.glob("**/cur/*"):
        os.utime(path, ns=(0, path.stat().st_mtime_ns // 1_000_000_000 * 1_000_000_000))
    assert Comparer(made.root, copy, mtime_unit=1_000_000_000).differences() == []
    assert Comparer(made.root, copy).differences()


def test_what_belongs_to_nobody_s_mail_is_left_out(made: Made, copy: Path) -> None:
    (copy / ".mailmirror").mkdir()
    (copy / ".mailmirror/store.json").write_text("{}")
    (first(copy, "**/tmp") / "half").write_text("half")
    assert Comparer(made.root, copy).differences() == []
