"""The verb `address`: what a controller asks of a host about addresses that move.

Invariant: `show` and `probe` change nothing; an action that fails is told as a Fault and not as an answer. `add`
takes up all or none. Between the waits other requests are served.
"""

from __future__ import annotations

from typing import Any, Dict, Generator, List, Optional

from . import address, neighbours
from .serve import Answer, Fault, args

ACTIONS = ("show", "probe", "add", "remove", "announce")
MOST = 16
"""Addresses in one request."""


def moved(head: Dict[str, Any]) -> Generator[Optional[float], None, Answer]:
    """The head: `action`, `interface`, `addresses` (add: with prefix), for probe and add whether `quick`,
    and for add `despite`: MACs whose claims don't count.

    The answers: show {"mac", "up", "carrier", "changes", "may_change", "may_send", "trouble", "stands": [[address,
    prefix, interface, usable, flags]]}, probe {"claims": {address: [mac, holds] or null}}, add and remove {"done":
    [addresses that weren't so before]}, announce {}. Raises Fault.
    """
    action, interface, wanted = args(head, action=str, interface=str, addresses=list)
    if action not in ACTIONS:
        raise Fault("bad-request", f"no action {action!r:.40}", f"There are {', '.join(ACTIONS)}.")
    if not all(isinstance(each, str) for each in wanted) or not wanted or len(wanted) > MOST:
        raise Fault("bad-request", f"'addresses' are 1 to {MOST} texts")
    quick, despite = head.get("quick") is True, head.get("despite", [])
    if not isinstance(despite, list) or not all(isinstance(each, str) for each in despite):
        raise Fault("bad-request", "'despite' are the MACs whose claims don't count")
    if action == "show":
        return Answer(_shown(interface, wanted))
    if action == "probe":
        return Answer({"claims": (yield from address.probing(wanted, interface, quick))})
    if action == "add":
        return Answer({"done": (yield from address.adding(wanted, interface, quick, despite))})
    if action == "announce":
        for each in wanted:
            address.announce(each, interface)
        return Answer({})
    return Answer({"done": [each for each in wanted if address.remove(each, interface)]})


def _shown(interface: str, wanted: List[str]) -> Dict[str, Any]:
    """The facts, of an interface that is missing as well."""
    stands = [
        [each.address, each.prefix, each.interface, each.usable, each.words]
        for one in wanted
        for each in address.held(one)
    ]
    told: Dict[str, Any] = {"mac": "", "up": False, "carrier": False, "changes": 0, "trouble": "", "stands": stands}
    told["may_change"] = told["may_send"] = False
    try:
        found = address.link(interface)
        told.update(mac=neighbours.shown(found.mac), up=found.up, carrier=found.carrier, changes=found.changes)
        told["may_change"], told["may_send"] = address.rights(interface)
        address.ready(interface)
    except Fault as fault:
        told["trouble"] = f"{fault}. {fault.remedy}" if fault.remedy else str(fault)
    return told
