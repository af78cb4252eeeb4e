"""The report of a rejoin, by message: delivered, applied, listed and not applied, at risk, left for a person. Pure.

It is a paper beside the journal (`records.papers`): JSON, made of the plan and of what carrying it out came to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.replication.homecoming import Outcome
from orchestrator.replication.reclaim import AT_RISK, KINDS, Act, Line, Plan

FOUND, PLAN, RECLAIMED, REPORT = "found", "plan", "reclaimed", "report"
"""The papers of a rejoin. The journal notes all but the last, which is for people: nothing is decided by it."""
_APPLIED = {"move": "flags or place", "copy": "copy", "folder": "folder"}


def counts(plans: Iterable[Plan]) -> dict[str, int]:
    """How many of each kind, over all stores."""
    total: Counter[str] = Counter()
    for plan in plans:
        total.update(plan.counts)
    return dict(total)


def said(known: Any) -> str:
    """A note of a step, as a sentence."""
    if isinstance(known, Mapping) and "counts" in known:
        return sentence(known["counts"])
    return str(known.get("said", "done")) if isinstance(known, Mapping) else str(known)


def sentence(found: Mapping[str, int]) -> str:
    """Counts by kind, for people."""
    rows = [f"{count:,} × {KINDS.get(kind, kind)}" for kind, count in found.items() if count]
    return "; ".join(rows) or "it has nothing of its own"


def line(each: Line) -> dict[str, Any]:
    """A line of a plan as JSON; times in nanoseconds since 1970, 0 where there is none."""
    return {**each._asdict(), "what": KINDS[each.kind], "at_risk": each.kind in AT_RISK}


def store_report(root: str, cut: Mapping[str, Any] | None, plan: Plan, outcome: Outcome) -> dict[str, Any]:
    """What became of one store's differences. `stood` is the folder by its name on the returned host."""
    delivered = [
        {
            "account": act.account, "folder": act.there.folder, "stood": act.stood.folder, "base": act.base,
            "message_id": outcome.message_ids.get(key, ""), "sha256": outcome.delivered[key],
        }
        for act in plan.acts
        if act.stood is not None and (key := (act.account, act.stood.folder, act.base)) in outcome.delivered
    ]  # fmt: skip
    listed = [line(each) for each in plan.lines if each.kind not in ("message", "flags", "move", "copy", "folder")]
    return {
        "root": root, "cut": cut, "delivered": delivered, "applied": [_act(act) for act in outcome.applied],
        "outrun": [_act(act) for act in outcome.outrun],
        "at_risk": [each for each in listed if each["at_risk"]],
        "aside": [each for each in listed if each["kind"] == "other"],
        "listed": [each for each in listed if not each["at_risk"] and each["kind"] != "other"],
        "known_already": outcome.again,
    }  # fmt: skip


def _act(act: Act) -> dict[str, Any]:
    here = list(act.here) if act.here is not None else None
    return {
        "what": _APPLIED[act.what], "account": act.account, "base": act.base, "from": here, "to": list(act.there),
    }  # fmt: skip


def report(
    pair: str, operation: str, returned: str, active: str, epoch: int, stores: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The whole of it, with counts over all stores."""
    names = ("delivered", "applied", "outrun", "at_risk", "aside", "listed")
    return {
        "pair": pair, "operation": operation, "returned": returned, "active": active, "epoch": epoch,
        "counts": {name: sum(len(each[name]) for each in stores) for name in names}, "stores": list(stores),
        "equal": None,
    }  # fmt: skip
