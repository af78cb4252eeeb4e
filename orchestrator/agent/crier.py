"""Announces the addresses that this host holds as often as is due, for whoever keeps an address: once is not enough.

A frame gets lost, a switch that was split heals, a cable comes back: `neighbours.announcing` says when. The keeper
calls `tick` about once a second, and only while it may hold the addresses.

Invariant: what doesn't stand here is never announced, and its history is forgotten.
"""

from __future__ import annotations

from typing import Dict, Sequence, Tuple

from . import address, neighbours
from .neighbours import Told


class Crier:
    """What the links were told so far; a new one tells everything at once."""

    def __init__(self) -> None:
        self._told: Dict[Tuple[str, str], Told] = {}

    def tick(self, now: float, addresses: Sequence[Tuple[str, str]], contested: bool = False) -> int:
        """Announce what is due of these (address, interface); how many were. `now` is of a clock that doesn't jump.
        Takes a millisecond. Raises Fault.
        """
        said = 0
        for each, interface in addresses:
            if not any(standing.usable for standing in address.held(each, interface)):
                self._told.pop((each, interface), None)
                continue
            link = address.link(interface)
            if not link.carrier:
                continue  # nobody would hear it; that it came back shows in `changes`
            due, told = neighbours.announcing(self._told.get((each, interface)), now, link.changes, contested)
            if due:
                address.announce(each, interface)
                said += 1
            self._told[each, interface] = told
        return said
