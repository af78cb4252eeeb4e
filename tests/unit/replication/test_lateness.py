"""When a place is further behind than mm_rpo lets it be."""

from __future__ import annotations

import pytest

from orchestrator.replication.lateness import is_late

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("rpo", "lag", "linked", "ago", "late"),
    [
        (30.0, 29.0, True, 0.0, False),
        (30.0, 31.0, True, 0.0, True),
        (30.0, None, True, 3600.0, False),
        (30.0, None, False, 29.0, False),
        (30.0, None, False, 31.0, True),
        (30.0, 40.0, False, 5.0, True),
        (30.0, 0.0, False, 3600.0, True),
        (0.0, 1e9, True, 0.0, False),
        (30.0, None, False, NOW, True),
    ],
)
def test_lag_counts_while_there_is_a_link_and_silence_where_there_is_none(
    rpo: float, lag: float | None, linked: bool, ago: float, late: bool
) -> None:
    assert is_late(rpo, lag, linked=linked, seen_at=NOW - ago, now=NOW) is late
