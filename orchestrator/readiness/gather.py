"""Everything that a pair's readiness rests on, asked of its hosts, name servers and fence records, side by side.

First every host is met: its guard and its clock. Then it is known who is active, and each is asked what it sees, how
its disks are, who has the moving addresses; the name servers meanwhile.

Invariant: it ends within `MEET + ASK` seconds and a moment, later only where a command of mm_exec may take longer. A
host that doesn't answer makes its own facts Unknown, and no other's. Nothing is changed anywhere.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from orchestrator.errors import HostError, MailmirrorError, OperatorError
from orchestrator.health.answers import Reading
from orchestrator.health.asked import CONTROLLER, PROBES, TLS_FIRST, Seat, Task, seats
from orchestrator.inventory import secret
from orchestrator.inventory.model import MIRROR, PRIMARY, Host, Pair
from orchestrator.readiness import asking, elsewhere, reported
from orchestrator.readiness.asking import Moment
from orchestrator.readiness.facts import (
    Clock,
    Facts,
    Guard,
    HostFacts,
    Looked,
    Sent,
    Unknown,
)
from orchestrator.readiness.together import Links, side_by_side
from orchestrator.remote.guarded import has_guard
from orchestrator.remote.host import Conversation
from orchestrator.remote.opening import open_conversation
from orchestrator.traffic import holding, vip

MEET = 12.0
ASK = 12.0
ADDRESS = 4.0
"""Seconds for one answer about the moving addresses; there are four, one after the other."""
ADDRESSES = "the moving addresses"
ELSEWHERE: Mapping[str, Callable[[Pair], Any]] = {
    "the name servers": elsewhere.names,
    "the site's commands": elsewhere.command,
    "the exchangers": elsewhere.published,
}

Open = Callable[[Host], Conversation]


def opened(host: Host) -> Conversation:
    """A conversation that can open no store."""
    return open_conversation(host, stores=[], allow=("services",))


@dataclass(frozen=True)
class Met:
    """A host that answers."""

    link: Conversation
    guard: Guard | Unknown
    moment: Moment | Unknown


@dataclass(frozen=True)
class Own:
    """What a host says of itself, and of who is active."""

    said: tuple[tuple[Any, ...], str | Unknown] | Unknown
    looked: tuple[Reading, ...] | Unknown
    clock: Clock | Unknown


def gather(pair: Pair, status: Mapping[str, Any], daemon: str = "", *, open_link: Open = opened) -> Facts:
    """The facts. `status` is the pair's, as `status --format json` shows it; `daemon` says why none tells it."""
    links = Links()
    try:
        hosts = _hosts(pair)
        met = side_by_side({host.name: partial(_meet, pair, host, links, open_link) for host in hosts}, MEET)
        active = _active(pair, met, status)
        return _asked(pair, active, status, daemon, met)
    finally:
        links.close()


def _hosts(pair: Pair) -> list[Host]:
    """All of them, and the controller's own where it is none of the pair's."""
    own = [seat.host for seat in seats(pair, pair.primary.name, "") if seat.observer.name == CONTROLLER]
    return [*pair.hosts.values(), *(host for host in own if host.name not in pair.hosts)]


def _meet(pair: Pair, host: Host, links: Links, open_link: Open) -> Met:
    link = links.keep(open_link(host))
    guard = _or_unknown(partial(asking.guard_of, link, pair.name)) if has_guard(pair, host) else Unknown("it has none")
    return Met(link, guard, _or_unknown(partial(asking.moment, link)))


def _or_unknown(job: Callable[[], Any]) -> Any:
    """What one question came to; the others are asked all the same."""
    try:
        return job()
    except MailmirrorError as error:
        return Unknown(" ".join(str(error).split()).rstrip("."), error.remedy)


def _active(pair: Pair, met: Mapping[str, Met | Unknown], status: Mapping[str, Any]) -> str:
    """The active host, as most guards of the latest epoch say; else as the daemon does; else the primary."""
    told = [each.guard for each in met.values() if isinstance(each, Met) and isinstance(each.guard, Guard)]
    latest = max((guard.epoch for guard in told), default=0)
    places = Counter(guard.active for guard in told if guard.epoch == latest and guard.active in (PRIMARY, MIRROR))
    if places:
        host = pair.at(places.most_common(1)[0][0])
        if host is not None:
            return host.name
    said = str(status.get("active", ""))
    return said if said in (pair.primary.name, pair.mirror.name) else pair.primary.name


