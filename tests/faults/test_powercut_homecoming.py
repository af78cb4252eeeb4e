"""A real power cut at the primary (ext4) takes acknowledged changes back: by ctimes they are told from its own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from orchestrator.agent import marker
from orchestrator.demo.mailbox import INBOX
from orchestrator.replication import homecoming, reclaim
from tests.support import pairs, require
from tests.support.outage import ANN, Outage, bodies, turn
from tests.support.powercut import Disk

pytestmark = pytest.mark.issue("5.4 ctime rule: what a power cut brought back is no change of its own")


@pytest.fixture
def disk(laid: pairs.Laid) -> Iterator[Disk]:
    """The primary's store stands on it."""
    require.root()
    laid.end()
    with Disk(laid.source) as made:
        laid.session.initialise()
        yield made
        laid.end()


@pytest.fixture
def laid() -> Iterator[pairs.Laid]:
    with pairs.in_memory() as place:
        made = pairs.Laid(place, pairs.MEMORY)
        yield made
        made.end()


def promote_after_a_power_cut(outage: Outage, disk: Disk) -> None:
    outage.cut()
    outage.laid.end()
    disk.cut()
    turn(outage.laid.mirror, marker.ACTIVE, 2)
    outage.laid.open()


def test_acknowledged_changes_that_come_undone_are_left_undone(laid: pairs.Laid, disk: Disk) -> None:
    outage = Outage(laid)
    inbox, archive = outage.box.folder(INBOX), outage.box.folder("Archive")
    names = sorted(inbox.messages())
    paths = [inbox.messages()[base] for base in names]
    os.sync()
    os.rename(paths[0], inbox.path / "cur" / f"{names[0].decode()}:2,S")
    os.rename(paths[1], archive.path / "cur" / f"{names[1].decode()}:2,")
    os.unlink(paths[2])
    laid.sync()
    promote_after_a_power_cut(outage, disk)
    standing = inbox.messages()
    assert {names[0], names[1], names[2]} <= set(standing), "the power cut took everything back"
    assert standing[names[0]].name == names[0].decode()
    plan, outcome = outage.rejoin()
    assert (plan.acts, outcome.delivered) == ((), {})
    assert plan.counts == {"undone": 2, "kept": 1}


def test_its_own_message_survives_the_power_cut_and_comes_home_once(laid: pairs.Laid, disk: Disk) -> None:
    outage = Outage(laid)
    inbox = outage.box.folder(INBOX)
    names = sorted(inbox.messages())
    own = inbox.deliver(b"alone\n")
    os.sync()
    os.rename(inbox.messages()[names[0]], inbox.path / "cur" / f"{names[0].decode()}:2,S")
    promote_after_a_power_cut(outage, disk)
    found = outage.look()
    assert [each.base.encode() for one in found.compared for each in one.differences] == [own.base]
    plan = homecoming.plan(found, outage.store("m"), reclaim.COUNT)
    outcome = outage.carry_out(found, plan)
    assert list(outcome.delivered) == [(ANN, ANN, own.base.decode())]
    assert bodies(laid.mirror).count(b"alone\n") == 1
