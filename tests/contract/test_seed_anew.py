"""A mirror made anew: what stood there is in the quarantine, message by message, and the mirror equals its source."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from orchestrator import errors
from orchestrator.demo.mailbox import INBOX
from orchestrator.replication.report import Selection
from tests.support import pairs

MESSAGES = 30


@pytest.fixture
def box(laid: pairs.Laid) -> pairs.Mailbox:
    """The primary's account, which the mirror has."""
    made = pairs.Mailbox(laid.source / "ex.org/ann")
    made.create("Sent")
    for number in range(MESSAGES):
        body = b"Subject: %d\n\n" % number + random.Random(number).randbytes(300)
        made.folder(INBOX if number % 2 else "Sent").deliver(body)
    laid.sync()
    return made


def stray(mirror: Path) -> Path:
    """Mail, and a file, that stand on the mirror only."""
    for name in ("cur", "new", "tmp"):
        (mirror / "ex.org/old" / name).mkdir(parents=True)
    message = mirror / "ex.org/ann/cur/1600000000.M1P1.there:2,S"
    message.write_bytes(b"Subject: only here\n\n")
    (mirror / "ex.org/old/cur/1600000001.M1P1.there:2,").write_bytes(b"Subject: an old account\n\n")
    (mirror / "notes.txt").write_text("an administrator's")
    return message


@pytest.mark.issue("2.5 seed makes a mirror anew; what stands there goes to quarantine")
def test_all_that_stands_there_goes_to_quarantine_and_everything_is_copied(
    laid: pairs.Laid, box: pairs.Mailbox
) -> None:
    stray(laid.mirror)
    laid.end()
    before = pairs.snapshot(laid.mirror)
    (plan,) = laid.session.set_aside(dry_run=True)
    assert plan.startswith(f"{MESSAGES + 2} messages in ") and "would go into quarantine" in plan
    assert pairs.snapshot(laid.mirror) == before, "a dry run changes nothing"
    with pairs.bodies(laid) as frames:
        (done,) = laid.session.set_aside()
        assert done.startswith(f"{MESSAGES + 2} messages in ") and "went into quarantine" in done
        assert pairs.snapshot(laid.mirror) == {}
        report = laid.sync()
    assert frames and report.tally.messages == MESSAGES
    pairs.equal(laid)
    (listed,) = laid.session.undelete(Selection(), dry_run=True)
    assert listed.chosen == MESSAGES + 2
    assert {each.account for each in listed.found} == {"ex.org/ann", "ex.org/old"}


def test_what_only_the_mirror_had_can_be_brought_back_and_nothing_stands_twice(
    laid: pairs.Laid, box: pairs.Mailbox
) -> None:
    message = stray(laid.mirror)
    content = message.read_bytes()
    laid.session.set_aside()
    laid.sync()
    (report,) = laid.session.undelete(Selection(account="ex.org/ann"))
    assert report.restored == 1, "what the source has stands there already"
    assert message.read_bytes() == content
    assert laid.verify().equal, "it is allowed for, as a waiting deletion"
    laid.end()
    laid.sync()
    assert message.read_bytes() == content


@pytest.mark.parametrize("acts", [20, 33, 41, 52, 57, 60, 66, 110])
def test_an_agent_that_dies_on_the_way_leaves_the_rest_for_the_next_order(
    laid: pairs.Laid, box: pairs.Mailbox, acts: int
) -> None:
    try:
        laid.open(pairs.Faults({}, {pairs.SINKS[0]: acts}))
        laid.session.set_aside()
        laid.sync()
    except errors.MailmirrorError as error:
        print(error)
    laid.end()
    laid.session.set_aside()
    laid.sync()
    pairs.equal(laid)
    kept = list((laid.mirror / ".mailmirror/quarantine").rglob("*.M*P*"))
    assert len({path.name.split("-", 2)[2].split(":")[0] for path in kept}) >= MESSAGES, "nothing was lost on the way"


def test_nothing_is_put_aside_while_the_source_is_in_doubt(laid: pairs.Laid, box: pairs.Mailbox) -> None:
    laid.source.rename(laid.source.with_name("elsewhere"))
    laid.source.mkdir()
    before = pairs.snapshot(laid.mirror)
    with pytest.raises(errors.MailmirrorError):
        laid.session.set_aside()
    assert pairs.snapshot(laid.mirror) == before
