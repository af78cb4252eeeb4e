"""The agent dies before, within and behind every act of a turn: the old role or the new one, and the order again."""

from __future__ import annotations

import json
from functools import partial

import pytest

from orchestrator.agent import uidlist as strict
from orchestrator.errors import HostUnreachable, LinkLost
from tests.faults.crashing import NEVER, Crash, History, Mortal, a_mortal_pair, chosen, failures
from tests.support import pairs, seeds

PLACES = {"p": "primary", "m": "mirror"}


def order(laid: Mortal, host: str) -> None:
    """The mirror becomes active in epoch 2: what `host` is told."""
    head = {"store": laid.pair.hosts[host].stores[0].root, "operation": "op", "epoch": 2, "active": "mirror"}
    laid.links[host].request("store.turn", {**head, "role": "active" if host == "m" else "passive"}, timeout=20)


def lived(crash: Crash, host: str) -> list[str]:
    """One life: a copied store, a turn with a crash in it, the marker's word, the turn again, equality."""
    with a_mortal_pair() as laid:
        history = History(laid, many=False)
        history.begin()
        laid.end()
        laid.crashes = {host: crash}
        try:
            laid.open()
            order(laid, host)
        except (LinkLost, HostUnreachable):
            laid.acts.touch()  # it was killed, as was meant
        laid.end()
        laid.crashes = {}
        mark = json.loads((laid.base / host / "0/.mailmirror/store.json").read_text())
        old, new = (("passive", 1), ("active", 2)) if host == "m" else (("active", 1), ("passive", 2))
        assert (mark["role"], mark["epoch"]) in (old, new)
        laid.open()
        for each in sorted(PLACES, reverse=True):
            order(laid, each)
        laid.session.sync()
        assert laid.session.status().active == "m"
        pairs.equal(laid)
        for listed in laid.base.glob("[pm]/0/**/dovecot-uidlist"):
            assert strict.parse(listed.read_bytes()).usable
        return laid.counted()


@pytest.mark.issue("5.2 an agent may die at any act of a turn")
@pytest.mark.parametrize("host", sorted(PLACES))
@pytest.mark.timeout(600)
def test_an_agent_may_die_at_any_act_of_a_turn(host: str) -> None:
    acts = lived(NEVER, host)
    seed = seeds.drawn("crash_turn")
    crashes = chosen(acts, seed)
    print(f"{len(acts)} acts, {len(crashes)} crashes, seed {seed}")
    failed = failures(crashes, acts, partial(lived, host=host))
    assert not failed, "\n".join(failed)
