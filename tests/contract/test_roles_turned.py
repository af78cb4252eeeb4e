"""Roles that move: a store is turned, replication runs the other way, and back; no mail is lost or doubled."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from orchestrator import errors
from orchestrator.agent import uidlist as strict
from orchestrator.demo import mailbox
from orchestrator.demo.mailbox import INBOX
from orchestrator.replication import orders
from orchestrator.replication.report import Selection
from orchestrator.replication.session import Session
from tests.support import pairs

PLACES = {"p": "primary", "m": "mirror"}


def order(laid: pairs.Laid, host: str, epoch: int, active: str, **other: Any) -> dict[str, Any]:
    """The request that makes `host` what it is while `active` is the active host."""
    role = "active" if host == active else "passive"
    store = laid.pair.hosts[host].stores[0].root
    return {"store": store, "operation": "op", "epoch": epoch, "role": role, "active": PLACES[active], **other}


def turn(laid: pairs.Laid, host: str, epoch: int, active: str, **other: Any) -> dict[str, Any]:
    laid.session  # noqa: B018 - opens the links
    return laid.links[host].request("store.turn", order(laid, host, epoch, active, **other), timeout=20).head


def move(laid: pairs.Laid, epoch: int, active: str) -> None:
    """Turn both places, with nobody in their stores; the old active first."""
    laid.session.let_go()
    for host in sorted(PLACES, key=lambda host: host == active):
        words: dict[str, Any] = {"operation": "op", "epoch": epoch, "active": PLACES[active]}
        assert orders.turn(laid.pair.hosts[host], laid.links[host], **words)
        assert not orders.turn(laid.pair.hosts[host], laid.links[host], **words)


class Standing(pairs.Mailbox):
    """The account as it stands."""

    def __init__(self, root: Path) -> None:
        mailbox.Account.__init__(self, root)
        self._fs = False


def box(laid: pairs.Laid, host: str) -> pairs.Mailbox:
    return Standing(laid.base / host / "0/ex.org/ann")


@pytest.fixture
def copied(laid: pairs.Laid) -> pairs.Laid:
    """A pair whose account has been copied: INBOX, Sent, a keyword, a sieve script."""
    ann = pairs.Mailbox(laid.source / "ex.org/ann")
    ann.create("Sent")
    for number in range(6):
        ann.folder(INBOX if number % 2 else "Sent").deliver(b"%d\n" % number)
    (ann.root / "dovecot-keywords").write_text("0 $Work\n")
    (ann.root / ".dovecot.sieve").write_text("keep;\n")
    laid.sync()
    pairs.equal(laid)
    return laid


def uids(root: Path) -> dict[bytes, int]:
    """Base name -> UID in the account's INBOX; the list is one that Dovecot takes as it is."""
    listed = strict.parse((root / "dovecot-uidlist").read_bytes())
    assert listed.usable
    return dict(zip(listed.bases, listed.uids, strict=True))


def contents(root: Path) -> list[bytes]:
    return sorted(facts[4] for facts in pairs.messages(root).values())


# --- there and back -------------------------------------------------------------------


def live(laid: pairs.Laid, host: str, words: bytes) -> None:
    """What users and senders do at the active: new mail, a flag, an expunge, a move, a folder, another script."""
    ann = box(laid, host)
    for number in range(3):
        ann.folder(INBOX).deliver(words + b"%d\n" % number)
    known = sorted(ann.folder(INBOX).messages())
    ann.folder(INBOX).flag(known[0], "S")
    ann.folder(INBOX).expunge([known[1]])
    ann.create(words.decode())
    ann.copy([known[2]], INBOX, words.decode())
    (ann.root / ".dovecot.sieve").write_bytes(b"keep; # " + words)


@pytest.mark.issue("5.2 roles move: replication follows them there and back, nothing lost, doubled or renumbered")
def test_roles_move_there_and_back(copied: pairs.Laid) -> None:
    laid = copied
    before = uids(laid.source / "ex.org/ann")
    move(laid, 2, "m")
    live(laid, "m", b"there")
    with_bodies = pairs.messages(laid.mirror)
    told = laid.session.sync()[0]
    assert told.host == "p"
    assert laid.session.status().active == "m"
    assert laid.session.status().epoch == 2
    pairs.equal(laid)
    assert pairs.messages(laid.source) == with_bodies
    assert (laid.source / "ex.org/ann/.dovecot.sieve").read_bytes() == b"keep; # there"
    here, there = uids(laid.source / "ex.org/ann"), uids(laid.mirror / "ex.org/ann")
    assert here == there
    assert {base: uid for base, uid in here.items() if base in before}.items() <= before.items()
    assert min(uid for base, uid in here.items() if base not in before) >= 1 << 20

    move(laid, 3, "p")
    live(laid, "p", b"back")
    laid.session.sync()
    assert laid.session.status().active == "p"
    pairs.equal(laid)
    again = uids(laid.source / "ex.org/ann")
    assert all(uid == again[base] for base, uid in here.items() if base in again)
    assert min(uid for base, uid in again.items() if base not in here) >= 2 << 20
    assert len(set(again.values())) == len(again)


