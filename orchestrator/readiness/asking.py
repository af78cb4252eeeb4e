"""One host asked, and its answers taken apart: guard, clock, disks, what it runs in, what it sees, who has an address.

Invariant: an answer comes from a host that may lie or be broken. What can't be understood is Unknown, and says so.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import AgentFault
from orchestrator.health import answers
from orchestrator.health.asked import QUEUE
from orchestrator.health.verdict import Disk
from orchestrator.inventory.model import MIRROR, PRIMARY, Host, Pair
from orchestrator.readiness.facts import Clock, Guard, Unknown
from orchestrator.remote.host import Conversation

SECONDS = 5.0
"""For one answer beyond the time that its looks may take."""
LOOK = 3.0
APART = 2.0
"""Seconds between two moments: an answer that took 10 ms tells the speed to within half a percent then."""
WORD = 200


@dataclass(frozen=True)
class Moment:
    """Both ends' clocks at one time: theirs, ours, and by how much the two may be apart."""

    wall: float
    boot: float
    our_wall: float
    our_boot: float
    unsure: float
    synchronised: bool | None


def _boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def guard_of(link: Conversation, pair: str) -> Guard:
    """What the pair's guard there says. Raises HostError, StillRunning."""
    head = link.request("guard", {"pair": pair, "order": {"verb": "status"}}, timeout=SECONDS).head
    try:
        hands, doubted = head["hands"], head["doubted"]
        return Guard(
            _word(head["role"]), int(head["epoch"]), _word(head["active"]), head["armed"] is True, _word(head["why"]),
            _word(head["granted"]["leaving"]), _word(head["gate"]["weak"]), hands["queues"] is True,
            tuple(f"{_word(step)}: {_word(why)}" for step, why in hands["problems"].items()),
            tuple(f"the {_word(peer)}: {_word(why)}" for peer, why in doubted.items()),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _garbled(link, error) from error


def moment(link: Conversation) -> Moment:
    """Its clocks beside ours: the closer of two answers. Raises HostError, StillRunning."""
    return min((_moment(link), _moment(link)), key=lambda each: each.unsure)


def _moment(link: Conversation) -> Moment:
    began, boot = time.time(), _boottime()
    head = link.request("observe", {"seconds": 1.0}, timeout=SECONDS).head
    took = _boottime() - boot
    try:
        wall, theirs, synchronised = head["clock"]
        known = synchronised if isinstance(synchronised, bool) else None
        return Moment(float(wall), float(theirs), began + took / 2, boot + took / 2, took / 2, known)
    except (KeyError, TypeError, ValueError) as error:
        raise _garbled(link, error) from error


def later(link: Conversation, first: Moment) -> Moment:
    """Another one, far enough from the first to tell how fast that clock goes. Raises as `moment` does."""
    time.sleep(max(0.0, first.our_boot + APART - _boottime()))
    return moment(link)


def between(first: Moment, last: Moment) -> Clock:
    """What two moments tell of a clock."""
    best = min((first, last), key=lambda each: each.unsure)
    passed = last.our_boot - first.our_boot
    if passed <= 0:
        return Clock(best.wall - best.our_wall, 1.0, 1.0, last.synchronised)
    rate, unsure = (last.boot - first.boot) / passed, (first.unsure + last.unsure) / passed
    return Clock(best.wall - best.our_wall, rate, unsure, last.synchronised)


def disks_of(pair: Pair, host: Host) -> list[str]:
    """What a mail host is asked the room of: its stores, then Postfix's queue."""
    if host.place not in (PRIMARY, MIRROR):
        return []
    return [store.root for store in host.stores] + ([QUEUE] if pair.services.get("smtp") == "postfix" else [])


def own_word(link: Conversation, paths: list[str]) -> tuple[tuple[Disk, ...], str | Unknown]:
    """Its disks, and what it runs in. Raises HostError, StillRunning."""
    asked = time.time()
    head = link.request("observe", {"seconds": LOOK, "disks": paths, "virtual": True}, timeout=LOOK + SECONDS).head
    told = answers.vitals(link.name, head, paths, False, asked, time.time())
    disks = tuple(Disk(path, share, None, readonly) for path, share, readonly in told.disks)
    return disks, _virtual(head)


def _virtual(head: Mapping[str, Any]) -> str | Unknown:
    try:
        [(kind, why)] = head["virtual"]
    except (KeyError, TypeError, ValueError):
        return Unknown("its agent doesn't say", "Run `mailmirror agent update` for it.")
    return _word(kind) if kind is not None else Unknown(_word(why), "Install systemd there, or look by yourself.")


def looked(link: Conversation, head: Mapping[str, Any], services: tuple[str, ...]) -> tuple[answers.Reading, ...]:
    """What it sees of these services. Raises HostError, StillRunning."""
    told = link.request("observe", {**head, "seconds": LOOK}, timeout=LOOK + SECONDS).head
    return tuple(answers.readings(link.name, told, "probes", services))


def _word(value: Any) -> str:
    return "".join(each if each.isprintable() else " " for each in str(value)[:WORD]).strip().rstrip(".")


def _garbled(link: Conversation, error: Exception) -> AgentFault:
    return AgentFault(
        f"{link.name}: what its agent answered can't be understood: {error!r:.100}", code="garbled",
        remedy="Run `mailmirror agent update` there, or use the version that is installed there.",
    )  # fmt: skip
