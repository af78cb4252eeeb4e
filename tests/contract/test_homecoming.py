"""A lost place comes home, over real directories with the real agents: what only it has is put into the active."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from orchestrator.demo import uidlist
from orchestrator.demo.mailbox import INBOX
from orchestrator.errors import AgentFault
from orchestrator.replication import homecoming, reclaim
from orchestrator.replication.homecoming import Outcome
from tests.support import pairs
from tests.support.outage import ANN, OPERATION, Outage, bodies

pytestmark = pytest.mark.issue("5.4 rejoin: cut, differences, aside, reclaim by delivery, a report by message")


@pytest.fixture
def outage(laid: pairs.Laid) -> Iterator[Outage]:
    yield Outage(laid)


def test_nothing_is_found_where_nothing_is_its_own(outage: Outage) -> None:
    outage.promote()
    assert outage.look().compared == ()


def test_everything_of_its_own_comes_home(outage: Outage) -> None:
    box, inbox = outage.box, outage.box.folder(INBOX)
    names = sorted(inbox.messages())
    box.create("Alone")
    box.create("Empty")
    new = [box.folder(name).deliver(b"Message-ID: <%s.new@ex>\n\nnew\n" % name.encode()) for name in (INBOX, "Alone")]
    box.folder("Alone").flag(new[1].base, "FS" + box.folder("Alone").keyword("todo"))
    inbox.flag(names[0], "S" + inbox.keyword("urgent"))
    inbox.move([names[1]], box.folder("Archive"))
    box.copy([names[2]], INBOX, "Sent")
    inbox.expunge([names[3]])
    outage.promote()
    was = {name: uidlist.read(outage.mirror.folder(name).path) for name in outage.mirror.names()}
    plan, outcome = outage.rejoin()
    assert plan.counts == {"folder": 2, "message": 2, "flags": 1, "move": 1, "copy": 1, "expunge": 1}
    assert plan.at_risk == 1
    assert (len(outcome.delivered), outcome.again, outcome.outrun, outcome.missing) == (2, 0, [], [])
    assert outcome.message_ids[ANN, ANN, new[0].base.decode()] == "<INBOX.new@ex>"
    here, there = pairs.messages(outage.laid.source), pairs.messages(outage.laid.mirror)
    (expunged,) = (
        there.keys()
        - here.keys()
        - {f"{ANN}/cur/{names[0].decode()}:2,S"}
        - {f"{ANN}/.Alone/cur/{new[1].base.decode()}:2,FS"}
    )
    assert names[3].decode() in expunged, "own expunges are listed, never applied"
    for path in here.keys() & there.keys():
        assert here[path][3:] == there[path][3:], "the body and its time"
    assert (outage.mirror.folder("Empty").path / "cur").is_dir()
    for name, rows in was.items():
        assert uidlist.read(outage.mirror.folder(name).path).rows == rows.rows, "UIDs are Dovecot's to give"
    assert homecoming.let_go(outage.store("p"), outcome, OPERATION, 2) == 0
    assert not (outage.laid.source / ".mailmirror/reclaim" / OPERATION).exists()
    (cut,) = homecoming.cuts(outage.store("m"))
    homecoming.forget(cut, OPERATION)
    assert homecoming.cuts(outage.store("m")) == []


def test_the_active_wins_where_it_changed_the_same(outage: Outage) -> None:
    inbox = outage.box.folder(INBOX)
    names = sorted(inbox.messages())
    inbox.flag(names[0], "S")
    inbox.move([names[1]], outage.box.folder("Archive"))
    outage.box.copy([names[2]], INBOX, "Archive")
    inbox.expunge([names[3], names[4]])
    outage.promote()
    mirror = outage.mirror.folder(INBOX)
    mirror.flag(names[0], "F")
    mirror.flag(names[1], "R")
    mirror.expunge([names[2], names[3]])
    plan, outcome = outage.rejoin()
    assert plan.counts == {"outrun": 2, "copy": 1, "expunge": 1}
    assert len(outcome.delivered) == 1, "a copy whose original was expunged since is a message of its own"
    standing = {path.name for path in (mirror.path / "cur").iterdir()}
    assert {f"{names[0].decode()}:2,F", f"{names[1].decode()}:2,R"} <= standing
    assert names[2] in outage.mirror.folder("Archive").messages()


def test_it_is_delivered_once_however_often_it_is_asked_for(outage: Outage) -> None:
    outage.box.folder(INBOX).deliver(b"alone\n")
    large = os.urandom(9_000_000)
    outage.box.folder(INBOX).deliver(large)
    outage.promote()
    found = outage.look()
    plan = homecoming.plan(found, outage.store("m"), reclaim.COUNT)
    first = outage.carry_out(found, plan)
    assert (len(first.delivered), first.again) == (2, 0)
    there = bodies(outage.laid.mirror)
    assert (there.count(b"alone\n"), there.count(large)) == (1, 1)
    taken = outage.mirror.folder(INBOX).messages()
    gone = next(base for base, path in taken.items() if path.read_bytes() == b"alone\n")
    taken[gone].unlink()  # its user reads and expunges it
    outage.laid.open()
    again = outage.carry_out(found, plan)
    assert (len(again.delivered), again.again) == (2, 2)
    assert bodies(outage.laid.mirror).count(b"alone\n") == 0, "what was delivered once isn't delivered again"


def test_a_flag_that_a_running_server_changes_meanwhile_stays(outage: Outage) -> None:
    inbox = outage.box.folder(INBOX)
    base = sorted(inbox.messages())[0]
    inbox.flag(base, "S")
    outage.promote()
    found = outage.look()
    plan = homecoming.plan(found, outage.store("m"), reclaim.COUNT)
    outage.mirror.folder(INBOX).flag(base, "T")
    outcome = outage.carry_out(found, plan)
    assert [act.base.encode() for act in outcome.outrun] == [base]
    assert outage.mirror.folder(INBOX).messages()[base].name.endswith(":2,T")


def test_an_acknowledged_expunge_that_comes_back_stays_expunged(outage: Outage) -> None:
    """As a power cut does it: the old name stands there again, the quarantine knows it."""
    inbox = outage.box.folder(INBOX)
    base, path = sorted(inbox.messages().items())[0]
    kept = outage.laid.base / "kept"
    os.link(path, kept)
    inbox.expunge([base])
    outage.laid.sync()
    os.link(kept, path)
    outage.promote()
    plan, outcome = outage.rejoin()
    assert plan.counts == {"kept": 1}
    assert outcome.delivered == {}


def test_most_ctimes_alike_stops_and_asks(outage: Outage) -> None:
    for number in range(30):
        outage.box.folder("Archive").deliver(b"%d\n" % number)
    outage.laid.sync()
    outage.box.folder(INBOX).deliver(b"alone\n")
    outage.promote()
    for path in pairs.messages(outage.laid.source):
        os.chmod(outage.laid.source / path, 0o640)
    found = outage.look()
    plan = homecoming.plan(found, outage.store("m"), reclaim.COUNT)
    assert plan.ask
    assert plan.share > 0.9
    assert not homecoming.plan(found, outage.store("m"), reclaim.TRUST).ask
    void = homecoming.plan(found, outage.store("m"), reclaim.VOID)
    assert (void.ask, void.counts) == (False, {"message": 1})


def test_nothing_is_touched_by_a_look(outage: Outage) -> None:
    outage.box.folder(INBOX).deliver(b"alone\n")
    outage.promote()
    before = pairs.snapshot(outage.laid.source), pairs.snapshot(outage.laid.mirror)
    times = {path: os.lstat(outage.laid.source / path).st_ctime_ns for path in before[0]}
    homecoming.plan(outage.look(), outage.store("m"), reclaim.COUNT)
    assert (pairs.snapshot(outage.laid.source), pairs.snapshot(outage.laid.mirror)) == before
    assert {path: os.lstat(outage.laid.source / path).st_ctime_ns for path in before[0]} == times
    assert not (outage.laid.source / ".mailmirror/reclaim").exists()


# ---- the cut ---------------------------------------------------------------------------------------------------------


def test_a_cut_is_made_once_by_an_operation_and_takes_no_more(outage: Outage) -> None:
    first = outage.cut()
    assert (first["epoch"], first["place"], first["messages"]) == (2, "mirror", 11)
    assert first["source_complete"]
    assert outage.cut() == first
    outage.box.folder(INBOX).deliver(b"later\n")
    with pytest.raises(AgentFault, match="frozen"):
        outage.laid.sync()
    assert b"later\n" not in bodies(outage.laid.mirror)
    with pytest.raises(AgentFault, match="epoch 0 has passed"):
        outage.cut(epoch=0)


def test_a_cut_whose_promotion_did_not_happen_goes_with_the_next_offer(outage: Outage) -> None:
    first = outage.cut()
    outage.laid.open()
    outage.laid.sync()
    outage.box.folder(INBOX).deliver(b"later\n")
    outage.laid.sync()
    assert homecoming.cuts(outage.store("m")) == []
    second = outage.cut("op-8")
    assert second["messages"] == 12 == int(str(first["messages"])) + 1


def test_cuts_of_several_epochs_stand_side_by_side(outage: Outage) -> None:
    outage.cut("one", 2)
    outage.cut("two", 3)
    assert [(cut.epoch, cut.operation) for cut in homecoming.cuts(outage.store("m"))] == [(2, "one"), (3, "two")]


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "head", "why"),
    [
        (
            "store.deliver",
            {"folder": "..", "account": "", "base": "x"},
            "isn't a name",
        ),
        ("store.deliver", {"folder": ".mailmirror/x", "account": "", "base": "x"}, "nothing can be delivered"),
        ("store.deliver", {"folder": ANN, "account": "ex.org/bob", "base": "x"}, "nothing can be delivered"),
        ("store.deliver", {"folder": "ex.org/bob", "account": "ex.org/bob", "base": "x"}, "doesn't exist here"),
        ("store.aside", {"operation": "../x"}, "plain word"),
        ("store.deliver", {"epoch": 1, "folder": ANN, "account": ANN, "base": "x"}, "in epoch 2"),
        ("store.cut_rows", {"cut": [9, "m"], "what": "kept"}, "no cut 9-m"),
    ],
)
def test_bad_requests_change_nothing(outage: Outage, verb: str, head: dict[str, object], why: str) -> None:
    outage.promote()
    before = pairs.snapshot(outage.laid.mirror)
    full = {"operation": OPERATION, "epoch": 2, "info": "", "sub": 0, "sha256": "0", "size": 1, "mtime": 1, "offset": 0}
    with pytest.raises(AgentFault, match=why):
        outage.store("m").ask(verb, {**full, **head}, b"[]")
    assert pairs.snapshot(outage.laid.mirror) == before


def test_what_its_receiver_has_otherwise_is_not_dropped(outage: Outage) -> None:
    placed = outage.box.folder(INBOX).deliver(b"alone\n")
    outage.promote()
    _, outcome = outage.rejoin()
    wrong = Outcome(delivered=dict.fromkeys(outcome.delivered, "0" * 64))
    assert homecoming.let_go(outage.store("p"), wrong, OPERATION, 2) == 1
    (entry,) = (outage.laid.source / ".mailmirror/reclaim" / OPERATION).iterdir()
    assert entry.name.endswith(placed.base.decode())
    assert entry.read_bytes() == b"alone\n"