def _asked(pair: Pair, active: str, status: Mapping[str, Any], daemon: str, met: Mapping[str, Met | Unknown]) -> Facts:
    watching = seats(pair, active, _password(pair))
    jobs: dict[str, Callable[[], Any]] = {
        name: partial(_own, pair, each, _probes(watching, name, active, pair))
        for name, each in met.items()
        if isinstance(each, Met)
    }
    jobs |= {what: partial(job, pair) for what, job in ELSEWHERE.items()}
    jobs[ADDRESSES] = partial(_sights, pair, met)
    controller = next(seat.host.name for seat in watching if seat.observer.name == CONTROLLER)
    passive = pair.mirror if active == pair.primary.name else pair.primary
    teller = met[controller]
    if _recipient(pair, passive) is not None and isinstance(teller, Met):
        jobs["accepts"] = partial(_accepts, teller.link, pair, passive)
    found = side_by_side(jobs, max(ASK, pair.exec.within + 1 if pair.exec else 0))
    owns = {name: _own_of(each, found.get(name)) for name, each in met.items()}
    names, sent, published = (found[what] for what in ELSEWHERE)
    return Facts(
        pair,
        active,
        time.time(),
        tuple(_host(pair.hosts[name], met[name], owns[name]) for name in pair.hosts),
        tuple(Looked(seat.observer, owns[seat.host.name].looked) for seat in watching if seat.looks),
        daemon,
        reported.copied(status, passive, daemon),
        reported.equal(status, passive),
        reported.canary(status, active, daemon),
        elsewhere.tested(pair),
        _unseen(pair, found[ADDRESSES]),
        names,
        Sent("", sent.why) if isinstance(sent, Unknown) else sent,
        elsewhere.exchangers(pair, names, published),
        found.get("accepts"),
    )


# --- one host ---------------------------------------------------------------------------------------------------------


def _probes(watching: tuple[Seat, ...], name: str, active: str, pair: Pair) -> Task | None:
    """How this host looks at the active place; None where it doesn't."""
    place = pair.hosts[active].place
    for seat in watching:
        for task in seat.tasks:
            if seat.host.name == name and task.kind == PROBES and task.place == place:
                return task
    return None


def _own(pair: Pair, met: Met, probes: Task | None) -> Own:
    link, host = met.link, pair.hosts.get(met.link.name)
    paths = asking.disks_of(pair, host) if host is not None else []
    said = _or_unknown(partial(asking.own_word, link, paths))
    looked: Any = Unknown("it doesn't look")
    if probes is not None:
        looked = _or_unknown(partial(asking.looked, link, probes.head, probes.services))
    clock: Clock | Unknown = Unknown("it didn't tell its time")
    if isinstance(met.moment, Unknown):
        clock = met.moment
    else:
        last = _or_unknown(partial(asking.later, link, met.moment))
        clock = last if isinstance(last, Unknown) else asking.between(met.moment, last)
    return Own(said, looked, clock)


def _own_of(met: Met | Unknown, found: Any) -> Own:
    """The same for a host that didn't answer."""
    if isinstance(found, Own):
        return found
    why = met if isinstance(met, Unknown) else found if isinstance(found, Unknown) else Unknown("it wasn't asked")
    return Own(why, why, why)


def _host(host: Host, met: Met | Unknown, own: Own) -> HostFacts:
    if isinstance(met, Unknown):
        return HostFacts(host, met, met, met, met)
    if isinstance(own.said, Unknown):
        return HostFacts(host, met.guard, own.clock, own.said, own.said)
    disks, virtual = own.said
    return HostFacts(host, met.guard, own.clock, disks, virtual)


def _sights(pair: Pair, met: Mapping[str, Met | Unknown]) -> tuple[holding.Sight, ...]:
    """Where the moving addresses are, as each mail host sees it. They ask the link one after the other: who is asked
    while another asks takes its question for a claim (RFC 5227 section 2.1.1).
    """
    if pair.vip is None:
        return ()
    ends = []
    for host in (pair.primary, pair.mirror):
        each = met[host.name]
        if isinstance(each, Unknown):
            ask = vip.unreachable(HostError(each.why, remedy=each.remedy))
        else:
            ask = vip.asking(each.link, ADDRESS)
        ends.append(vip.End(host.name, host.vip_interface or pair.vip.interface, ask))
    return tuple(vip.Vip(pair.vip.addresses, ends).seen(probing=[end.host for end in ends]))


def _unseen(pair: Pair, found: Any) -> tuple[holding.Sight, ...]:
    """The same where that wasn't back in time."""
    if not isinstance(found, Unknown) or pair.vip is None:
        return found or ()
    hosts = (pair.primary, pair.mirror)
    return tuple(holding.Sight(host.name, host.vip_interface or "", unseen=found.why) for host in hosts)


def _recipient(pair: Pair, passive: Host) -> dict[str, Any] | None:
    if pair.canary is None or "smtp" not in pair.services:
        return None
    port = pair.ports["smtp"]
    tls = "implicit" if port in TLS_FIRST else "offered"
    return {"service": "smtp", "host": passive.address, "port": port, "tls": tls, "recipient": pair.canary.address}


def _accepts(link: Conversation, pair: Pair, passive: Host) -> Reading:
    return asking.looked(link, {"probes": [_recipient(pair, passive)]}, ("smtp",))[0]


def _password(pair: Pair) -> str:
    """The canary's; empty where it can't be read: then nobody logs in, and each probe says so."""
    try:
        return secret.read(pair.canary.password) if pair.canary else ""
    except OperatorError:
        return ""
