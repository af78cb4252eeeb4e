"""The passive place's agent dies before, within and behind every act upon its disk; then and later nothing is wrong.

A batch of every kind of change is on its way. The acts are counted in a first run and each is tried, or, where they are
many, a sample by a seed that is printed; ALL_CRASHES=1 tries all.
"""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest

from tests.faults.crashing import NEVER, Crash, History, a_mortal_pair, chosen, failures
from tests.support import seeds


def lived(crash: Crash, many: bool) -> list[str]:
    """One life: a copied store, a batch of changes, a crash, the truth, a restart, equality; the acts up to the end."""
    with a_mortal_pair() as laid:
        history = History(laid, many=many)
        history.begin()
        history.change()
        laid.pass_with("m", crash)
        history.truth()
        history.made_good()
        return laid.counted()


@pytest.mark.issue("2.P kill agent before and after every act of the passive place; restart")
@pytest.mark.issue("2.5 order; durability before the name; folder renames, moves, copies, flags and sidecars")
@pytest.mark.parametrize("many", [False, True], ids=["few", "many"])
@pytest.mark.timeout(1800)
def test_a_passive_agent_may_die_at_any_act(many: bool) -> None:
    acts = lived(NEVER, many)
    kinds = Counter(acts)
    missing = {"open", "write", "rename", "link", "unlink", "mkdir", "exchange", "commit"} - kinds.keys()
    assert not missing, "the batch makes the agent act in every way"
    seed = seeds.drawn("crash_passive")
    crashes = chosen(acts, seed)
    print(f"{len(acts)} acts {dict(kinds)}, {len(crashes)} crashes, seed {seed}")
    failed = failures(crashes, acts, partial(lived, many=many))
    assert not failed, "\n".join(failed)
