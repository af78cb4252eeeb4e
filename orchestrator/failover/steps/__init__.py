"""The verbs of playbooks: for each, a function that makes the step which a line means on a voyage.

`MAKERS` has what every journey takes that can be run; `verbs.VERBS` also names what others will.
"""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.failover.step import Maker
from orchestrator.failover.steps import (
    advertising,
    clients,
    fences,
    guards,
    homecoming,
    queue,
    salvaging,
    services,
    stores,
)
from orchestrator.failover.world import World

MAKERS: Mapping[str, Maker[World]] = {
    function.__name__: function
    for function in (
        clients.ready, stores.presync, guards.quiesce, services.drain, services.stop_services, stores.final_pass,
        homecoming.prove_equal, queue.carry_queue, guards.tombstone, fences.refuse, fences.fence, salvaging.salvage,
        stores.cut, fences.advance, stores.turn_stores, guards.serve, clients.point_clients, clients.verify_outside,
        queue.release_queue, stores.follow_back,
        advertising.withhold, advertising.sweep,
        homecoming.hold_queue, homecoming.compare, homecoming.set_aside, homecoming.reclaim, homecoming.reseed,
    )
}  # fmt: skip
