"""Dovecot's index caches carried by a switchover: all of them or none, and only what a stopped Dovecot left."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import AgentFault
from orchestrator.replication import indexes
from orchestrator.replication.indexes import Carrying
from tests.contract.test_roles_turned import PLACES, turn
from tests.support import pairs

SETS = ("dovecot.index", "dovecot.index.log", "dovecot.index.cache")


@pytest.fixture
def laid(memory: Path) -> Iterator[pairs.Laid]:
    """Mail in the first store; the second is an index directory that lies elsewhere."""
    made = pairs.Laid(memory, pairs.MEMORY, accounts=(None, None))
    made.session.initialise()
    ann = pairs.Mailbox(made.source / "ex.org/ann")
    ann.create("Sent")
    ann.folder("Sent").deliver(b"one\n")
    for home in (ann.root, ann.root / ".Sent", made.base / "p/1/ex.org/ann/.Sent"):
        written(home, b"1")
    (ann.root / "dovecot.list.index.log").write_bytes(b"list")
    made.sync()
    yield made
    made.end()


def written(home: Path, content: bytes) -> None:
    home.mkdir(parents=True, exist_ok=True)
    for name in SETS:
        (home / name).write_bytes(name.encode() + content)


def found(laid: pairs.Laid, host: str) -> dict[str, bytes]:
    roots = [laid.base / host / number for number in "01"]
    files = [
        (root, path) for root in roots for path in root.rglob("dovecot.*index*") if ".mailmirror" not in path.parts
    ]
    return {f"{root.name}/{path.relative_to(root)}": path.read_bytes() for root, path in files}


def promoted(laid: pairs.Laid, operation: str) -> None:
    laid.session.let_go()
    for number in range(2):
        root = laid.pair.hosts["m"].stores[number].root
        turn(laid, "m", 2, "m", operation=operation, store=root)
    assert PLACES["m"] == "mirror"


def test_what_stands_there_in_the_end_is_what_a_stopped_server_left(laid: pairs.Laid) -> None:
    stale = laid.mirror / "ex.org/ann/.Sent/dovecot.index.log.2"
    stale.write_bytes(b"of an earlier time")
    carrying = Carrying("op")
    assert laid.session.carry_indexes(carrying, stopped=False) == 10
    written(laid.source / "ex.org/ann/.Sent", b"2")
    (laid.source / "ex.org/ann/dovecot.index.cache").unlink()
    (laid.mirror / "ex.org/ann/dovecot.index").unlink()  # as a uidlist that is installed anew has it
    assert laid.session.carry_indexes(carrying, stopped=True) == 9
    assert found(laid, "m") == found(laid, "p") and len(found(laid, "m")) == 9 and not stale.exists()
    mail, there = (root / "ex.org/ann/.Sent/dovecot.index" for root in (laid.source, laid.mirror))
    assert there.stat().st_mtime_ns == mail.stat().st_mtime_ns
    promoted(laid, "op")
    assert found(laid, "m") == found(laid, "p")


def test_only_what_changed_is_carried_while_users_wait(laid: pairs.Laid, monkeypatch: pytest.MonkeyPatch) -> None:
    os.utime(laid.source / "ex.org/ann/dovecot.index", ns=(1, 1))
    carrying = Carrying("op")
    monkeypatch.setattr("orchestrator.agent.indexes.YOUNG_NS", 0)
    laid.session.carry_indexes(carrying, stopped=False)
    written(laid.source / "ex.org/ann/.Sent", b"22")
    assert laid.session.carry_indexes(carrying, stopped=False) == len(SETS)
    assert laid.session.carry_indexes(carrying, stopped=False) == 0


def test_what_changed_just_now_is_read_again(laid: pairs.Laid) -> None:
    """It may change once more within one tick of the file system's clock, and keep its times."""
    carrying = Carrying("op")
    assert laid.session.carry_indexes(carrying, stopped=False) == 10
    assert laid.session.carry_indexes(carrying, stopped=False) == 10


@pytest.mark.parametrize("why", ["carried ahead only", "another operation"])
def test_without_the_word_of_its_own_operation_a_place_begins_with_none(laid: pairs.Laid, why: str) -> None:
    laid.session.carry_indexes(Carrying("op"), stopped=False)
    if why == "another operation":
        laid.session.carry_indexes(Carrying("op"), stopped=True)
    promoted(laid, "op" if why == "carried ahead only" else "later")
    assert found(laid, "m") == {}
    assert (laid.mirror / "ex.org/ann/.Sent/dovecot-uidlist").exists()


def test_a_large_cache_stays_when_it_changed_late(laid: pairs.Laid, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "LARGE", 20)
    (laid.source / "ex.org/ann/dovecot.index.cache").write_bytes(b"c" * 30)
    assert laid.session.carry_indexes(Carrying("op"), stopped=True) == 9
    assert "0/ex.org/ann/dovecot.index.cache" not in found(laid, "m")


def test_a_large_one_comes_in_pieces(laid: pairs.Laid, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.agent.indexes.PIECES", 1000)
    (laid.source / "ex.org/ann/dovecot.index").write_bytes(bytes(range(256)) * 20)
    laid.session.carry_indexes(Carrying("op"), stopped=True)
    assert found(laid, "m") == found(laid, "p")


def test_one_that_is_written_meanwhile_is_no_index_at_all(laid: pairs.Laid, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody writes on, although Dovecot was stopped: the journey can't go on."""
    honest = indexes._piecewise

    def piecewise(*words: object) -> object:
        written(laid.source / "ex.org/ann/.Sent", os.urandom(4))
        return honest(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(indexes, "_piecewise", piecewise)
    with pytest.raises(AgentFault, match="don't come to be those of p"):
        laid.session.carry_indexes(Carrying("op"), stopped=True)
    promoted(laid, "op")
    assert found(laid, "m") == {}


@pytest.mark.parametrize("stopped", [False, True])
def test_where_a_dovecot_may_run_none_is_laid(laid: pairs.Laid, monkeypatch: pytest.MonkeyPatch, stopped: bool) -> None:
    monkeypatch.setattr("orchestrator.agent.dovecot.Neighbour.may_be_there", lambda _: True)
    with pytest.raises(AgentFault, match="a Dovecot on this host may have"):
        laid.session.carry_indexes(Carrying("op"), stopped=stopped)
    assert found(laid, "m") == {}


@pytest.mark.parametrize(
    ("directory", "name"),
    [("../p", "dovecot.index"), ("ex.org/ann/cur", "dovecot.index"), (".mailmirror", "dovecot.index"),
     ("ex.org/ann", "dovecot-uidlist"), ("ex.org/ann", "dovecot.index/x"), ("/etc", "dovecot.index")],
)  # fmt: skip
def test_nothing_else_is_laid(laid: pairs.Laid, directory: str, name: str) -> None:
    before = pairs.snapshot(laid.mirror)
    head = {
        "store": str(laid.mirror), "operation": "op", "directories": {},
        "pieces": [[directory, name, 0, 1, 0o600, 0, 0, 1, 1]],
    }  # fmt: skip
    with pytest.raises(AgentFault):
        laid.links["m"].request("store.lay_indexes", head, b"x", timeout=10)
    assert pairs.snapshot(laid.mirror) == before
