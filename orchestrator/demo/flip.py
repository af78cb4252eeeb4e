"""The one act of the demo that isn't on the command line: sending the users of a pair to another place by DNS.

No verb of `mailmirror` moves users yet; the journeys will, and then this module goes. It reads the same inventory, and
calls what they call: plan, refuse, apply with a proof, prove. What it did is looked at by `mailmirror dns show` and by
the demo's own eyes.

Invariant: no other module of the demo imports the product, and this one nothing but the inventory and `traffic`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from orchestrator.errors import Refused
from orchestrator.inventory.load import load
from orchestrator.traffic.declared import key_of, zone_of
from orchestrator.traffic.switch import Target, point_at

WITHIN = 10.0  # seconds until a change that isn't proven is said to be that


class Statement(NamedTuple):
    """An operator's word that a host can't be active, so that `epoch` may begin: the weakest of the four fences."""

    host: str
    epoch: int
    when: float
    kind: str = "attested"


def point(inventory: Path, place: str, addresses: Sequence[str], epoch: int, *, fenced: bool = True) -> float:
    """Send the users of the only pair to this place in this epoch; the seconds until every name server showed it.
    `fenced` is whether the operator says that the other place can't serve them. Raises what `switch.point_at` raises.
    """
    [pair] = load(inventory).pairs.values()
    zone = zone_of(pair, key_of(pair))
    if zone is None:
        raise Refused("No name follows the active place here.")
    there, other = (pair.mirror, pair.primary) if place == pair.mirror.place else (pair.primary, pair.mirror)
    proof = Statement(other.name, epoch, time.time()) if fenced else None
    began = time.monotonic()
    point_at(zone, Target(epoch, there.name, place, tuple(addresses), "demo"), proof, WITHIN)
    return time.monotonic() - began
