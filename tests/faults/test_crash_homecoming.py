"""Agents die before, within and behind every act of a homecoming; done again, everything came home once."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import pytest

from orchestrator.agent import marker
from orchestrator.agent.beneath import Root
from orchestrator.demo import mailbox
from orchestrator.demo.mailbox import INBOX
from orchestrator.errors import HostUnreachable, LinkLost
from orchestrator.replication import homecoming, reclaim
from orchestrator.replication.homecoming import Cut, Found, Store
from orchestrator.replication.reclaim import Plan
from tests.faults.crashing import NEVER, Crash, Mortal, a_mortal_pair, chosen, failures
from tests.support import pairs, seeds

ANN = "ex.org/ann"
ALONE = b"Subject: alone\n\nbody\n"


class Return:
    """A copied store, what the primary did alone, a promotion; then the steps of a homecoming, done twice."""

    def __init__(self, laid: Mortal) -> None:
        self.laid = laid
        box = pairs.Mailbox(laid.source / ANN)
        box.create("Sent")
        self.names = [box.folder(INBOX).deliver(b"%d\n" % number).base for number in range(3)]
        laid.session.initialise()
        laid.sync()
        box.create("Made")
        box.folder("Made").deliver(ALONE)
        box.folder(INBOX).flag(self.names[0], "S")
        box.folder(INBOX).move([self.names[1]], box.folder("Sent"))
        box.copy([self.names[2]], INBOX, "Sent")
        self.mirror = mailbox.Account(laid.mirror / ANN)

    def cut(self) -> None:
        head = {"store": str(self.laid.mirror), "operation": "op-1", "epoch": 2}
        self.laid.links["m"].request("sink.cut", head)

    def open_sink(self) -> None:
        found = marker.look(str(self.laid.mirror))
        assert found is not None
        self.laid.links["m"].request(
            "store.open", {"store": str(self.laid.mirror), "side": "sink", "store_id": found.store}
        )

    def turn(self) -> None:
        self.laid.end()
        with Root(str(self.laid.mirror)) as root:
            found = marker.read(root)
            assert found is not None
            marker.write(root, found._replace(role=marker.ACTIVE, epoch=2))

    def store(self, host: str) -> Store:
        path = str(self.laid.source if host == "p" else self.laid.mirror)
        found = marker.look(path)
        assert found is not None
        return Store(self.laid.links[host], path, found.store, None, True)

    def planned(self) -> tuple[Cut, Found, Plan]:
        (cut,) = homecoming.cuts(self.store("m"))
        found = homecoming.look(self.store("p"), cut)
        return cut, found, homecoming.plan(found, self.store("m"), reclaim.COUNT)

    def steps(self, cut: Cut, found: Found, plan: Plan) -> None:
        homecoming.set_aside(self.store("p"), plan, found, "op-2", 2)
        outcome = homecoming.carry_out(self.store("p"), self.store("m"), plan, found, "op-2", 2)
        assert not outcome.outrun
        homecoming.let_go(self.store("p"), outcome, "op-2", 2)
        homecoming.forget(cut._replace(store=self.store("m")), "op-2")

    def alone(self) -> list[bytes]:
        facts = pairs.messages(self.laid.mirror).items()
        return [path.encode() for path, (*_, body) in facts if body == ALONE]

    def truth(self) -> None:
        """Assert what holds at every moment: no body is torn, and none stands twice in a folder."""
        assert len(self.alone()) <= 1
        for name in self.mirror.names():
            parts = [path for part in ("new", "cur") for path in (self.mirror.folder(name).path / part).iterdir()]
            assert len({mailbox.base_name(path) for path in parts}) == len(parts)


def lived(crash: Crash, host: str, taken: bool) -> list[str]:
    """One life; with `taken` the message is read and expunged as soon as it stands there. The acts up to the end."""
    with a_mortal_pair() as laid:
        back = Return(laid)
        back.cut()
        back.turn()
        laid.open()
        plan = back.planned()
        laid.end()
        laid.crashes = {host: crash}
        laid.acts.touch()
        with suppress(LinkLost, HostUnreachable):  # it was killed, as was meant
            laid.open()
            back.steps(*plan)
        laid.end()
        laid.crashes = {}
        back.truth()
        seen = back.alone()
        if taken and seen:
            (laid.mirror / seen[0].decode()).unlink()
        laid.open()
        back.steps(*plan)
        back.truth()
        assert len(back.alone()) == (0 if taken and seen else 1), "delivered once, and never twice"
        assert not (laid.source / ".mailmirror/reclaim/op-2").exists()
        inbox, sent = back.mirror.folder(INBOX).messages(), back.mirror.folder("Sent").messages()
        assert inbox[back.names[0]].name.endswith(":2,S")
        assert set(inbox) == {back.names[0], back.names[2]}
        assert set(sent) == {back.names[1], back.names[2]}
        return laid.counted()


@pytest.mark.issue("5.4 reclaim: crash before and after every act, once and never twice")
@pytest.mark.parametrize(("host", "taken"), [("m", False), ("m", True), ("p", False)])
@pytest.mark.timeout(1800)
def test_an_agent_may_die_at_any_act_of_a_homecoming(host: str, taken: bool) -> None:
    acts = lived(NEVER, host, False)
    assert {"m": {"rename", "commit", "link", "fsync"}, "p": {"link", "unlink", "fsync"}}[host] <= set(acts)
    seed = seeds.drawn("crash_homecoming")
    crashes = chosen(acts, seed)
    print(f"{len(acts)} acts, {len(crashes)} crashes, seed {seed}")
    failed = failures(crashes, acts, partial(lived, host=host, taken=taken))
    assert not failed, "\n".join(failed)


def cut_lived(crash: Crash) -> list[str]:
    with a_mortal_pair() as laid:
        back = Return(laid)
        laid.end()
        laid.crashes = {"m": crash}
        laid.acts.touch()
        with suppress(LinkLost, HostUnreachable):
            laid.open()
            back.open_sink()
            back.cut()
        laid.end()
        laid.crashes = {}
        laid.open()
        back.open_sink()
        back.cut()
        (cut,) = homecoming.cuts(back.store("m"))
        assert (cut.epoch, cut.operation) == (2, "op-1")
        rows = homecoming.look(back.store("p"), cut)
        assert {one.base for each in rows.compared for one in each.differences} >= {one.decode() for one in back.names}
        state = laid.state("m")
        assert [path.name for path in state.rglob("cuts/*")] == ["2-mirror.sqlite"]
        return laid.counted()


@pytest.mark.issue("5.4 cut: idempotent by operation; a crash leaves a whole one or none")
@pytest.mark.timeout(1800)
def test_an_agent_may_die_at_any_act_of_a_cut() -> None:
    acts = cut_lived(NEVER)
    assert {"replace", "fsync"} <= set(acts)
    failed = failures(chosen(acts, seeds.drawn("crash_cut")), acts, cut_lived)
    assert not failed, "\n".join(failed)