def test_no_body_travels_that_stands_there_already(copied: pairs.Laid) -> None:
    move(copied, 2, "m")
    box(copied, "m").folder(INBOX).deliver(b"the only new one\n")
    [told] = copied.session.sync()
    assert (told.tally.messages, told.tally.deleted) == (1, 0)


def test_a_sidecar_that_was_removed_meanwhile_doesnt_come_back(copied: pairs.Laid) -> None:
    move(copied, 2, "m")
    (copied.mirror / "ex.org/ann/.dovecot.sieve").unlink()
    copied.session.sync()
    assert not (copied.source / "ex.org/ann/.dovecot.sieve").exists()
    move(copied, 3, "p")
    copied.session.sync()
    assert not (copied.mirror / "ex.org/ann/.dovecot.sieve").exists()
    pairs.equal(copied)


def test_indexes_of_a_place_that_is_seeded_again_go(copied: pairs.Laid) -> None:
    for name in ("dovecot.index", "dovecot.index.log", "dovecot.list.index"):
        (copied.source / "ex.org/ann" / name).write_bytes(b"stale")
    move(copied, 2, "m")
    copied.session.sync()
    assert not list((copied.source / "ex.org/ann").glob("dovecot*index*"))


def test_what_was_deleted_before_a_turn_can_be_brought_back_after_it(copied: pairs.Laid) -> None:
    ann = box(copied, "p")
    gone = sorted(ann.folder(INBOX).messages())[0]
    ann.folder(INBOX).expunge([gone])
    copied.sync()
    move(copied, 2, "m")
    copied.session.sync()
    move(copied, 3, "p")
    copied.session.sync()
    [told] = copied.session.undelete(Selection(account="ex.org/ann"))
    assert told.restored == 1


def test_what_only_the_old_active_had_is_kept_in_quarantine(copied: pairs.Laid) -> None:
    box(copied, "p").folder(INBOX).deliver(b"never replicated\n")
    move(copied, 2, "m")
    copied.session.sync()
    pairs.equal(copied)
    kept = [path for path in (copied.source / ".mailmirror/quarantine").rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in kept] == [b"never replicated\n"]


# --- turns that are refused, and turns again ------------------------------------------


def refused(laid: pairs.Laid, host: str, epoch: int, active: str, **other: Any) -> str:
    """The code of the refusal, after which the marker is what it was."""
    mark = laid.base / host / "0/.mailmirror/store.json"
    before = mark.read_bytes()
    with pytest.raises(errors.AgentFault) as refusal:
        turn(laid, host, epoch, active, **other)
    assert mark.read_bytes() == before
    return str(refusal.value.code)


def test_a_turn_that_was_made_is_made(copied: pairs.Laid) -> None:
    move(copied, 2, "m")
    mark = (copied.mirror / ".mailmirror/store.json").read_bytes()
    assert not turn(copied, "m", 2, "m")["made"]
    assert (copied.mirror / ".mailmirror/store.json").read_bytes() == mark


def test_refused_turns_change_nothing(copied: pairs.Laid) -> None:
    copied.session.let_go()
    assert refused(copied, "m", 1, "m") == "older-epoch"
    assert refused(copied, "m", 3, "m") == "wrong-epoch"
    assert refused(copied, "m", 2, "m", operation="") == "bad-request"
    assert refused(copied, "m", 2, "m", role="passive") == "bad-request"
    assert refused(copied, "m", 2, "m", role="both") == "bad-request"
    move(copied, 2, "m")
    assert refused(copied, "p", 1, "p") == "older-epoch"
    assert refused(copied, "p", 2, "p") == "older-epoch"


def test_a_store_that_is_open_isnt_turned(copied: pairs.Laid) -> None:
    assert refused(copied, "m", 2, "m") == "busy"
    assert refused(copied, "p", 2, "m") == "busy"
    mine, copied._session = copied.session, None
    links = dict(copied.links)
    try:
        for host in PLACES:  # in another conversation
            other = copied._converse(host, pairs.NONE)
            with pytest.raises(errors.AgentFault) as refusal:
                other.request("store.turn", order(copied, host, 2, "m"), timeout=20)
            assert refusal.value.code == "busy"
            other.close()
    finally:
        copied.links, copied._session = links, mine
    copied.sync()
    pairs.equal(copied)


