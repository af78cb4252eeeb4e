"""Very many accounts, or messages, that do something at the same time: no answer grows beyond what a frame takes."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.inventory.model import DeleteBudget
from tests.support import pairs

ACCOUNTS = 2_500


def names(root: Path) -> list[Path]:
    return sorted(path for path in (root / "ex.org").iterdir())


@pytest.mark.issue("2.5 delete firewall with very many accounts at once")
def test_thousands_of_accounts_may_delete_and_wait_at_once(memory: Path) -> None:
    laid = pairs.Laid(memory, pairs.MEMORY, delete_budget=DeleteBudget(store_messages=ACCOUNTS + 10))
    for number in range(ACCOUNTS):
        cur = laid.source / "ex.org" / f"user.number.{number:05d}" / "cur"
        for part in ("new", "tmp"):
            (cur.parent / part).mkdir(parents=True)
        cur.mkdir()
        for message in range(2):
            (cur / f"17000000{message}.M{number}P1.host:2,S").write_bytes(b"Subject: %d\n\n" % number)
    laid.session.initialise()
    assert laid.sync().tally.messages == 2 * ACCOUNTS
    for account in names(laid.source):
        next((account / "cur").iterdir()).unlink()
    assert laid.sync().tally.deleted == ACCOUNTS
    # The store's budget is used up by now: what goes next waits, in every account.
    for account in names(laid.source):
        next((account / "cur").iterdir()).unlink()
    report = laid.sync()
    assert report.tally.deleted == 0
    assert sum(waiting.count for waiting in laid.session.status().passives[0].waiting) >= ACCOUNTS
    laid.end()


@pytest.mark.issue("2.5 resume: very many messages that the mirror lost in a crash come again")
@pytest.mark.parametrize("count", [3_000, 6_000])
def test_a_folder_of_thousands_that_vanished_in_a_crash_comes_again(memory: Path, count: int) -> None:
    laid = pairs.Laid(memory, pairs.MEMORY)
    pairs.Mailbox(laid.source / "ex.org/ann")
    cur = laid.source / "ex.org/ann/cur"
    for number in range(count):
        name = f"1700000000.M{number}P1Q{number}.a-host-with-a-long-name.example.org,S=7,W=8:2,S"
        (cur / name).write_bytes(b"body %d" % number)
    laid.session.initialise()
    laid.sync()
    laid.end()
    # As a crash leaves it: the folder had been touched. Then somebody emptied it.
    (ledger,) = laid.state("m").glob("*/sink.sqlite")
    with closing(sqlite3.connect(ledger)) as db, db:
        db.execute("INSERT INTO touched SELECT lid FROM folder")
    shutil.rmtree(laid.mirror / "ex.org/ann/cur")
    laid.sync()
    pairs.equal(laid)
    laid.end()
