"""One source and three sinks: a cursor for each, none of which waits for another."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator import errors
from orchestrator.demo.mailbox import INBOX
from orchestrator.replication.session import Session
from tests.support import pairs


@pytest.fixture(params=[pairs.MEMORY, pairs.LOCAL])
def laid(request: pytest.FixtureRequest) -> Iterator[pairs.Laid]:
    """An initialised source with three sinks."""
    with pairs.in_memory() as memory:
        made = pairs.Laid(memory, request.param, sinks=3)
        made.session.initialise()
        yield made
        made.end()


@pytest.fixture
def box(laid: pairs.Laid) -> pairs.Mailbox:
    made = pairs.Mailbox(laid.source / "ex.org/ann")
    made.create("Sent")
    for number in range(10):
        made.folder(INBOX if number % 2 else "Sent").deliver(b"%d\n" % number)
    return made


def only(laid: pairs.Laid, *sinks: str) -> Session:
    """A session that reaches some of the sinks."""
    return Session(laid.pair, {name: laid.links[name] for name in (pairs.PRIMARY, *sinks)})


@pytest.mark.issue("2.P contract fan-out with three sinks")
def test_three_sinks_get_everything(laid: pairs.Laid, box: pairs.Mailbox) -> None:
    reports = laid.session.sync()
    assert [(report.host, report.tally.messages) for report in reports] == [("m", 10), ("a", 10), ("b", 10)]
    pairs.equal(laid)
    box.folder(INBOX).flag(sorted(box.folder(INBOX).messages())[0], "S")
    box.folder(INBOX).move(sorted(box.folder(INBOX).messages())[1:3], box.folder("Sent"))
    box.folder(INBOX).expunge(sorted(box.folder(INBOX).messages())[:1])
    box.rename("Sent", "Gesendet")
    tallies = [report.tally for report in laid.session.sync()]
    assert [(tally.messages, tally.linked, tally.deleted, tally.folders_renamed) for tally in tallies] == [
        (0, 2, 1, 1)
    ] * 3
    pairs.equal(laid)


@pytest.mark.issue("2.5 fan-out with a cursor per place")
@pytest.mark.issue("2.5 cursor")
def test_a_sink_that_was_away_catches_up_from_its_own_cursor(laid: pairs.Laid, box: pairs.Mailbox) -> None:
    laid.session.sync()
    known = list(box.folder(INBOX).messages())
    for number in range(5):
        box.folder(INBOX).deliver(b"meanwhile %d\n" % number)
        (report,) = only(laid, "m").sync()
        assert (report.host, report.tally.messages) == ("m", 1)
    box.folder(INBOX).expunge(known[:1])
    laid.open()
    tallies = {report.host: report.tally for report in laid.session.sync()}
    assert [(tallies[host].messages, tallies[host].deleted) for host in ("m", "a", "b")] == [(0, 1), (5, 1), (5, 1)]
    pairs.equal(laid)


def test_a_sink_that_dies_in_a_pass_leaves_the_others_whole(laid: pairs.Laid, box: pairs.Mailbox) -> None:
    laid.session.sync()
    box.folder(INBOX).deliver(b"another\n")
    with pytest.raises((errors.LinkLost, errors.HostUnreachable)):
        laid.open(pairs.Faults.of(pairs.Gate(6), ("a",))).sync()
    laid.end()
    laid.session.sync()
    pairs.equal(laid)
