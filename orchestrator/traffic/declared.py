"""The ways of sending users elsewhere that a pair's inventory names.

Invariant: a secret is read when its way is asked for, and not before; nothing here asks a server or runs a command.
"""

from __future__ import annotations

from orchestrator.inventory import secret
from orchestrator.inventory.model import MIRROR, PRIMARY, Pair
from orchestrator.traffic import tsig
from orchestrator.traffic.dns import Key, Zone
from orchestrator.traffic.exec import Commands
from orchestrator.traffic.pointing import Exchange

UNSIGNED = Key("", "hmac-sha256", b"")
"""Enough to look; no server takes a change for it."""


def key_of(pair: Pair) -> Key:
    """The key that mm_dns names. Raises ConfigError, NotPermitted; LookupError for a pair without mm_dns."""
    if pair.dns is None:
        raise LookupError(f"the pair {pair.name} has no mm_dns")
    at = pair.dns.tsig
    return tsig.parse(secret.read(at), f"mm_dns: tsig ({at.kind} {at.where})")


def zone_of(pair: Pair, key: Key = UNSIGNED) -> Zone | None:
    """The names that move by DNS update; None where there are none."""
    said = pair.dns
    if said is None:
        return None
    hosts = tuple(host.name.rstrip(".").lower() for host in (pair.primary, pair.mirror))
    exchange = Exchange(said.mx.name, hosts, said.mx.active, said.mx.passive) if said.mx else None
    return Zone(
        said.server, said.zone, said.names, key, ttl=said.ttl, exchange=exchange, watch=said.watch, port=said.port
    )


def commands_of(pair: Pair) -> Commands | None:
    """The site's own commands, with the secrets that they get. Raises ConfigError, NotPermitted."""
    said = pair.exec
    if said is None:
        return None
    hosts = {PRIMARY: pair.primary.name, MIRROR: pair.mirror.name}
    secrets = {name: secret.read(where) for name, where in said.env.items()}
    return Commands(said.show, said.point, hosts, secrets=secrets, seconds=said.within)
