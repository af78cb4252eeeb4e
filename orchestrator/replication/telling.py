"""A pair's status, out of what its source and its flows last told. Pure; it asks nobody.

Invariant: what isn't known of a place is None or zero, never what was last known of another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.inventory.model import Host
from orchestrator.replication.flow import Flow
from orchestrator.replication.report import PairStatus, PassiveStatus, Tally


def of_source(status: PairStatus, facts: Sequence[Mapping[str, Any]]) -> None:
    """Fill in what the source told of each store; nothing where it hasn't told anything yet."""
    if not facts:
        return
    status.watch, status.watch_why = str(facts[0]["watch"]), str(facts[0]["watch_why"])
    status.accounts = sum(int(f["accounts"]) for f in facts)
    status.folders = sum(int(f["folders"]) for f in facts)
    status.messages = sum(int(f["messages"]) for f in facts)
    status.epoch = int(facts[0]["marker"]["epoch"])
    status.unstable_folders = sum(int(f["unstable"]) for f in facts)
    status.missing_accounts = [str(a) for f in facts for a in f["missing"]]
    status.trouble = next((str(f["trouble"]) for f in facts if f["trouble"]), status.trouble)


def of_place(host: Host, flows: Sequence[Flow], equal: float | None, problems: Sequence[str]) -> PassiveStatus:
    """One passive place over all its stores. `equal`: when it was last proven; `problems` are the source's."""
    if not flows:
        return PassiveStatus(host.name, host.place)
    lags = [flow.status.lag_seconds for flow in flows]
    marks = [flow.status.watermark for flow in flows if flow.status.watermark is not None]
    return PassiveStatus(
        host.name, host.place,
        connected=all(not flow.sink.link.lost.is_set() for flow in flows),
        pending=sum(flow.status.pending for flow in flows),
        lag_seconds=None if None in lags else max((lag for lag in lags if lag is not None), default=None),
        watermark=max(marks, default=None),
        waiting=[each for flow in flows for each in flow.status.waiting],
        sidecars_wait=sum(flow.status.sidecars_wait for flow in flows),
        equal_as_of=equal,
        tally=summed(flow.status.tally for flow in flows),
        problems=[p for flow in flows for p in flow.status.problems[-20:]] + list(problems[-20:]),
    )  # fmt: skip


def problems(host: str, facts: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the source couldn't read."""
    return [
        f"{host}: {folder}{'/' if name else ''}{name}: {what}"
        for each in facts
        for folder, name, what in each["problems"]
    ]


def summed(tallies: Iterable[Tally]) -> Tally:
    """All of them as one."""
    total = Tally()
    for tally in tallies:
        for name, value in vars(tally).items():
            setattr(total, name, getattr(total, name) + value)
    return total
