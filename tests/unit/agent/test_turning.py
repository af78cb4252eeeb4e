"""When the guard of a host lets its store be turned, and when it doesn't."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agent import marker
from orchestrator.agent.beneath import Root
from orchestrator.agent.marker import Marker
from orchestrator.agent.serve import Fault
from orchestrator.agent.turning import Order, disagreement, turned
from tests.unit.agent.test_guardtalk import answered, guard

__all__ = ["guard"]  # a fixture: a real guard, without a kernel

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


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The mirror's, passive in epoch 1, on a host with a guard."""
    (tmp_path / "store").mkdir()
    (tmp_path / "guard.json").touch()
    with Root(str(tmp_path / "store")) as root:
        marker.write(root, Marker("id", "org", "mirror", "passive", 1, 7, "n", "b"))
    return tmp_path / "store"


def turn(store: Path, run: str) -> dict[str, Any]:
    head = {"operation": "op", "epoch": 2, "role": "active", "active": "mirror"}
    work = turned(str(store), str(store.parent / "agent"), head, guard=str(store.parent / "guard.json"), run=run)
    while True:
        try:
            next(work)
        except StopIteration as end:
            told: dict[str, Any] = end.value.head
            return told


def test_a_store_follows_its_host_s_guard_into_the_next_epoch(store: Path, guard: str) -> None:
    answered({"verb": "begin", "operation": "op-1", "epoch": 1, "active": "primary"}, guard)
    mark = (store / ".mailmirror/store.json").read_bytes()
    with pytest.raises(Fault, match="it has to be in epoch 2 first") as refused:
        turn(store, guard)
    assert refused.value.code == "refused"
    assert (store / ".mailmirror/store.json").read_bytes() == mark
    assert not (store.parent / "agent").exists()
    advance = {"verb": "advance", "operation": "op-2", "epoch": 2, "active": "mirror", "proof": "tombstone of epoch 2"}
    answered(advance, guard)
    told = turn(store, guard)
    assert (told["made"], told["marker"]["role"], told["marker"]["epoch"]) == (True, "active", 2)
    assert told["marker"]["generation"] == 8


def test_a_store_isn_t_turned_while_its_host_s_guard_is_silent(store: Path, tmp_path: Path) -> None:
    with pytest.raises(Fault) as refused:
        turn(store, str(tmp_path / "nowhere"))
    assert refused.value.code == "unguarded"
    with Root(str(store)) as root:
        found = marker.read(root)
    assert found is not None
    assert (found.role, found.epoch) == ("passive", 1)
