"""A rejoin from its order to its end, over real directories with real agents, the conductor and the journal."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agent import marker
from orchestrator.demo.mailbox import INBOX
from orchestrator.errors import Refused
from orchestrator.failover import reporting
from orchestrator.failover.step import Remembered, Voyage
from orchestrator.failover.steps import surveying
from orchestrator.failover.world import World
from orchestrator.records import papers
from orchestrator.records.journal import Journal
from orchestrator.records.marks import Phase, State
from tests.support import pairs, seeds
from tests.support.outage import ANN, Outage, bodies
from tests.support.returned import OWN, Returned

ALONE = [b"Message-ID: <alone.%d@ex>\n\nalone %d\n" % (number, number) for number in range(3)]
Lost = Callable[..., Returned]


@pytest.fixture
def lost(laid: pairs.Laid, tmp_path: Path) -> Iterator[Lost]:
    """Makes a returned primary that has letters, a flag and an expunge of its own."""

    def make(own: Callable[[Outage], None] | None = None) -> Returned:
        outage = Outage(laid)
        (own or alone)(outage)
        returned = Returned(outage, tmp_path)
        returned.lose()
        return returned

    yield make
    laid.end()


def alone(outage: Outage) -> None:
    box, inbox = outage.box, outage.box.folder(INBOX)
    names = sorted(inbox.messages())
    for body in ALONE:
        inbox.deliver(body)
    box.create("Empty")
    inbox.flag(names[0], "S")
    inbox.move([names[1]], box.folder("Archive"))
    inbox.expunge([names[2]])


def report_of(returned: Returned, operation: str) -> Any:
    path = papers.path_of(returned.pair.state_dir, returned.pair.name, operation, reporting.REPORT)
    return papers.read(path)


def all_came_home(returned: Returned, operation: str) -> None:
    """Every letter once at the active, both places equal, the returned one passive, nothing of ours left behind."""
    laid = returned.outage.laid
    counted = Counter(bodies(laid.mirror))
    assert [counted[body] for body in ALONE] == [1, 1, 1]
    assert pairs.messages(laid.source) == pairs.messages(laid.mirror)
    found = marker.look(str(laid.source))
    assert found is not None and (found.role, found.epoch) == ("passive", 2)
    assert not (laid.source / ".mailmirror/reclaim" / operation).exists()
    assert list(laid.state("m").glob("*/cuts/*")) == []
    primary, mirror = (returned.site.hosts[place].spool for place in ("primary", "mirror"))
    assert not any(each.hold for each in (*primary.letters.values(), *mirror.letters.values()))
    stands = Counter(each.letter for each in (*primary.letters.values(), *mirror.letters.values()))
    stands.update(each.letter for each in returned.site.hosts["mirror"].store.letters.values())
    assert [stands[letter] for letter in OWN] == [1, 1, 1], "each once, in the queue or delivered"
    assert not {each.letter for each in primary.letters.values()} & set(OWN), "none is left there"
    assert returned.site.guards["primary"].told({"verb": "status"})["quiet"] is None


@pytest.mark.issue("5.4 rejoin as a journey: everything of its own comes home, the store is a copy, the cut goes")
def test_a_lost_place_comes_home_and_is_a_copy_again(lost: Lost) -> None:
    returned = lost()
    waited = {each.letter for each in returned.site.hosts["primary"].spool.waiting()}
    assert waited >= set(OWN)
    ended = returned.rejoin()
    assert (ended.state, ended.said) == (State.DONE, "every step is done")
    all_came_home(returned, ended.id)
    mirror = returned.site.hosts["mirror"]
    there = {each.letter for each in mirror.spool.letters.values()} | set(mirror.store.letters.values())
    assert waited <= there, "what waited in the queue waits, or is delivered, at the active"
    report = report_of(returned, ended.id)
    [store] = report["stores"]
    rows = {(each["account"], each["folder"], each["message_id"]) for each in store["delivered"]}
    assert rows == {(ANN, ANN, f"<alone.{number}@ex>") for number in range(3)}
    assert all(len(each["sha256"]) == 64 and each["base"] for each in store["delivered"])
    assert [each["kind"] for each in store["at_risk"]] == ["expunge"]
    assert report["counts"] == {
        "delivered": 3, "applied": 3, "outrun": 0, "at_risk": 1, "aside": 0, "listed": 0,
    }  # fmt: skip
    assert report["equal"] and store["cut"]["epoch"] == 2


@pytest.mark.issue("5.4 rejoin by a controller that is killed anywhere: nothing twice, nothing lost")
def test_a_controller_killed_anywhere_goes_on_without_doing_anything_twice(lost: Lost) -> None:
    dice = random.Random(seeds.drawn("a controller killed anywhere in a rejoin"))
    returned = lost()
    kills = [dice.randint(1, 6 + number) for number in range(60)]
    ended = returned.rejoin(kills)
    assert ended.state is State.DONE
    all_came_home(returned, ended.id)
    counts = report_of(returned, ended.id)["counts"]
    assert (counts["delivered"], counts["applied"], counts["outrun"]) == (3, 3, 0), "told as if it had lived"


# ---- the plan --------------------------------------------------------------------------------------------------------


def voyage(returned: Returned, world: World) -> Voyage[World]:
    return Voyage(
        operation="dry-run", pair=returned.pair.name, journey="rejoin", leaves=2, leads=2, active="mirror",
        passive="primary", world=world, notes=Remembered(), clock=returned.clock,
        deadline=returned.clock.now() + 60.0, number=0, begun=False,
    )  # fmt: skip


def everything(root: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Every file and directory below a root, ours included: inode, ctime, links, bytes."""
    found = {}
    for path in [root, *root.rglob("*")]:
        facts = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (facts.st_ino, facts.st_ctime_ns, facts.st_nlink, content)
    return found


