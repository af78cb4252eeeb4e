"""The proof that a passive place equals the active: both ends' lines, taken at one point of the change log.

Invariant: a difference is reported only from lines that were taken while nothing was on its way,
or after as many tries as `TRIES`; a deep difference is read from the disks themselves.
"""

from __future__ import annotations

import time
from typing import Any

from orchestrator.remote.pending import Pending
from orchestrator.replication import equality
from orchestrator.replication.flow import PATIENCE, Flow
from orchestrator.replication.heads import checked, content
from orchestrator.replication.report import Difference, VerifyReport
from orchestrator.replication.unasked import End

TRIES = 8
HERE, THERE = "source.digests", "sink.digests"


def verify(pair: str, host: str, flows: list[Flow], deep: bool) -> VerifyReport:
    """Compare one passive place's stores with the active's. Raises LinkLost, AgentFault."""
    began = time.monotonic()
    found: list[Difference] = []
    accounts: set[str] = set()
    folders = messages = waiting = 0
    for flow in flows:
        active, passive, waits = _still_lines(flow)
        found += equality.compare(active, passive)
        if deep:
            found += _deep(flow, active)
        accounts |= {line.account for line in active.values() if line.account}
        folders += sum(line.maildir for line in active.values())
        messages += sum(line.messages for line in active.values())
        waiting += waits
    now = time.time()
    return VerifyReport(
        pair, host, not found, deep, len(accounts), folders, messages, waiting,
        found[: equality.MAX_DIFFERENCES], now, time.monotonic() - began,
    )  # fmt: skip


def _still_lines(flow: Flow) -> tuple[dict[str, equality.Line], dict[str, equality.Line], int]:
    """Both ends' lines at one point of the change log: taken again while mail goes on arriving."""
    for _ in range(TRIES):
        flow.pull()
        both = ((flow.sink, THERE), (flow.source, HERE))  # side by side
        asked = [(end, _ask(end, verb), verb) for end, verb in both]
        there, here = (_told(end, pending, verb) for end, pending, verb in asked)
        if int(here[0]["head"]) <= flow.live and here[0]["whole"]:
            break
    return here[1], there[1], int(there[0]["waiting"])


def _digests(end: End, verb: str, **more: Any) -> tuple[dict[str, Any], dict[str, equality.Line]]:
    return _told(end, _ask(end, verb, **more), verb)


def _ask(end: End, verb: str, **more: Any) -> Pending:
    return end.link.start(verb, {"store": end.path, **more})


def _told(end: End, pending: Pending, verb: str) -> tuple[dict[str, Any], dict[str, equality.Line]]:
    frame = pending.result(PATIENCE)
    return checked(end.host, verb, frame.head), equality.lines(content(end.host, "lines", frame) or [])


def _deep(flow: Flow, active: dict[str, equality.Line]) -> list[Difference]:
    """Differences by message, from the disks themselves. A folder that changed meanwhile is read again."""
    paths = [path for path, line in active.items() if line.maildir]
    found: list[Difference] = []
    for _ in range(3):
        if not paths:
            return []
        found = []
        here = _digests(flow.source, HERE, deep=True, paths=paths)[1]
        there = _digests(flow.sink, THERE, deep=True, paths=paths)[1]
        paths = [p for p in paths if p not in here or p not in there or here[p].digest != there[p].digest]
        for path in paths[:20]:
            one = {"deep": True, "names": True, "paths": [path]}
            mine = _digests(flow.source, HERE, **one)[1].get(path)
            yours = _digests(flow.sink, THERE, **one)[1].get(path)
            if mine is None or yours is None:
                found.append(Difference(active[path].account, path, "is missing on one of the places"))
            else:
                found += [Difference(mine.account, path, what) for what in equality.by_message(mine, yours)]
        flow.pull()
    return found
