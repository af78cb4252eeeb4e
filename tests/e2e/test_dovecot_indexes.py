"""Index caches carried under a real Dovecot: HIGHESTMODSEQ goes on, and Dovecot finds nothing to mend.

The passive place's uidlist announces a raised next UID, which the carried index doesn't know: Dovecot takes both.
"""

from __future__ import annotations

import pytest

from orchestrator.replication.indexes import Carrying
from tests.contract.test_roles_turned import turn
from tests.e2e.test_dovecot_turned import Mail, mail

__all__ = ["mail"]
pytestmark = pytest.mark.lab


def modseq(mail: Mail, host: str) -> int:
    told = mail.doveadm(host, "mailbox", "status", "highestmodseq", "INBOX").splitlines()[-1]
    return int(told.split()[-1])


def changed_since(mail: Mail, host: str, modseq: int) -> set[str]:
    """Subjects of what a client with CONDSTORE would be told anew."""
    told = mail.doveadm(host, "fetch", "hdr.subject", "mailbox", "INBOX", "modseq", str(modseq + 1)).splitlines()[1:]
    return set(told)


def moved(mail: Mail, epoch: int, active: str, operation: str, *, carried: bool) -> None:
    """As a switchover does it: the places are equal, no Dovecot runs, the markers are turned."""
    laid = mail.laid
    laid.session.sync()
    if carried:
        carrying = Carrying(operation)
        laid.session.carry_indexes(carrying, stopped=False)
        assert laid.session.last_pass().lacking == []
        assert laid.session.carry_indexes(carrying, stopped=True) >= 2
    laid.session.let_go()
    for host in sorted("pm", key=lambda host: host == active):
        turn(laid, host, epoch, active, operation=operation)


@pytest.mark.issue("5.2 indexes go along with a switchover: HIGHESTMODSEQ goes on under a real Dovecot")
def test_highestmodseq_goes_on_where_the_indexes_went_along(mail: Mail) -> None:
    mail.laid.session.initialise()
    for subject in ("one", "two", "three", "four"):
        mail.save("p", subject)
    for subject in ("two", "three", "two"):
        mail.flag("p", subject)
    mail.expunge("p", "one")
    rows, seen = mail.rows("p"), modseq(mail, "p")
    assert seen > 4

    moved(mail, 2, "m", "first", carried=True)
    assert modseq(mail, "m") == seen and mail.rows("m") == rows
    assert changed_since(mail, "m", seen) == set()  # a client that saw all is told nothing anew
    mail.save("m", "five")
    mail.expunge("m", "two")
    there, next_seen = mail.rows("m"), modseq(mail, "m")
    assert next_seen > seen and there["five"][0] >= 1 << 20 and "two" not in there
    assert changed_since(mail, "m", seen) == {"five"}

    moved(mail, 3, "p", "second", carried=True)  # over the stale ones of its time as the active
    assert modseq(mail, "p") == next_seen and mail.rows("p") == there
    assert changed_since(mail, "p", next_seen) == set()
    mail.save("p", "six")
    assert mail.rows("p")["six"][0] > there["five"][0]


def test_without_them_it_goes_back(mail: Mail) -> None:
    """What this is for; and indexes that no switchover vouches for don't stay."""
    mail.laid.session.carry_indexes(Carrying("broken off"), stopped=True)
    mail.flag("p", "five")
    rows, seen = mail.rows("p"), modseq(mail, "p")
    moved(mail, 4, "m", "without", carried=False)
    assert mail.rows("m") == rows
    assert modseq(mail, "m") < seen
