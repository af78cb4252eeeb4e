"""What the daemon shows to browsers, pollers and Prometheus: the pages' sources, and the server that they stand on.

Invariant: it only reads, but for answers, which are orders. A page's look at the journal is a connection of its own, so
that it waits for nobody.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from orchestrator.alerts.conditions import PAGE, conditions
from orchestrator.inventory.model import Inventory
from orchestrator.records import database, history
from orchestrator.records.journal import Journal
from orchestrator.web.confirm import Confirms
from orchestrator.web.pages import Row, Sources, Trouble, application
from orchestrator.web.serving import Serving
from orchestrator.web.trail import Trail


def serving(
    inventory: Inventory,
    rows: Callable[[], Sequence[Row]],
    explained: Callable[[str], Sequence[str]],
    decides: Callable[[], bool],
    trail: Trail,
    confirms: Confirms,
    metrics: Callable[..., Any],
) -> Serving:
    """The web server on `mm_listen`. Raises UsageError where that can't be had."""

    def journeys(pair: str) -> list[Mapping[str, Any]]:
        directory = inventory.pairs[pair].state_dir
        if not database.path_of(directory).exists():
            return []
        with Journal(directory) as journal:
            found: list[Mapping[str, Any]] = [
                {
                    "journey": each.opening.journey, "by": each.opening.by, "reason": each.opening.reason,
                    "began": each.began, "state": str(each.state),
                }
                for each in journal.operations(pair)
            ]  # fmt: skip
            return sorted([*found, *_drills(journal, pair)], key=lambda each: float(each["began"]))

    sources = Sources(rows, _wrong, explained, journeys, decides, trail, confirms)
    address, public = str(inventory.listen), (urlsplit(inventory.url or "").netloc)
    return Serving(address, application(sources, metrics, loopback=_is_loopback(address), public=_named(public)))


def _drills(journal: Journal, pair: str) -> list[Mapping[str, Any]]:
    found = history.drills(journal, pair)
    return [
        {
            "journey": "drill", "by": each.get("by", ""), "reason": each.get("reason", ""), "began": each["at"],
            "state": each["state"],
        }
        for each in found
    ]  # fmt: skip


def _wrong(row: Row) -> list[Trouble]:
    return [Trouble(each.severity == PAGE, each.summary, each.remedy) for each in conditions(row)]


def _named(netloc: str) -> str:
    """The host of HOST or HOST:PORT, as requests say it."""
    return netloc if netloc.endswith("]") else netloc.rpartition(":")[0] or netloc


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return not host or host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
