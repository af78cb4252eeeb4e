"""What the daemon's status says of the copy and of the canary, as `status --format json` has it. Pure.

Without a daemon (`daemon` says why) its last snapshot tells only what doesn't age: when both ends were equal last.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.inventory.model import Host
from orchestrator.readiness.facts import Canary, Copied, Unknown


def _row(status: Mapping[str, Any], passive: Host) -> Mapping[str, Any]:
    return next((row for row in status.get("passives", []) if row.get("host") == passive.name), {})


def copied(status: Mapping[str, Any], passive: Host, daemon: str) -> Copied | Unknown:
    if daemon:
        return Unknown("no daemon tells it", "Start it: `mailmirror run`.")
    row = _row(status, passive)
    waiting = sum(int(held["count"]) for held in row.get("waiting", []))
    return Copied(str(status.get("link", "")), row.get("lag_seconds"), waiting)


def equal(status: Mapping[str, Any], passive: Host) -> float | None:
    """Known without a daemon as well: the last snapshot has it."""
    return _row(status, passive).get("equal_as_of")


def canary(status: Mapping[str, Any], active: str, daemon: str) -> Canary | Unknown:
    if daemon:
        return Unknown("no daemon sends any", "Start it: `mailmirror run`.")
    places = (status.get("health") or {}).get("places", [])
    letter = next((place.get("canary") for place in places if place.get("host") == active), None)
    if letter is None:
        return Unknown("no letter was sent yet")
    return Canary(int(letter["lost"]), f"{letter['how']} ({letter['why']})", letter["last_success"])
