"""From a pair of the inventory to its connected replication: both ends at once, all or none.

Invariant: when one end can't be reached, the conversation with the other is closed before
the error is raised. It decides nothing about when to try again.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from orchestrator.health.asked import Seat
from orchestrator.inventory.model import Host, Pair
from orchestrator.remote.host import Conversation
from orchestrator.remote.opening import open_conversation
from orchestrator.replication.session import Session
from orchestrator.web.replicates import Replicates, Trace

ALLOW = ("replication",)
LOOKS = ("services",)


def connect(
    pair: Pair,
    *,
    on_event: Callable[[str, str], None] | None = None,
    trace: Trace | None = None,
    suspect: Callable[[], bool] = bool,
) -> Replicates:
    """The pair's session, see `replication.session.Session`. Raises HostUnreachable, AgentFault, Refused."""
    links = open_links([pair.primary, pair.mirror])
    try:
        return Session(pair, links, on_event=on_event, trace=trace, suspect=suspect)
    except BaseException:
        close_links(links)
        raise


def open_observer(seat: Seat) -> Conversation:
    """A conversation of its own for looking: it can open no store."""
    return open_conversation(seat.host, stores=[], allow=LOOKS)


def open_links(hosts: list[Host]) -> dict[str, Conversation]:
    """A conversation with each host, opened side by side; by host name."""
    with ThreadPoolExecutor(len(hosts)) as pool:
        opening = {host.name: pool.submit(partial(_open, host)) for host in hosts}
    errors = [error for error in (future.exception() for future in opening.values()) if error]
    if errors:
        close_links({name: future.result() for name, future in opening.items() if not future.exception()})
        raise errors[0]
    return {name: future.result() for name, future in opening.items()}


def close_links(links: dict[str, Conversation]) -> None:
    """End each conversation."""
    for link in links.values():
        link.close()


def _open(host: Host) -> Conversation:
    return open_conversation(host, stores=[store.root for store in host.stores], allow=ALLOW)
