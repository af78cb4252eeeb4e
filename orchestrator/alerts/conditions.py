"""What is wrong with a pair, from its status as JSON: the conditions that people are told of. Pure.

Invariant: each condition says what it means and what to type; what the status doesn't say is no condition.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

PAGE, WARNING = "page", "warning"
"""Wake somebody; or tell somebody by day."""
SEVERITIES = (WARNING, PAGE)
_NOBODY = {
    "BLOCKED": PAGE,
    "DOWN": PAGE,
    "SPLIT_BRAIN": PAGE,
    "HALTED": PAGE,
    "ALONE": WARNING,
    "SERVING_ARCHIVE": PAGE,
}
_MEANING = {
    "BLOCKED": "The active place is down and no fence is proven: nobody is moved by itself.",
    "DOWN": "The active place is down.",
    "SPLIT_BRAIN": "Two places claim the users: replication stands still.",
    "HALTED": "A journey is stuck or was aborted: nothing happens by itself.",
    "ALONE": "One place serves, the other is away or of an older epoch.",
    "SERVING_ARCHIVE": "No mail host serves: users read from the archive.",
}


ASKED = "failover asked"
"""The condition that asks for an answer: its notices carry a link."""


class Condition(NamedTuple):
    """`after`: seconds for which it has to hold before anybody is told; `summary` a sentence, `remedy` what to do.
    `silent_until`: when it is told again, where an operator has put it off (seconds since 1970).
    """

    name: str
    severity: str
    summary: str
    remedy: str
    after: float = 0.0
    silent_until: float = 0.0


def conditions(told: Mapping[str, Any]) -> list[Condition]:
    """All that is wrong with the pair now. `told` is its row of `mailmirror status --format json`."""
    return [*_state(told), *_question(told), *_replication(told), *_places(told), *_readiness(told)]


def _state(told: Mapping[str, Any]) -> Iterator[Condition]:
    state = str(told.get("state", ""))
    severity = _NOBODY.get(state)
    if severity:
        why = f" {told['why']}" if told.get("why") else ""
        yield Condition(
            f"state {state}", severity, f"{_MEANING[state]}{why}", f"`mailmirror explain {told['pair']}` says why, and "
            "what may be done.", after=0.0 if severity == PAGE else 60.0,
        )  # fmt: skip


def _question(told: Mapping[str, Any]) -> Iterator[Condition]:
    decision = told.get("decision") or {}
    if decision.get("asks") == "failover":
        pair, until = told["pair"], float(decision.get("snoozed_until") or 0.0)
        yield Condition(
            ASKED, PAGE, f"A failover of {pair} waits for an operator's word. Could be lost: {decision.get('loss')}.",
            f"`mailmirror failover {pair}` begins it.", silent_until=until,
        )  # fmt: skip


def _replication(told: Mapping[str, Any]) -> Iterator[Condition]:
    pair, link = str(told["pair"]), str(told.get("link", "stopped"))
    if link not in ("live", "catching up"):
        why = str(told.get("trouble") or f"replication is {link}")
        remedy = str(told.get("remedy") or f"`mailmirror status {pair}` shows more.")
        yield Condition("not replicating", WARNING, f"Nothing is copied: {why}", remedy, after=120.0)
    rpo = float(told.get("rpo") or 0.0)
    for passive in told.get("passives", ()):
        host, lag = str(passive["host"]), passive.get("lag_seconds")
        if rpo and lag is not None and lag > rpo:
            what = f"{host} lacks {lag:.0f} s, more than mm_rpo ({rpo:g} s)."
            yield Condition(
                f"behind {host}", WARNING, what, f"`mailmirror status {pair}` shows what waits.", after=120.0
            )
        waiting = passive.get("waiting") or ()
        if waiting:
            count = sum(int(each["count"]) for each in waiting)
            ids = ", ".join(str(each["id"]) for each in waiting[:3])
            what = f"{count} deletions wait at {host}: more than mm_delete_budget lets through."
            yield Condition(f"deletions {host}", WARNING, what, f"If they are meant: `mailmirror ack {pair} {ids}`.")


def _places(told: Mapping[str, Any]) -> Iterator[Condition]:
    pair, health = str(told["pair"]), told.get("health") or {}
    for each in health.get("places", ()):
        host, level = str(each["host"]), str(each["level"])
        said = "; ".join(map(str, each.get("evidence", ())[:3]))
        remedy = f"`mailmirror status {pair}` shows who sees what."
        if level == "DOWN":
            severity = PAGE if each.get("active") else WARNING
            yield Condition(f"down {host}", severity, f"{host} is down: {each.get('analysis', '')}. {said}", remedy)
        elif level == "SUSPECT" and each.get("active"):
            yield Condition(f"suspect {host}", WARNING, f"{host}, the active one, fails. {said}", remedy, after=30.0)
        canary = each.get("canary") or {}
        if int(canary.get("lost", 0)) >= 3:
            what = f"{canary['lost']} test letters in a row were lost at {host}: {canary.get('why', '')}"
            yield Condition(f"canary {host}", PAGE if each.get("active") else WARNING, what, remedy)


def _readiness(told: Mapping[str, Any]) -> Iterator[Condition]:
    readiness = told.get("readiness") or {}
    if readiness.get("at") and not readiness.get("ready"):
        why = " ".join(map(str, readiness.get("reasons", ())[:4]))
        yield Condition(
            "failover not ready", WARNING, f"A failover isn't ready: {why}", f"`mailmirror doctor {told['pair']}`.",
            after=600.0,
        )  # fmt: skip
