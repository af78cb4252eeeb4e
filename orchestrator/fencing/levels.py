"""A host's power driven to on or off by the devices that the inventory names, level by level, and proven.

Levels are tried in order until one has proven what is wanted; the devices of one level (two power supplies) have to
prove it together. Each device is ordered, then asked until it says so, whatever it claimed before.

Invariant: each device has its own deadline, so the whole ends; only a status that was asked for after the order had
ended counts. It doesn't decide whether a host may be cut off.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.fencing import device
from orchestrator.fencing.device import Answer, Device, State
from orchestrator.fencing.proof import Off, Sight
from orchestrator.inventory.model import Host
from orchestrator.records import fences

FOR_THE_ORDER = 0.6
"""The part of a device's time that the order may take; the rest is for asking."""
ONE_STATUS = 15.0
"""Seconds that one question may take: a device that hangs on one may answer the next."""
PAUSE = 0.5
"""Seconds between two questions."""
LEAST = 3.0
"""Seconds that have to be left for another question: one that is cut off soon would tell less than the last (an agent
takes one or two to start).
"""


@dataclass(frozen=True)
class Outcome:
    """What came of one device: the `ordered` answer, and the last `seen` one."""

    device: Device
    ordered: Answer
    seen: Answer


def devices(host: Host) -> list[Device]:
    """A host's devices, by level, as the inventory has them."""
    return sorted((device.of(entry) for entry in host.fences), key=lambda found: found.level)


def drive(one: Device, wanted: State, within: float) -> Outcome:
    """Order one device, then ask it until it says so, for at most `within` seconds in all."""
    deadline = device.boottime() + within
    ordered = one.order(wanted, within * FOR_THE_ORDER)
    seen = Answer(State.UNKNOWN, "there was no time left to ask", ordered.ended, ordered.ended)
    asked = False
    while (left := deadline - device.boottime()) > (LEAST if asked else 0):
        asked = True
        seen = one.status(min(left, ONE_STATUS))
        if seen.state is wanted:
            break
        time.sleep(max(0.0, min(PAUSE, deadline - device.boottime())))
    return Outcome(one, ordered, seen)


def each(found: Sequence[Device], wanted: State, within: float | None = None) -> Iterator[tuple[list[Outcome], bool]]:
    """Drive level by level until one has proven it: each level's outcomes, and whether they prove it together.

    `within` replaces each device's own time, in seconds.
    """
    for _, together in itertools.groupby(found, key=lambda one: one.level):
        outcomes = [drive(one, wanted, within or one.within) for one in together]
        proven = all(outcome.seen.state is wanted for outcome in outcomes)
        yield outcomes, proven
        if proven:
            return


def off_proof(
    host: str, epoch: int, outcomes: Sequence[Outcome], tested: Sequence[fences.Trial], *, by: str, clock: str
) -> Off:
    """What one level's outcomes prove, with the last good test of each of its devices. `proof.why_not` judges it."""
    return Off(host, epoch, by, clock, tuple(_sight(host, outcome, tested) for outcome in outcomes))


def _sight(host: str, outcome: Outcome, tested: Sequence[fences.Trial]) -> Sight:
    test = fences.last(tested, host, outcome.device.fingerprint, good=True)
    seen, acted = outcome.seen, outcome.ordered.ended
    return Sight(outcome.device.title, seen.state.value, seen.said, acted, seen.began, test.at if test else None)


def boot_id() -> str:
    """Names the boot that this machine's CLOCK_BOOTTIME is of (random(4))."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
