"""The delete firewall: which accounts' deletions may flow. Pure.

Deletion isn't contagious (G5): a store that is emptied, restored or mass-deleted must never
empty its mirror. Deletions flow inside budgets counted over ten minutes; what a mail user's own
session removed, and what only moved, doesn't count. Over budget an account's deletions wait for
an operator, everything else flows.

Invariant: with the same facts the answer is the same; nothing here knows a clock or a host.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.inventory.model import DeleteBudget


@dataclass(frozen=True)
class Death:
    """Deletions of one account in the source's change log that aren't applied yet."""

    account: str
    counted: int  # those that count against the budget
    messages: int  # messages in the account now, after them


@dataclass(frozen=True)
class Verdict:
    hold: dict[str, str]  # account -> why its deletions wait
    tripped: tuple[str, ...]  # accounts over budget just now: what was deleted lately comes back


def permits(facts: Mapping[str, Any], *, suspect: bool) -> bool:
    """Whether any removal may flow from a source that tells this of itself: nothing about it is odd."""
    return bool(facts.get("whole")) and not facts.get("trouble") and not suspect


def judge(
    deaths: list[Death], applied: dict[str, int], waiting: frozenset[str], store_messages: int, budget: DeleteBudget
) -> Verdict:
    """Which accounts' deletions wait.

    `applied`: counted deletions per account that were applied within the last ten minutes;
    `waiting`: accounts with deletions that wait already; `store_messages`: messages in the store now.
    """
    minutes = f"{budget.within / 60:g} minutes"
    hold: dict[str, str] = {}
    tripped: list[str] = []
    for death in deaths:
        if death.account in waiting:
            hold[death.account] = "earlier deletions of this account wait"
            continue
        total = death.counted + applied.get(death.account, 0)
        before = death.messages + total
        limit = max(budget.account_messages, int(budget.account_percent / 100 * before))
        if death.counted and total > limit:
            hold[death.account] = f"{total} messages deleted within {minutes}, of {before}; the budget is {limit}"
            tripped.append(death.account)
    total = sum(d.counted for d in deaths if d.account not in hold) + sum(applied.values())
    limit = max(budget.store_messages, int(budget.store_percent / 100 * (store_messages + total)))
    if total > limit:
        for death in deaths:
            if death.counted and death.account not in hold:
                hold[death.account] = f"{total} messages deleted in this store within {minutes}; the budget is {limit}"
                tripped.append(death.account)
    return Verdict(hold, tuple(tripped))
