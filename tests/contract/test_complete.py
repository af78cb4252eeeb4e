"""Up to which change nothing is missing on the passive place: told by the source's clock, and never too much."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from orchestrator.agent.ledger import Ledger, ledger_path
from orchestrator.demo.mailbox import INBOX
from tests.support import pairs

pytestmark = pytest.mark.issue("5.4 cut: the source's own clock goes with what is acknowledged")
ANN = "ex.org/ann"


def ledger(laid: pairs.Laid) -> tuple[int, dict[bytes, int]]:
    """(complete, base -> changed) as the passive place has it."""
    laid.end()
    (state,) = laid.state("m").iterdir()
    opened = Ledger(ledger_path(str(laid.state("m")), state.name))
    rows = {base: held.changed for lid in opened.places for base, held in opened.all_held(lid).items()}
    complete = int(opened.meta.get("complete") or 0)
    opened.close(clean=True)
    return complete, rows


def test_each_row_carries_the_ctime_under_which_it_was_seen(laid: pairs.Laid) -> None:
    box = pairs.Mailbox(laid.source / ANN)
    first, second = (box.folder(INBOX).deliver(b"%d\n" % number) for number in range(2))
    laid.sync()
    complete, rows = ledger(laid)
    assert rows == {
        one.base: Path(box.folder(INBOX).messages()[one.base]).stat().st_ctime_ns for one in (first, second)
    }
    assert 0 < complete < time.time_ns() - 1_500_000_000
    box.folder(INBOX).flag(first.base, "S")
    laid.open()
    laid.sync()
    later, flagged = ledger(laid)
    assert flagged[first.base] == box.folder(INBOX).messages()[first.base].stat().st_ctime_ns > rows[first.base]
    assert later > complete


def test_what_cant_be_read_leaves_it_where_it_was(laid: pairs.Laid) -> None:
    box = pairs.Mailbox(laid.source / ANN)
    box.create("Sent")
    box.folder(INBOX).deliver(b"1\n")
    laid.sync()
    before = ledger(laid)[0]
    (box.folder("Sent").path / "cur").rename(box.root / "elsewhere")
    (box.folder("Sent").path / "cur").symlink_to(box.root / "elsewhere")
    box.folder(INBOX).deliver(b"2\n")
    laid.open()
    laid.sync()
    after, rows = ledger(laid)
    assert len(rows) == 2
    assert after == before > 0
