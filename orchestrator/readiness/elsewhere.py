"""What is asked of others than the hosts: name servers, the site's own commands, the records of fence tests.

Invariant: each question ends by itself, within seconds; nothing is changed (the real DNS update is sent with a demand
that no zone meets).
"""

from __future__ import annotations

import time

import dns.exception
import dns.resolver

from orchestrator.errors import NotPermitted, OperatorError, Refused
from orchestrator.fencing.levels import devices
from orchestrator.inventory.model import Pair
from orchestrator.readiness.facts import Device, Exchangers, Names, Sent, Unknown
from orchestrator.records import fences
from orchestrator.traffic import lifetime
from orchestrator.traffic.asking import plain
from orchestrator.traffic.declared import commands_of, key_of, zone_of

RESOLVING = 5.0
"""Seconds for this host's resolver."""


def names(pair: Pair) -> Names | None:
    """Raises HostUnreachable where the server that takes updates doesn't answer."""
    if pair.dns is None:
        return None
    zone = zone_of(pair)
    assert zone is not None, "it has mm_dns"
    seen = tuple(zone.seen())
    counted = None if seen[0].trouble else lifetime.is_counted_on(seen[0], zone.ttl, time.time())
    try:
        signed = zone_of(pair, key_of(pair))
        assert signed is not None, "it has mm_dns"
        return Names(seen, signed.rights(), ttl=zone.ttl, counted_on=counted)
    except (NotPermitted, Refused, OperatorError) as error:
        return Names(seen, "no", str(error), error.remedy, zone.ttl, counted)


def command(pair: Pair) -> Sent | None:
    said = commands_of(pair)
    if said is None:
        return None
    seen = said.seen()
    return Sent(seen.place, seen.trouble)


def published(pair: Pair) -> Exchangers | Unknown:
    """The exchangers of the canary's domain as this host's resolver has them, where the zone's servers aren't asked."""
    if pair.dns is not None and pair.dns.mx is not None:
        return {}
    if pair.canary is None:
        return Unknown("neither `mx` in mm_dns nor mm_canary names a domain", "Say `mx` in mm_dns, or mm_canary.")
    domain = pair.canary.address.rpartition("@")[2]
    try:
        found = dns.resolver.resolve(domain, "MX", lifetime=RESOLVING)
    except dns.exception.DNSException as error:
        return Unknown(f"the resolver says of {domain}: {str(error)[:200]}", "Look at /etc/resolv.conf of this host.")
    return {"the resolver": tuple(sorted((one.preference, plain(one.exchange)) for one in found))}


def exchangers(pair: Pair, names: Names | Unknown | None, otherwise: Exchangers | Unknown) -> Exchangers | Unknown:
    """As every authoritative server has them, where mm_dns names their domain; else as the resolver does."""
    if pair.dns is None or pair.dns.mx is None or names is None:
        return otherwise
    if isinstance(names, Unknown):
        return names
    return {sight.server: sight.mx for sight in names.seen if not sight.trouble}


def tested(pair: Pair) -> tuple[Device, ...]:
    """The fence devices and their last good tests. Raises NotPermitted."""
    try:
        known = fences.tests(pair.state_dir, pair.name)
    except OSError as error:
        raise NotPermitted(f"The tests of fence devices can't be read: {error}.") from error
    found = []
    for host in (pair.primary, pair.mirror):
        for device in devices(host):
            passed = fences.last(known, host.name, device.fingerprint, good=True)
            found.append(Device(host.name, device.level, device.title, passed.at if passed else None))
    return tuple(found)
