"""A drill: the users are moved to the mirror and home again, each by an operation of its own; what came of it is kept.

A controller that dies in one leaves that part to whoever takes it up, and nobody begins the next one: users who are at
the mirror are served there. Invariant: the way home isn't begun unless the way there is done, which its playbook proves
from outside; and a drill stands in the journal before its first part begins.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from orchestrator.errors import MailmirrorError
from orchestrator.failover import journeys, playbook
from orchestrator.failover.journeys import Means
from orchestrator.records.journal import Journal
from orchestrator.records.marks import Json, Phase

NAME = "drill"
BEGUN, PARTLY, DONE = "begun", "partly done", "done"
LATER = "looked at when it begins"


class Part(NamedTuple):
    """One of its operations. `away`: seconds from when users were turned away until they were proven to be served
    again, None where it didn't come so far.
    """

    journey: str
    operation: str
    state: str
    why: str
    away: float | None


def planned(means: Means) -> dict[str, Any]:
    """The first part's steps with what is there now, and those of the parts that follow, as JSON."""
    first, *others = playbook.load(NAME).parts
    journeys.demand(means, NAME)
    told = journeys.planned(means, first)
    parts = [{**told, "journey": first}]
    for journey in others:
        steps = [
            {
                "number": line.number, "verb": line.verb, "why": line.why, "within": line.within,
                "now": "later", "said": LATER,
            }
            for line in playbook.load(journey).lines
        ]  # fmt: skip
        parts.append(
            {
                "journey": journey, "active": told["passive"], "passive": told["active"], "epoch": told["epoch"] + 1,
                "steps": steps,
            }
        )  # fmt: skip
    return {"active": told["active"], "passive": told["passive"], "epoch": told["epoch"], "parts": parts}


def told(
    means: Means, *, by: str, reason: str, progress: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:  # fmt: skip
    """All of it, and how it ended, as JSON. Raises what the first part raises before it is begun."""
    began = time.monotonic()
    name = time.strftime("drill-%Y%m%d-%H%M%S-", time.gmtime()) + secrets.token_hex(2)
    journeys.demand(means, NAME)
    _keep(means, {"id": name, "by": by, "reason": reason, "state": BEGUN, "parts": []})
    parts: list[Part] = []
    ended: dict[str, Any] = {}
    why = ""
    for journey in playbook.load(NAME).parts:
        try:
            ended = journeys.told(means, journey, by=by, reason=f"{name} {reason}".strip(), progress=progress,
                                  part_of=name)  # fmt: skip
        except MailmirrorError as error:
            if not parts:
                _keep(means, _summary(name, by, reason, "not begun", parts))
                raise
            why = f"the {journey} can't begin: {error} {error.remedy}"
            break
        parts.append(Part(journey, ended["operation"], ended["state"], ended["why"], away(means, ended["operation"])))
        if ended["state"] != DONE:
            why = f"the {journey} is {ended['state']}: {ended['why']}"
            break
        means = replace(means, lag=None)  # whoever followed until then knows of the earlier direction alone
    state = DONE if not why else PARTLY if parts[0].state == DONE else parts[0].state
    _keep(means, _summary(name, by, reason, state, parts))
    return {
        "operation": name, "pair": means.pair.name, "journey": NAME, "state": state,
        "why": why or "the users moved and are home again", "active": ended["active"], "epoch": ended["epoch"],
        "seconds": round(time.monotonic() - began, 3), "parts": [part._asdict() for part in parts],
    }  # fmt: skip


def away(means: Means, operation: str) -> float | None:
    """See `Part.away`, by the journal's marks."""
    with Journal(means.pair.state_dir) as journal:
        marks = journal.marks(operation)
    since = [mark.at for mark in marks if (mark.verb, mark.phase) == ("drain", Phase.ACTING)]
    until = [mark.at for mark in marks if (mark.verb, mark.phase) == ("verify_outside", Phase.VERIFIED)]
    return round(until[0] - since[0], 3) if since and until else None


def _summary(name: str, by: str, reason: str, state: str, parts: list[Part]) -> dict[str, Json]:
    return {"id": name, "by": by, "reason": reason, "state": state, "parts": [part._asdict() for part in parts]}


def _keep(means: Means, summary: Mapping[str, Json]) -> None:
    with Journal(means.pair.state_dir) as journal:
        journal.event(means.pair.name, NAME, summary)
