"""Before the first pass: markers laid down, or what that would be; before every one: whose markers say active.

Invariant: nothing here overwrites a marker, and a passive place that holds anything isn't
marked unless its operator says that it is a copy.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orchestrator.errors import Refused
from orchestrator.inventory.model import Host, Pair
from orchestrator.remote.host import Conversation
from orchestrator.replication import roles
from orchestrator.replication.flow import PATIENCE
from orchestrator.replication.heads import checked


def initialise(
    pair: Pair, links: Mapping[str, Conversation], active: Host, passives: Sequence[Host], *, adopt: bool, dry_run: bool
) -> list[str]:
    """Sentences that say what was laid down; empty when everything was there. Raises Refused, AgentFault."""
    done = []
    for number in range(len(active.stores)):
        looks = looked(links, (active, *passives), number)
        for host in (active, *passives):
            _demand_root(host, host.stores[number].root, looks[host.name])
        known = looks[active.name]["marker"]
        identity, epoch = (str(known["store"]), int(known["epoch"])) if known else (uuid.uuid4().hex, 1)
        for host in passives:
            _demand_empty(host, host.stores[number].root, looks[host.name], identity if known else None, adopt)
        for host, role in ((active, "active"), *((host, "passive") for host in passives)):
            found, root = looks[host.name]["marker"], host.stores[number].root
            if found:
                continue
            # a dry run's identity is drawn for nothing: naming it would promise what doesn't come
            store = f"store {identity[:8]}" if known or not dry_run else "a new store"
            done.append(f"{host.name}: {root} {'would be' if dry_run else 'is now'} {store}, {role}, epoch {epoch}")
            if not dry_run:
                head = {
                    "store": root, "store_id": identity, "pair": pair.name, "place": host.place, "role": role,
                    "epoch": epoch,
                }  # fmt: skip
                links[host.name].request("store.init", head, timeout=PATIENCE)
    return done


def looked(links: Mapping[str, Conversation], hosts: Sequence[Host], number: int) -> dict[str, dict[str, Any]]:
    """What stands at a store's root on each of these hosts, asked side by side; by host name. Raises AgentFault."""
    asked = [(host, links[host.name].start("store.look", {"store": host.stores[number].root})) for host in hosts]
    return {host.name: checked(host.name, "store.look", pending.result(PATIENCE).head) for host, pending in asked}


def known(pair: Pair, links: Mapping[str, Conversation], places: Sequence[Host], become: Callable[[str], None]) -> None:
    """Tells `become` the active host's name, as the markers say, or the primary's where there are none. Raises Refused
    where they don't agree, or (once that is told) a place has missed that it isn't active any more; AgentFault.
    """
    looks = [looked(links, places, number) for number in range(len(pair.primary.stores))]
    claims = [[roles.claim(host, look["marker"]) for host, look in each.items()] for each in looks]
    become(roles.active_of(pair.name, claims) or pair.primary.name)
    roles.demand_present(pair.name, claims)


def _demand_root(host: Host, root: str, look: dict[str, Any]) -> None:
    if look["maildir"]:
        raise Refused(
            f"{root} on {host.name} is itself a Maildir",
            remedy="Declare the directory above it: an account is a Maildir below a root.",
        )


def _demand_empty(host: Host, root: str, look: dict[str, Any], identity: str | None, adopt: bool) -> None:
    marker = look["marker"]
    if marker is not None:
        if identity is None or marker["store"] != identity:
            raise Refused(
                f"{root} on {host.name} is marked as another store ({marker['store'][:8]}, pair {marker['pair']})",
                remedy="Check which store is mounted there. Remove ROOT/.mailmirror by hand only if it is nobody's.",
            )
    elif not look["empty"] and not adopt:
        raise Refused(
            f"{root} on {host.name} isn't empty",
            remedy="If it is a copy of the primary's store, run `mailmirror seed --adopt`. Else `mailmirror seed` puts "
            "it into quarantine and copies everything anew.",
        )
