"""Jobs side by side: one end for all, and what hangs, fails or comes late."""

from __future__ import annotations

import threading
import time

import pytest

from orchestrator.errors import HostUnreachable
from orchestrator.inventory.model import Host
from orchestrator.readiness.facts import Unknown
from orchestrator.readiness.gather import opened
from orchestrator.readiness.together import Links, side_by_side


def test_a_job_that_hangs_is_unknown_and_delays_no_other() -> None:
    never = threading.Event()

    def away() -> int:
        raise HostUnreachable("mail2:  no\nroute.", remedy="Mend the cable.")

    began = time.monotonic()
    found = side_by_side({"hangs": lambda: int(never.wait(60)), "well": lambda: 7, "away": away}, 0.3)
    assert time.monotonic() - began < 10
    never.set()
    assert list(found) == ["hangs", "well", "away"]
    assert found["well"] == 7 and found["away"] == Unknown("mail2: no route", "Mend the cable.")
    assert isinstance(found["hangs"], Unknown) and "within 0.3 s" in found["hangs"].why and found["hangs"].remedy


def test_what_is_nobodys_answer_is_an_error_of_ours() -> None:
    with pytest.raises(ZeroDivisionError):
        side_by_side({"broken": lambda: 1 // 0}, 5.0)


def test_a_conversation_that_begins_after_the_end_is_ended_too() -> None:
    links, here = Links(), Host("mail1", "primary", "127.0.0.1", connection="local")
    early = links.keep(opened(here))
    links.close()
    assert early.lost.is_set()
    assert links.keep(opened(here)).lost.is_set()
