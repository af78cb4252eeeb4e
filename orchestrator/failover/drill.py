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
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.errors import MailmirrorError
from orchestrator.failover import journeys, playbook
from orchestrator.failover.journeys import Means
from orchestrator.failover.travelled import away
from orchestrator.records.journal import Journal

NAME = "drill"
BEGUN, PARTLY, DONE = "begun", "partly done", "done"
Go = Callable[[str, str], dict[str, Any]]
"""One part, by its journey and the drill's name; how it ended, as `journeys.as_json`."""
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


def told(means: Means, *, by: str, reason: str, progress: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """All of it, and how it ended, as JSON. Raises what speaks against its beginning."""
    journeys.demand(means, NAME)
    followed = [means, replace(means, lag=None)]  # whoever followed until then knows of the earlier direction alone

    def go(journey: str, name: str) -> dict[str, Any]:
        means = followed.pop(0)
        because = f"{name} {reason}".strip()
        return journeys.told(means, journey, by=by, reason=because, progress=progress, part_of=name)

    return carried_out(means.pair.name, means.pair.state_dir, go, by=by, reason=reason)


def carried_out(pair: str, directory: Path, go: Go, *, by: str, reason: str) -> dict[str, Any]:
    """Its parts one after the other, by `go`, and each word on it in the journal of that directory."""
    began = time.monotonic()
    name = time.strftime("drill-%Y%m%d-%H%M%S-", time.gmtime()) + secrets.token_hex(2)
    parts: list[Part] = []
    ended: dict[str, Any] = {}
    why = ""

    def keep(state: str) -> None:
        told = [part._asdict() for part in parts]
        with Journal(directory) as journal:
            journal.event(
                pair, NAME, {"id": name, "by": by, "reason": reason, "state": state, "why": why, "parts": told}
            )

    keep(BEGUN)
    for journey in playbook.load(NAME).parts:
        try:
            ended = go(journey, name)
        except MailmirrorError as error:
            why = f"the {journey} can't begin: {error} {error.remedy}"
            if not parts:
                keep("not begun")
                raise
            break
        parts.append(Part(journey, ended["operation"], ended["state"], ended["why"], _away(directory, ended)))
        if ended["state"] != DONE:
            why = f"the {journey} is {ended['state']}: {ended['why']}"
            break
    state = DONE if not why else PARTLY if parts[0].state == DONE else parts[0].state
    keep(state)
    return {
        "operation": name, "pair": pair, "journey": NAME, "state": state, "why": why or "moved, and home again",
        "active": ended["active"], "epoch": ended["epoch"], "seconds": round(time.monotonic() - began, 3),
        "parts": [part._asdict() for part in parts],
    }  # fmt: skip


def _away(directory: Path, ended: Mapping[str, Any]) -> float | None:
    """See `Part.away`, by the journal's marks."""
    with Journal(directory) as journal:
        return away(journal.marks(str(ended["operation"])))
