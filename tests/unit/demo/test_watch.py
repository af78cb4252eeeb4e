"""The demo's own eyes: they see a difference wherever there is one, and measure lag by one clock."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from orchestrator.demo import watch
from orchestrator.demo.mailbox import FOLDERS, INBOX, Account
from orchestrator.demo.watch import Delivery
from orchestrator.errors import StillRunning


@pytest.fixture
def stores(tmp_path: Path) -> tuple[Path, Path]:
    here, there = tmp_path / "here", tmp_path / "there"
    account = Account(here / "example.org" / "anna")
    for name in FOLDERS:
        account.create(name).deliver(f"in {name}\n".encode())
    (here / ".mailmirror" / "quarantine" / "cur").mkdir(parents=True)
    there.mkdir()
    shutil.copytree(here, there, dirs_exist_ok=True)
    return here, there


def test_a_copy_is_equal_whatever_stands_in_the_products_own_directory(stores: tuple[Path, Path]) -> None:
    here, there = stores
    shutil.rmtree(there / ".mailmirror")
    assert watch.differences(watch.tree(here, deep=True), watch.tree(there, deep=True)) == []
    assert watch.until_equal(here, there, 1.0) < 1.0


@pytest.mark.parametrize("harm", ["content", "flag", "uid", "missing", "extra", "folder", "new folder"])
def test_each_kind_of_difference_is_seen(stores: tuple[Path, Path], harm: str) -> None:
    here, there = stores
    anna = Account(there / "example.org" / "anna")
    inbox = anna.folder(INBOX)
    (base, path), = inbox.messages().items()  # fmt: skip
    match harm:
        case "content":
            path.write_bytes(b"another text")
        case "flag":
            inbox.flag(base, "S")
        case "uid":
            listing = inbox.path / "dovecot-uidlist"
            listing.write_bytes(listing.read_bytes().replace(b"\n1 :", b"\n2 :"))
        case "missing":
            path.unlink()
        case "extra":
            inbox.deliver(b"too much")
        case "folder":
            shutil.rmtree(anna.folder("Sent").path)
        case _:
            anna.create("Odd")
    assert watch.differences(watch.tree(here, deep=True), watch.tree(there, deep=True))


def test_waiting_for_what_never_comes_ends_with_what_is_missing(stores: tuple[Path, Path]) -> None:
    here, there = stores
    Account(here / "example.org" / "anna").folder(INBOX).deliver(b"x")
    with pytest.raises(StillRunning, match="is missing"):
        watch.until_equal(here, there, 0.05)
    with pytest.raises(StillRunning, match="1 of 1"):
        watch.lags([Delivery("", "", "example.org/anna", "nothing", 0)], there, 0.05)


def test_lag_is_from_the_rename_here_to_the_rename_there(stores: tuple[Path, Path]) -> None:
    here, there = stores
    placed = Account(here / "example.org" / "anna").folder(INBOX).deliver(b"x")
    base = placed.base.decode()
    delivery = Delivery("", "", "example.org/anna", base, placed.ctime_ns)
    late = there / "example.org" / "anna" / "cur" / f"{base}:2,S"
    timer = threading.Timer(0.2, lambda: late.write_bytes(b"x"))
    timer.start()
    (lag,) = watch.lags([delivery], there, 10.0)
    timer.join()
    assert 0.19 <= lag < 5
