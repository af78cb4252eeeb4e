"""The verbs of playbooks: for each, a function that makes the step which a line means on a voyage.

`MAKERS` has what a switchover and a failover take; `verbs.VERBS` also names what other journeys will.
"""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.failover.step import Maker
from orchestrator.failover.steps import clients, fences, guards, queue, salvaging, services, stores
from orchestrator.failover.world import World

MAKERS: Mapping[str, Maker[World]] = {
    function.__name__: function
    for function in (
        clients.ready, stores.presync, guards.quiesce, services.drain, services.stop_services, stores.final_pass,
        stores.prove_equal, queue.carry_queue, guards.tombstone, fences.refuse, fences.fence, salvaging.salvage,
        stores.cut, fences.advance, stores.turn_stores, guards.serve, clients.point_clients, clients.verify_outside,
        queue.release_queue, stores.follow_back,
    )
}  # fmt: skip