def test_a_place_that_missed_an_epoch_may_become_passive_in_a_later_one(copied: pairs.Laid) -> None:
    copied.session.let_go()
    turn(copied, "m", 2, "m")
    turn(copied, "m", 3, "m")
    turn(copied, "p", 3, "m")
    box(copied, "m").folder(INBOX).deliver(b"of epoch 3\n")
    copied.session.sync()
    pairs.equal(copied)


# --- who is active --------------------------------------------------------------------


@pytest.mark.issue("5.3 when the old active returns after a failover nothing flows from it, nor to it")
def test_a_source_of_an_earlier_epoch_isnt_followed(copied: pairs.Laid) -> None:
    copied.session.let_go()
    turn(copied, "m", 2, "m")  # a failover; the primary comes back as it was
    box(copied, "p").folder(INBOX).deliver(b"of the past\n")
    before = pairs.messages(copied.source), pairs.messages(copied.mirror)
    with pytest.raises(errors.Refused, match=r"p is of epoch 1, and .* in epoch 2") as refused:
        copied.session.sync()
    assert "mailmirror rejoin pair" in refused.value.remedy
    assert copied.session.status().active == "m"
    assert (pairs.messages(copied.source), pairs.messages(copied.mirror)) == before


def test_two_active_places_of_one_epoch_are_split_brain(copied: pairs.Laid) -> None:
    copied.session.let_go()
    turn(copied, "m", 2, "m")
    turn(copied, "p", 2, "p")
    with pytest.raises(errors.Refused, match="Split brain: p and m"):
        copied.session.sync()


def test_between_two_turns_nothing_is_replicated(copied: pairs.Laid) -> None:
    copied.session.let_go()
    turn(copied, "p", 2, "m")
    with pytest.raises(errors.Refused, match="No place of pair is active in epoch 2"):
        copied.session.sync()
    turn(copied, "m", 2, "m")
    copied.session.sync()
    pairs.equal(copied)


def test_a_mirror_of_a_later_epoch_takes_nothing_from_an_older_source(copied: pairs.Laid) -> None:
    copied.session.let_go()
    turn(copied, "m", 2, "p")
    with pytest.raises(errors.Refused):
        copied.session.sync()
    source = {"index": "x", "horizon": 0, "head": 1, "epoch": 1, "generation": 99, "nonce": "n"}
    head = {"store": str(copied.mirror), "side": "sink", "source": source}
    with pytest.raises(errors.AgentFault, match="the source is of epoch 1, and this place of epoch 2"):
        copied.links["m"].request("store.open", head, timeout=20)


# --- the last pass --------------------------------------------------------------------


@pytest.mark.issue("5.2 the last pass proves equality for every account, or says what is lacking")
def test_the_last_pass_carries_the_rest_and_proves_it(copied: pairs.Laid) -> None:
    live(copied, "p", b"rest")
    told = copied.session.last_pass()
    assert (told.equal, told.lacking, told.active, told.epoch, told.accounts) == (True, [], "p", 1, 1)
    assert told.watermark is not None
    pairs.equal(copied)


def test_the_last_pass_removes_although_the_stopped_place_is_suspect(copied: pairs.Laid) -> None:
    ann = box(copied, "p")
    ann.folder(INBOX).expunge([sorted(ann.folder(INBOX).messages())[0]])
    session = Session(copied.pair, copied.links, suspect=lambda: True)
    copied.session.let_go()
    assert session.sync()[0].tally.deleted == 0
    assert session.last_pass().equal
    assert contents(copied.mirror) == contents(copied.source)


def test_the_last_pass_says_what_waits(copied: pairs.Laid) -> None:
    ann = box(copied, "p")
    for _ in range(300):
        ann.folder(INBOX).deliver(b"many\n")
    copied.sync()
    for each in ann.folder(INBOX).messages().values():
        os.unlink(each)
    told = copied.session.last_pass()
    assert not told.equal
    assert any("deletions of ex.org/ann wait" in each for each in told.lacking)


def test_the_log_of_an_earlier_time_as_the_source_isnt_used(copied: pairs.Laid) -> None:
    move(copied, 2, "m")
    copied.session.sync()
    shutil.rmtree(copied.mirror / "ex.org/ann/.Sent")
    copied.session.sync()
    move(copied, 3, "p")
    [told] = copied.session.sync()
    assert (told.tally.deleted, told.tally.waiting, told.tally.messages) == (0, 0, 0)
    assert copied.session.status().missing_accounts == []
