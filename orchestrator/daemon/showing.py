"""What the daemon shows to browsers, pollers and Prometheus: the pages' sources, and the server that they stand on.

Invariant: it only reads, but for answers, which are orders. A page's look at the journal is a connection of its own, so
that it waits for nobody.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from orchestrator.alerts.conditions import PAGE, conditions
from orchestrator.inventory.model import Inventory
from orchestrator.records import database, history
from orchestrator.records.journal import Journal
from orchestrator.web.confirm import Confirms
from orchestrator.web.pages import Past, Row, Sources, Trouble, application
from orchestrator.web.serving import Serving
from orchestrator.web.trail import Trail

CHANGES = 40
"""Decisions that are looked through for the history."""


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

    def told(pair: str) -> list[Past]:
        directory = inventory.pairs[pair].state_dir
        if not database.path_of(directory).exists():
            return []
        with Journal(directory) as journal:
            return sorted([*_journeys(journal, pair), *_drills(journal, pair), *_changes(journal, pair)])

    sources = Sources(rows, _wrong, explained, told, decides, trail, confirms)
    address, public = str(inventory.listen), (urlsplit(inventory.url or "").netloc)
    return Serving(address, application(sources, metrics, loopback=_is_loopback(address), public=_named(public)))


def _journeys(journal: Journal, pair: str) -> Iterator[Past]:
    for each in journal.operations(pair):
        yield _past(each.opening.journey, each.began, str(each.state), each.opening.by, each.opening.reason)


def _drills(journal: Journal, pair: str) -> Iterator[Past]:
    for each in history.drills(journal, pair):
        yield _past("drill", float(each["at"]), str(each["state"]), each.get("by", ""), each.get("reason", ""))


def _past(journey: str, at: float, state: str, by: str, reason: str) -> Past:
    return Past(at, f"{journey} by {by}: {state}{f' ({reason})' if reason else ''}", journey, state)


def _changes(journal: Journal, pair: str) -> Iterator[Past]:
    """Of the newest decisions those that led to another state."""
    for kept in journal.decisions(pair, newest=CHANGES):
        told: Any = kept.decision if isinstance(kept.decision, dict) else {}
        if told.get("was") != told.get("state"):
            by = f" (by {told['by']})" if told.get("by") else ""
            yield Past(kept.at, f"{told.get('was')} to {told.get('state')}: {told.get('why')}{by}")


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
