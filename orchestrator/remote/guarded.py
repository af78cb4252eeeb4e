"""Which hosts of a pair have a guard, and what stands in each one's guard.json. Pure.

A pair without services, moving address, moving names and lease is replication only, and has no guard (design 4, 8).

Invariant: the settings of two hosts of a pair agree on everything but place, peers, and what is that host's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.inventory.model import MIRROR, PRIMARY, WITNESS, Host, Pair

DRIFT = 0.01
"""By how much the speeds of two hosts' clocks may differ."""
STOP = 0.5
"""Seconds from the end of a lease to the last answer that leaves the host, with nftables."""
SERVED = (24, 110, 143, 465, 587, 993, 995, 4190)
"""LMTP over TCP, POP3, IMAP, submission, ManageSieve. Port 25 isn't among them: a Postfix that only queues keeps it."""
UNITS = {
    "postfix": ("postfix.service", "postfix@-.service"),
    "dovecot": ("dovecot.service", "dovecot.socket"),
}


def has_guard(pair: Pair, host: Host) -> bool:
    """Whether `agent install` lays a guard down there."""
    if host.place == WITNESS:
        return pair.lease is not None
    return host.place in (PRIMARY, MIRROR) and bool(pair.services or pair.vip or pair.dns or pair.lease)


def units(pair: Pair) -> tuple[str, ...]:
    """The mail services' units, in the order in which they are started: those of `mm_services`, then `mm_units`."""
    programs = dict.fromkeys(pair.services.values()) if pair.services else dict.fromkeys(UNITS)
    named = [unit for program in programs for unit in UNITS.get(program, (f"{program}.service",))]
    return tuple(dict.fromkeys([*named, *pair.units]))


def _addresses(pair: Pair, host: Host) -> list[list[str]]:
    if pair.vip is None:
        return []
    return [[address, host.vip_interface or pair.vip.interface] for address in pair.vip.addresses]


def guard_settings(pair: Pair, host: Host, fixed: Mapping[str, str]) -> dict[str, Any]:
    """guard.json of a host; `fixed` is the address of each place's host, which never moves."""
    mail = host.place in (PRIMARY, MIRROR)
    guards = {each.place: each for each in pair.hosts.values() if has_guard(pair, each)}
    return {
        "pair": pair.name,
        "place": host.place,
        "peers": {place: [fixed[place], pair.guard_port] for place in guards if place != host.place},
        "port": pair.guard_port,
        "ttl": pair.lease or 0.0,
        "drift": DRIFT,
        "stop": STOP,
        "served": list(SERVED) if mail else [],
        "units": list(units(pair)) if mail else [],
        "postfix": mail and pair.services.get("smtp", "postfix" if not pair.services else "") == "postfix",
        "addresses": _addresses(pair, host) if mail else [],
        "stores": [store.root for store in host.stores] if mail else [],
        "fixed": {place: fixed[place] for place in (PRIMARY, MIRROR)},
    }
