"""The table of journeys: medians of what was away, steps by their own seconds, and runs that count for nothing."""

from __future__ import annotations

from bench.journeys import Run, steps_of, table

TOLD = """example_test: switchover; `mailmirror plan switchover` shows its steps.
   5.13 s  ready: done: found so: nothing speaks against it
   6.46 s  presync: done: the passive place lacks 0.0 s
   6.60 s  quiesce: to do: it isn't quiet
   7.00 s  quiesce: done: it is quiet
   7.01 s  switchover: the end: every step is done
"""


def test_a_step_took_what_passed_since_the_one_before_was_done() -> None:
    found = {step: round(seconds, 2) for step, seconds in steps_of(TOLD).items()}
    assert found == {"ready": 5.13, "presync": 1.33, "quiesce": 0.54}


def test_a_run_that_broke_a_promise_counts_for_nothing() -> None:
    good = [Run({"imap": seconds}, {"serve": 1.0}, "", TOLD) for seconds in (2.0, 3.0, 7.0)]
    shown = table({"switchover": [*good, Run({"imap": 0.1}, {}, "lost", TOLD)]})
    assert [line.split()[:5] for line in shown[1:3]] == [
        ["switchover", "imap", "3.00", "7.00", "3"],
        ["switchover", "FAILED:", "lost"],
    ]
    assert shown[3].split() == ["switchover", "serve", "1.00", "1.00"]
