"""What an agent answers to `observe`, checked field by field: it comes from a host that may lie or be broken. Pure.

Invariant: what is returned has exactly what was asked for, finite numbers and short printable words. An answer that
can't be understood is the observer's trouble, never a word on the host that it looked at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

from orchestrator.errors import AgentFault
from orchestrator.health.report import Vitals

LONGEST = 200


class Reading(NamedTuple):
    """What came of one probe; see `agent.probe.Reading`. `how` is empty when the service is well."""

    service: str
    how: str
    why: str
    seconds: float
    expires: float | None


def readings(host: str, head: Mapping[str, Any], kind: str, services: tuple[str, ...]) -> list[Reading]:
    """The readings of these services, in their order; `kind` is the answer's key. Raises AgentFault."""
    told = _rows(host, head, kind, len(services), 6)
    found = [_reading(host, *row) for row in told]
    if tuple(each.service for each in found) != services:
        _garbled(host, f"{kind} of other services than were asked for")
    return found


def _reading(host: str, service: Any, ok: Any, how: Any, why: Any, seconds: Any, expires: Any) -> Reading:
    if not isinstance(ok, bool) or ok == bool(how):
        _garbled(host, f"neither well nor failed: {ok!r:.20} {how!r:.40}")
    took = _number(host, seconds) or 0.0
    return Reading(_word(host, service), _word(host, how), _word(host, why), took, _number(host, expires))


def vitals(host: str, head: Mapping[str, Any], disks: list[str], queue: bool, asked: float, answered: float) -> Vitals:
    """What a host tells of itself; `asked` and `answered` are when, on our clock in seconds since 1970. AgentFault."""
    told = Vitals(at=answered)
    for path, (_, free, inodes, readonly, _why) in zip(disks, _rows(host, head, "disks", len(disks), 5), strict=True):
        shares = [share for share in (_number(host, free), _number(host, inodes)) if share is not None]
        told.disks.append((path, min(shares, default=None), readonly if isinstance(readonly, bool) else None))
    for letters, oldest, _held, _why in _rows(host, head, "queue", int(queue), 4):
        count, told.oldest = _number(host, letters), _number(host, oldest)
        told.letters = None if count is None else int(count)
    [(wall, _boot, synchronised)] = _rows(host, {"clock": [head.get("clock")]}, "clock", 1, 3)
    theirs = _number(host, wall)
    told.clock = None if theirs is None else theirs - (asked + answered) / 2
    told.synchronised = synchronised if isinstance(synchronised, bool) else None
    return told


def _rows(host: str, head: Mapping[str, Any], key: str, count: int, width: int) -> list[list[Any]]:
    found = head.get(key)
    if not isinstance(found, list) or len(found) != count:
        _garbled(host, f"not {count} {key}")
    if any(not isinstance(row, list) or len(row) != width for row in found):
        _garbled(host, f"{key} without {width} fields")
    return found


def _word(host: str, value: Any) -> str:
    if not isinstance(value, str):
        _garbled(host, f"{value!r:.40} in place of a word")
    return "".join(each if each.isprintable() else " " for each in value[:LONGEST])


def _number(host: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        _garbled(host, f"{value!r:.40} in place of a number")
    return float(value)


def _garbled(host: str, what: str) -> NoReturn:
    raise AgentFault(
        f"{host}: its agent answered a look with {what}", code="garbled",
        remedy="Run `mailmirror agent update` there, or use the version that is installed there.",
    )  # fmt: skip
