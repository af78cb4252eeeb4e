"""What was deleted comes back, also when its folder is gone, renamed or made anew, and never over a stranger."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import time
from pathlib import Path

import pytest

from orchestrator.demo import uidlist
from orchestrator.demo.mailbox import INBOX
from orchestrator.replication.report import Selection, UndeleteReport
from tests.support import pairs

ANN = "ex.org/ann"


@pytest.fixture
def box(laid: pairs.Laid) -> pairs.Mailbox:
    """An account with four messages in each of three folders, copied."""
    made = pairs.Mailbox(laid.source / ANN)
    for name in ("Sent", "Plans"):
        made.create(name)
    for name in (INBOX, "Sent", "Plans"):
        for number in range(4):
            placed = made.folder(name).deliver(b"%s %d\n" % (name.encode(), number))
            made.folder(name).flag(placed.base, "FS")
    laid.sync()
    return made


def brought_back(laid: pairs.Laid, account: str = "", pattern: str = "") -> UndeleteReport:
    (report,) = laid.session.undelete(Selection(account=account, pattern=pattern))
    return report


def problems(laid: pairs.Laid) -> str:
    return "\n".join(laid.session.status().passives[0].problems)


def uidrows(laid: pairs.Laid) -> int:
    """How many rows of uidlists the ledger keeps. It ends the conversations: an agent has its ledger to itself."""
    laid.end()
    [path] = laid.state(pairs.SINKS[0]).rglob("sink.sqlite")
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as ledger:
        return int(ledger.execute("SELECT count(*) FROM uidrow").fetchone()[0])


@pytest.mark.issue("2.5 quarantine: what is remembered of it goes with it")
def test_rows_of_moved_and_expired_messages_are_forgotten_and_those_in_quarantine_kept(
    laid: pairs.Laid, box: pairs.Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox, sent = box.folder(INBOX), box.folder("Sent")
    there = laid.mirror / ANN
    moved, expunged = sorted(inbox.messages())[:2], sorted(inbox.messages())[2:]
    before = uidlist.read(there).rows
    inbox.move(moved, sent)
    inbox.expunge(expunged)
    more = [inbox.deliver(b"%d\n" % number).base for number in range(8)]
    laid.sync()
    inbox.expunge(more[:6])  # enough for the list to be written anew
    laid.sync()
    assert uidrows(laid) == 4
    assert not set(uidlist.read(there).rows.values()) & {*moved, *expunged}, "the rows have left the list"
    laid.sync()  # a conversation looks for what has expired as it begins
    assert uidrows(laid) == 2, "of the two that stand in quarantine"
    assert brought_back(laid, account=ANN).restored == 2 + 6
    now = uidlist.read(there).rows
    assert {uid for uid, base in now.items() if base in expunged} == {uid for uid, b in before.items() if b in expunged}
    (waiting,) = laid.session.status().passives[0].waiting
    laid.session.release(waiting.id)
    laid.end()
    later = time.time() + 8 * 86400
    monkeypatch.setattr(time, "time", lambda: later)
    laid.sync()
    assert uidrows(laid) == 0


@pytest.mark.issue("2.5 quarantine: kept for mm_undelete, 7 days, and gone after it, folders with what is in them too")
def test_what_is_deleted_is_kept_for_its_time_and_no_longer(
    laid: pairs.Laid, box: pairs.Mailbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, outside = laid.mirror / ".mailmirror/quarantine", tmp_path / "outside"
    outside.write_text("nobody's business")
    box.folder(INBOX).expunge(sorted(box.folder(INBOX).messages())[:1])
    (laid.mirror / ANN / ".Plans/cur/.link").symlink_to(outside)
    (laid.mirror / ANN / ".Plans/made-here").mkdir()
    box.delete("Plans")
    laid.sync()
    began, names = time.time(), {path.name for path in kept.rglob("*")}
    assert len(names) > 5 and any("Plans" in name for name in names) and any("link" in name for name in names), names

    def a_pass_after(days: float) -> set[str]:
        laid.end()
        monkeypatch.setattr(time, "time", lambda: began + days * 86400)
        laid.sync()
        return {path.name for path in kept.rglob("*")}

    assert a_pass_after(6.9) == names
    assert a_pass_after(7.1) == set()
    assert outside.read_text() == "nobody's business"


@pytest.mark.issue("2.5 undelete: a whole folder comes back, with its flags and UIDs")
def test_a_whole_folder_comes_back_as_it_was(laid: pairs.Laid, box: pairs.Mailbox) -> None:
    there = laid.mirror / ANN / ".Plans"
    before, rows = pairs.snapshot(there), uidlist.read(there)
    box.delete("Plans")
    assert laid.sync().tally.deleted == 4
    assert not there.exists()
    report = brought_back(laid, pattern=f"{ANN}/.Plans/*")
    assert (report.chosen, report.restored) == (4, 4)
    assert pairs.snapshot(there) == before
    assert uidlist.read(there) == rows
    assert laid.verify().equal, "what was brought back waits, and counts as no difference"
    laid.sync()
    laid.open()
    laid.sync()
    assert pairs.snapshot(there) == before, "it stays until an operator lets it go"
    (waiting,) = laid.session.status().passives[0].waiting
    laid.session.release(waiting.id)
    assert not there.exists()
    pairs.equal(laid)


@pytest.mark.issue("2.5 undelete: the folder has gone since")
def test_a_message_comes_back_whose_folder_has_gone_since(laid: pairs.Laid, box: pairs.Mailbox) -> None:
    first = sorted(box.folder("Plans").messages())[0]
    box.folder("Plans").expunge([first])
    laid.sync()
    box.delete("Plans")
    laid.sync()
    report = brought_back(laid, pattern=f"*/{first.decode()}*")
    assert (report.chosen, report.restored) == (1, 1)
    there = laid.mirror / ANN / ".Plans/cur"
    assert [path.name.split(":")[0].encode() for path in there.iterdir()] == [first]
    assert laid.verify().equal


@pytest.mark.issue("2.5 undelete: the account has gone since")
def test_a_whole_account_comes_back(laid: pairs.Laid, box: pairs.Mailbox) -> None:
    other = pairs.Mailbox(laid.source / "ex.org/bob")
    other.folder(INBOX).deliver(b"bob\n")
    laid.sync()
    before = pairs.messages(laid.mirror / ANN)
    shutil.rmtree(laid.source / ANN)
    laid.sync()
    assert laid.session.retire(ANN) == 12
    assert not (laid.mirror / ANN).exists()
    assert brought_back(laid, account=ANN).restored == 12
    assert pairs.messages(laid.mirror / ANN) == before
    assert laid.verify().equal


@pytest.mark.issue("2.5 undelete: not even the folder stands in quarantine any more")
def test_a_folder_that_is_gone_for_good_is_made_anew(laid: pairs.Laid, box: pairs.Mailbox) -> None:
    box.delete("Plans")
    laid.sync()
    (kept,) = (laid.mirror / ".mailmirror/quarantine").glob("*/*.Plans")
    shutil.rmtree(kept)
    assert brought_back(laid, account=ANN).restored == 4
    assert len(list((laid.mirror / ANN / ".Plans/cur").iterdir())) == 4
    assert laid.verify().equal


@pytest.mark.issue("2.5 undelete: the folder was renamed since")
def test_a_message_comes_back_to_where_its_folder_is_by_now(laid: pairs.Laid, box: pairs.Mailbox) -> None:
    first = sorted(box.folder("Plans").messages())[0]
    box.folder("Plans").expunge([first])
    laid.sync()
    box.rename("Plans", "Past")
    laid.sync()
    assert brought_back(laid, account=ANN).restored == 1
    assert len(list((laid.mirror / ANN / ".Past/cur").iterdir())) == 4
    assert not (laid.mirror / ANN / ".Plans").exists()
    assert laid.verify().equal


@pytest.mark.issue("2.5 undelete: the folder was made again on the active")
def test_a_folder_that_is_made_again_takes_what_was_brought_back(laid: pairs.Laid, box: pairs.Mailbox) -> None:
    box.delete("Plans")
    laid.sync()
    assert brought_back(laid, account=ANN).restored == 4
    box.create("Plans")
    box.folder("Plans").deliver(b"new\n")
    laid.sync()
    assert laid.verify().equal
    (waiting,) = laid.session.status().passives[0].waiting
    laid.session.release(waiting.id)
    pairs.equal(laid)


@pytest.mark.issue("2.5 undelete never replaces what stands there")
@pytest.mark.parametrize("part", ["cur", "new"])
def test_a_stranger_under_the_same_name_stays_and_so_does_what_is_kept(
    laid: pairs.Laid, box: pairs.Mailbox, part: str
) -> None:
    gone = sorted(box.folder("Sent").messages())[:2]
    box.folder("Sent").expunge(gone)
    laid.sync()
    stranger = laid.mirror / ANN / ".Sent" / part / (gone[0].decode() + (":2,FS" if part == "cur" else ""))
    stranger.write_bytes(b"planted\n")
    report = brought_back(laid, account=ANN)
    assert (report.chosen, report.restored) == (2, 1), "the other one comes back"
    assert stranger.read_bytes() == b"planted\n"
    assert "stays in quarantine" in problems(laid)
    assert list((laid.mirror / ".mailmirror/quarantine").glob(f"*/*{gone[0].decode()}*")), "it isn't lost"
    stranger.unlink()
    assert brought_back(laid, account=ANN).restored == 1, "and comes when the name is free"
    assert laid.verify().equal


@pytest.mark.issue("2.5 undelete never replaces what stands there")
def test_a_strangers_directory_in_place_of_the_folder_stays(laid: pairs.Laid, box: pairs.Mailbox) -> None:
    box.delete("Plans")
    laid.sync()
    here = laid.mirror / ANN / ".Plans"
    here.mkdir()
    (here / "note").write_text("mine\n")
    assert brought_back(laid, account=ANN).restored == 0
    assert (here / "note").read_text() == "mine\n"
    assert "nobody knows" in problems(laid)
    shutil.rmtree(here)
    assert brought_back(laid, account=ANN).restored == 4


def test_what_came_back_survives_the_end_of_its_time_in_quarantine(laid: pairs.Laid, box: pairs.Mailbox) -> None:
    gone = sorted(box.folder("Sent").messages())
    box.folder("Sent").expunge(gone)
    laid.sync()
    assert brought_back(laid, account=ANN).restored == 4
    with_uids = uidlist.read(laid.mirror / ANN / ".Sent").rows
    assert set(gone) <= set(with_uids.values()), "with its UID"
    kept = [path for path in (laid.mirror / ".mailmirror/quarantine").rglob("*") if path.is_file()]
    assert kept == []


def test_a_missing_uidlist_hinders_no_message(laid: pairs.Laid, box: pairs.Mailbox) -> None:
    gone = sorted(box.folder("Sent").messages())[:3]
    box.folder("Sent").expunge(gone)
    laid.sync()
    box.folder("Sent").deliver(b"a rewrite follows\n")
    uidlist.tidy(box.folder("Sent").path, box.folder("Sent").messages().keys())
    laid.sync()
    Path(laid.mirror / ANN / ".Sent/dovecot-uidlist").unlink()
    assert brought_back(laid, account=ANN).restored == 3
