"""Latency is taken from the renames to what the far side says, and a torn trace line waits for the next reading."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import live
from tests.unit.bench.conftest import Made, uidlist

pytestmark = pytest.mark.issue("2.8 make bench: live latency")


def test_messages_are_delivered_at_the_rate_and_seen_under_their_final_names(made: Made, tmp_path: Path) -> None:
    watched = live.Watched(made.root)
    planned = live.plan(made.tree, 20, 1_720_000_000)
    began = time.monotonic()
    live.generate(made.root, planned, 100, tmp_path / "record")
    assert time.monotonic() - began >= 0.19
    sent = {line.split()[0]: int(line.split()[1]) for line in (tmp_path / "record").read_text().splitlines()}
    assert sent.keys() == {delivery.base for delivery, _ in planned}
    deadline = time.monotonic() + 10
    while not sent.keys() <= watched.arrivals().keys():
        assert time.monotonic() < deadline
    for delivery, _ in planned:
        _, rows = uidlist(made.root / delivery.folder / "dovecot-uidlist")
        assert delivery.base in {base for _, base in rows}


def test_a_torn_last_line_of_a_trace_is_left_out(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    assert live.traced(trace) == {}
    trace.write_text('{"name": "a", "durable_ns": 5}\n{"name": "b", "dur')
    assert live.traced(trace) == {"a": 5}


@given(st.lists(st.floats(0, 10), min_size=1))
def test_percentiles_are_values_that_occurred(values: list[float]) -> None:
    ordered = sorted(values)
    assert live.percentile(ordered, 0.5) in ordered
    assert live.percentile(ordered, 0.99) <= ordered[-1]
    assert live.percentile(ordered, 1.0) == ordered[-1]