@pytest.mark.issue("5.4 rejoin --dry-run: the plan in numbers and by message, and nothing is touched")
def test_a_dry_run_tells_everything_and_changes_no_byte_and_no_ctime(lost: Lost) -> None:
    returned = lost()
    roots = (returned.outage.laid.source, returned.outage.laid.mirror)
    before = [everything(root) for root in roots]
    with returned.world() as world:
        told = surveying.surveyed(voyage(returned, world), "count")
    assert [everything(root) for root in roots] == before
    assert list(returned.pair.state_dir.iterdir()) == []
    assert told["counts"] == {"message": 3, "flags": 1, "move": 1, "folder": 1, "expunge": 1}
    assert (told["at_risk"], told["asks"]) == (1, False)
    assert "letters wait in its queue" in told["queue"]
    lines = told["stores"][0]["lines"]
    assert Counter(line["kind"] for line in lines) == told["counts"]
    assert all(line["account"] == ANN and line["what"] for line in lines)
    ended = returned.rejoin()
    report = report_of(returned, ended.id)
    assert {each["base"] for each in report["stores"][0]["delivered"]} == {
        line["base"] for line in lines if line["kind"] == "message"
    }


def chowned(outage: Outage) -> None:
    """Letters that are the same on both places, and whose ctimes are all later than was acknowledged."""
    for number in range(30):
        outage.box.folder("Archive").deliver(b"%d\n" % number)
    outage.laid.sync()
    alone(outage)
    for path in pairs.messages(outage.laid.source):
        (outage.laid.source / path).chmod(0o640)


