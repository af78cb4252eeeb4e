"""What several acts look at: what the product and the guards tell, and both trees held side by side.

Invariant: read only.
"""

from __future__ import annotations

import time
from collections import Counter

from orchestrator.demo import watch
from orchestrator.demo.host import Host
from orchestrator.demo.stage import Stage

PATIENCE = 30.0  # seconds until what must happen is said not to happen


def equal(stage: Stage, claim: str) -> None:
    """Prove that both trees are the same, bodies, flags and UIDs. Errors: StillRunning, BrokenPromise."""
    stage.until_equal(PATIENCE)
    trees = [watch.tree(host.store, deep=True) for host in stage.site.mail_hosts]
    found = watch.differences(*trees)
    stage.story.proof(claim, not found, "; ".join(found[:3]))


def each_once(stage: Stage, came: list[watch.Delivery], claim: str) -> None:
    """Prove that each of these letters was taken once and stands once on both hosts. Errors: BrokenPromise."""
    ids = [each.identity for each in came]
    wrong = [f"{each} was taken {times} times" for each, times in Counter(ids).items() if times > 1]
    for host in stage.site.mail_hosts:
        stand = watch.identities(host.store)
        wrong += [f"{each} stands {stand[each]} times on {host.name}" for each in ids if stand[each] != 1]
    stage.story.proof(claim, not wrong, "; ".join(wrong[:3]))


def guard(stage: Stage, host: Host) -> dict[str, object]:
    """What `mailmirror-guard status` on a host says."""
    return stage.product.guard(str(host.guard), "status", "--format", "json")


def until_guard(stage: Stage, host: Host, *, serves: bool) -> float:
    """Seconds until a mail host's guard, its lease armed, says that it serves, or doesn't. Errors: StillRunning."""
    began = time.monotonic()
    told: dict[str, object] = {}

    def holds() -> bool:
        told.update(guard(stage, host))
        return told["armed"] is True and told["serves"] is serves

    watch.until(holds, PATIENCE, lambda: str(told))
    return time.monotonic() - began


# ---- what is told, taken apart ---------------------------------------------------------------------------------------


def report(told: object) -> dict[str, object]:
    """The one report of a pair with one mirror."""
    if not isinstance(told, list) or len(told) != 1:
        raise ValueError(f"one report was expected, not {told!r}")
    return mapping(told[0])


def mapping(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError(f"a mapping was expected, not {value!r}")
    return value


def number(value: object) -> float:
    if not isinstance(value, int | float):
        raise ValueError(f"a number was expected, not {value!r}")
    return float(value)
