"""Who looks at whom, how often, and what exactly is asked. Pure.

Every mail host is looked at from the controller, the mirror and the witness; of itself it tells its disks, clock and
queue. The active place is asked all services, a passive one only whether its Postfix takes letters: its Dovecot, or
another program that takes them, is stopped normally. The archive is only to be reached.

Invariant: two observers on one host bear that host's name both, so that they never count as two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.health.looks import Observer, Rules
from orchestrator.inventory.model import ARCHIVE, MIRROR, PRIMARY, WITNESS, Canary, Host, Pair

CONTROLLER = "controller"
PROBES, VITALS, LETTER = "probes", "vitals", "canary"
VITALS_EVERY = 10.0
LETTER_SECONDS = 20.0
"""A letter's whole way: a queue under load takes its time, and a slow letter isn't a lost one."""
TLS_FIRST = frozenset((465, 993, 995))
QUEUE = "/var/spool/postfix"
_OF_A_PASSIVE = ("smtp",)


@dataclass(frozen=True)
class Task:
    """A request of the verb `observe` that is made again and again. `place`: whom it is about; times in seconds."""

    kind: str
    place: str
    every: float
    seconds: float
    head: Mapping[str, Any]
    services: tuple[str, ...] = ()


@dataclass(frozen=True)
class Seat:
    """An observer and how to reach it. Without tasks it is only to be reached."""

    observer: Observer
    host: Host
    tasks: tuple[Task, ...] = ()

    @property
    def looks(self) -> bool:
        """Whether it looks at others' services."""
        return any(task.kind == PROBES for task in self.tasks)


def rules_of(pair: Pair) -> Rules:
    """The pair's counts and times."""
    probe = pair.probe
    return Rules(probe.interval, probe.timeout, probe.fall, probe.rise)


def mail_hosts(pair: Pair) -> tuple[Host, ...]:
    """Those that are judged."""
    return (pair.primary, pair.mirror)


def seats(pair: Pair, active: str, password: str) -> tuple[Seat, ...]:
    """Who looks at what while `active` (a host's name) is the active place. `password` is the canary's, or empty."""
    here = next((host for host in pair.hosts.values() if host.local), None)
    looking = tuple(
        _probes(pair, host, host.name == active, password)
        for host in mail_hosts(pair)
        if services_of(pair, host.name == active)
    )
    own = here or Host(CONTROLLER, "", "127.0.0.1", connection="local")
    tasks = looking + ((_letter(pair, active, password),) if pair.canary and password else ())
    found = [Seat(Observer(CONTROLLER, own.name), own, tasks + _vitals(pair, own))]
    for place in (PRIMARY, MIRROR, WITNESS, ARCHIVE):
        host = pair.at(place)
        if host is None or host is here:
            continue
        others = tuple(task for task in looking if task.place != place)
        probes = others if place in (MIRROR, WITNESS) else ()
        found.append(Seat(Observer(place, host.name), host, probes + _vitals(pair, host)))
    return tuple(found)


def lone(seen_from: tuple[Seat, ...]) -> str:
    """Why nothing can be decided automatically, or an empty sentence: it takes observers on two hosts."""
    hosts = {seat.observer.host for seat in seen_from if seat.looks}
    if len(hosts) >= 2:
        return ""
    return f"Only {', '.join(sorted(hosts))} looks: automatic decisions lack a second observer (a witness)."


def services_of(pair: Pair, is_active: bool) -> tuple[str, ...]:
    """What a host in this role has to offer. Of one that has nothing to, only its agent's answer is judged."""
    if is_active:
        return pair.probed
    return tuple(name for name in pair.probed if name in _OF_A_PASSIVE and program_of(pair, name) == "postfix")


def program_of(pair: Pair, service: str) -> str:
    """Which program serves it, as mm_services has it; the service's own name where that isn't said."""
    of_imap = pair.services.get("imap")
    named = {"submission": pair.services.get("smtp"), "lmtp": of_imap, "pop3": pair.services.get("pop3", of_imap)}
    return named.get(service, pair.services.get(service)) or service


def _probes(pair: Pair, host: Host, is_active: bool, password: str) -> Task:
    services = services_of(pair, is_active)
    canary = pair.canary if is_active and password else None
    wants = [_want(pair, host, service, canary, password) for service in services]
    rules = pair.probe
    return Task(PROBES, host.place, rules.interval, rules.timeout, {"probes": wants}, services)


def _want(pair: Pair, host: Host, service: str, canary: Canary | None, password: str) -> dict[str, Any]:
    port = pair.ports[service]
    tls = "implicit" if port in TLS_FIRST else "offered"
    want: dict[str, Any] = {"service": service, "host": host.address, "port": port, "tls": tls}
    if canary is not None:
        if service in ("smtp", "submission", "lmtp"):
            want["recipient"] = canary.address
        if service not in ("smtp", "lmtp"):
            want |= {"user": canary.user, "password": password}
    return want


def _letter(pair: Pair, active: str, password: str) -> Task:
    canary = pair.canary
    if canary is None:
        raise LookupError(f"the pair {pair.name} has no canary")
    host = pair.hosts[active]
    way = "submission" if "submission" in pair.probed else "smtp"
    send, read = (_want(pair, host, service, canary, password) for service in (way, "imap"))
    head = {"canary": {"sender": CONTROLLER, "send": send, "read": read}}
    return Task(LETTER, host.place, canary.every, LETTER_SECONDS, head)


def _vitals(pair: Pair, host: Host) -> tuple[Task, ...]:
    """What a mail host is asked of itself."""
    if host.place not in (PRIMARY, MIRROR):
        return ()
    postfix = pair.services.get("smtp") == "postfix"
    disks = [store.root for store in host.stores] + ([QUEUE] if postfix else [])
    head = {"disks": disks, "queue": postfix}
    return (Task(VITALS, host.place, VITALS_EVERY, pair.probe.timeout, head),)