@pytest.mark.issue("5.4 rejoin stops and asks when most ctimes are alike; the answer goes on where it stopped")
@pytest.mark.parametrize(("word", "counts"), [("trust", (3, 3, 1)), ("void", (3, 1, 1))])
def test_it_asks_where_most_ctimes_are_alike_and_goes_on_by_the_answer(
    lost: Lost, word: str, counts: tuple[int, int, int]
) -> None:
    returned = lost(chowned)
    ended = returned.rejoin()
    assert ended.state is State.STUCK and "--ctimes" in asked(returned, ended.id)
    with returned.world() as world:
        assert surveying.surveyed(voyage(returned, world), "count")["asks"]
    assert not (returned.outage.laid.source / ".mailmirror/reclaim").exists(), "nothing was touched before"
    with closing(Journal(returned.pair.state_dir)) as journal:
        journal.note(ended.id, "ctimes", word)
    done = returned.life(lambda conductor, _: conductor.resume(ended.id, "jane", "a chown"))
    assert done is not None and done.state is State.DONE
    told = report_of(returned, ended.id)["counts"]
    assert (told["delivered"], told["applied"], told["at_risk"]) == counts


def asked(returned: Returned, operation: str) -> str:
    """What the last act of an operation came to."""
    with closing(Journal(returned.pair.state_dir)) as journal:
        return [mark.said for mark in journal.marks(operation) if mark.phase is Phase.ACTED][-1]


# ---- what stops it ---------------------------------------------------------------------------------------------------


def test_a_store_that_was_changed_after_the_look_stops_it(lost: Lost) -> None:
    returned = lost()
    returned.life(returned.begin(until="plan"))
    inbox = returned.outage.box.folder(INBOX)
    [mine] = [base for base, path in inbox.messages().items() if path.read_bytes() == ALONE[0]]
    inbox.flag(mine, "T")
    ended = returned.rejoin()
    assert ended.state is State.STUCK and "somebody changed its store" in ended.said
    with closing(Journal(returned.pair.state_dir)) as journal:
        journal.end(ended.id, State.ABORTED, "by hand")
    again = returned.rejoin()
    assert again.state is State.DONE
    assert Counter(bodies(returned.outage.laid.mirror))[ALONE[0]] == 1


def test_an_account_that_is_missing_at_the_active_stops_it_with_what_to_do(lost: Lost) -> None:
    def bob(outage: Outage) -> None:
        alone(outage)
        pairs.Mailbox(outage.laid.source / "ex.org/bob").folder(INBOX).deliver(b"for bob\n")

    returned = lost(bob)
    ended = returned.rejoin()
    assert ended.state is State.STUCK and "ex.org/bob" in ended.said and "op resume" in ended.said
    assert not (returned.outage.laid.source / ".mailmirror/reclaim").exists(), "known before anything is touched"
    with returned.world() as world:
        assert surveying.surveyed(voyage(returned, world), "count")["no_account"] == ["ex.org/bob"]
    pairs.Mailbox(returned.outage.laid.mirror / "ex.org/bob")
    done = returned.life(lambda conductor, _: conductor.resume(ended.id, "jane", "made it"))
    assert done is not None and done.state is State.DONE
    all_came_home(returned, ended.id)
    assert Counter(bodies(returned.outage.laid.mirror))[b"for bob\n"] == 1


def test_a_damaged_record_is_never_used(lost: Lost) -> None:
    returned = lost()
    returned.life(returned.begin(until="plan"))
    [path] = returned.pair.state_dir.glob("*.plan.json")
    path.write_bytes(path.read_bytes().replace(b"deliver", b"destroy"))
    before = [everything(root) for root in (returned.outage.laid.source, returned.outage.laid.mirror)]
    ended = returned.rejoin()
    assert ended.state is State.STUCK and "digest differs" in asked(returned, ended.id)
    assert [everything(root) for root in (returned.outage.laid.source, returned.outage.laid.mirror)] == before


def test_without_a_cut_nobody_guesses(lost: Lost) -> None:
    returned = lost()
    for path in returned.outage.laid.state("m").glob("*/cuts/*"):
        path.unlink()
    before = everything(returned.outage.laid.source)
    with returned.world() as world, pytest.raises(Refused, match="has no cut"):
        surveying.surveyed(voyage(returned, world), "count")
    ended = returned.rejoin()
    assert ended.state is State.STUCK and "has no cut" in ended.said
    assert everything(returned.outage.laid.source) == before
