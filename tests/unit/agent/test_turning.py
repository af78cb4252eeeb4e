"""When the guard of a host lets its store be turned, and when it doesn't."""

from __future__ import annotations

import re

import pytest

from orchestrator.agent.turning import Order, disagreement

ACTIVE = Order("op", 2, "active", "mirror")
PASSIVE = Order("op", 2, "passive", "mirror")


def told(epoch: int, active: str, tombstone: int = 0) -> dict[str, object]:
    return {"epoch": epoch, "active": active, "tombstone": tombstone}


@pytest.mark.parametrize(
    ("order", "place", "says", "why"),
    [
        (ACTIVE, "mirror", told(2, "mirror"), ""),
        (ACTIVE, "mirror", told(1, "primary"), "it has to be in epoch 2 first"),
        (ACTIVE, "mirror", told(2, "primary"), r"in epoch 2 \(active: primary\)"),
        (ACTIVE, "mirror", told(3, "primary"), "epoch 2 is over"),
        (ACTIVE, "mirror", told(0, ""), "nobody"),
        (PASSIVE, "primary", told(1, "primary", 2), ""),
        (PASSIVE, "primary", told(2, "mirror", 2), ""),
        (PASSIVE, "primary", told(1, "primary"), "no tombstone for epoch 2"),
        (PASSIVE, "primary", told(1, "primary", 1), "no tombstone for epoch 2"),
        (PASSIVE, "primary", told(3, "mirror", 2), "epoch 2 is over"),
        (PASSIVE, "primary", told(2, "primary"), r"in epoch 2 \(active: primary\)"),
        (Order("op", 2, "passive", "primary"), "mirror", told(1, "primary"), ""),
    ],
)
def test_the_register_has_to_agree(order: Order, place: str, says: dict[str, object], why: str) -> None:
    found = disagreement(order, place, says)
    assert re.search(why, found) if why else not found
