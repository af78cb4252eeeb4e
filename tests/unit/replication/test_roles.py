"""Who is active, by the markers: one place of the latest epoch, or a refusal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import Refused
from orchestrator.replication.roles import Claim, active_of, claim

CLAIMS = st.builds(
    lambda role, epoch: Claim("", role, epoch if role else 0),
    st.sampled_from(("active", "passive", "")),
    st.integers(1, 4),
)


def hosts(*claims: Claim) -> list[Claim]:
    return [each._replace(host=name) for name, each in zip("pma", claims, strict=False)]


def test_no_markers_name_nobody() -> None:
    assert active_of("pair", [hosts(Claim(""), Claim(""))]) is None


def test_a_store_without_markers_leaves_the_word_to_the_others() -> None:
    marked = hosts(Claim("", "passive", 2), Claim("", "active", 2))
    assert active_of("pair", [hosts(Claim(""), Claim("")), marked]) == "m"


def test_the_later_epoch_counts() -> None:
    assert active_of("pair", [hosts(Claim("", "active", 1), Claim("", "active", 2))]) == "m"
    assert active_of("pair", [hosts(Claim("", "active", 3), Claim("", "passive", 1))]) == "p"


def test_an_active_of_an_epoch_that_is_over_isnt_named() -> None:
    with pytest.raises(Refused, match="No place of pair is active in epoch 2"):
        active_of("pair", [hosts(Claim("", "active", 1), Claim("", "passive", 2))])


def test_stores_that_disagree_are_half_turned() -> None:
    with pytest.raises(Refused, match="disagree on who is active: m, p") as refusal:
        active_of("pair", [hosts(Claim("", "active", 1), Claim("", "passive", 1)),
                           hosts(Claim("", "passive", 2), Claim("", "active", 2))])  # fmt: skip
    assert refusal.value.remedy


def test_a_claim_is_what_the_marker_says() -> None:
    assert claim("p", None) == Claim("p")
    assert claim("p", {"role": "active", "epoch": 3, "store": "x"}) == Claim("p", "active", 3)


@given(st.lists(CLAIMS, min_size=2, max_size=3))
def test_who_is_named_is_the_only_active_place_of_the_latest_epoch(drawn: list[Claim]) -> None:
    claims = hosts(*drawn)
    latest = max((each.epoch for each in claims), default=0)
    active = [each.host for each in claims if each == Claim(each.host, "active", latest)]
    try:
        found = active_of("pair", [claims])
    except Refused:
        assert len(active) != 1
    else:
        assert ([found] if found else []) == active
