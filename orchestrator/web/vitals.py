"""The metrics of hosts' health and of a pair's readiness, from what was told last. Pure.

Invariant: what isn't known is left out; a level is 1 for exactly one word, also while nothing is known (UNKNOWN).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.health.report import PairHealth, PlaceHealth
from orchestrator.health.verdict import Level
from orchestrator.readiness.check import State
from orchestrator.readiness.checks import Readied

Sample = tuple[str, tuple[str, ...], float]
"""Metric name, label values, value."""


def of_health(healths: Sequence[PairHealth]) -> Iterator[Sample]:
    """Every sample about hosts' health."""
    for health in healths:
        for observer in health.observers:
            yield "mailmirror_observer_up", (health.pair, observer.name), observer.connected
        for place in health.places:
            yield from _of_place((health.pair, place.place), place)


def of_readiness(looks: Sequence[Readied]) -> Iterator[Sample]:
    """Samples for each check, fence device and journey that is on; none before the first look."""
    for look in looks:
        if look.at:
            yield "mailmirror_failover_checked_timestamp_seconds", (look.pair,), look.at
        for check in look.checks:
            if check.needed:
                yield "mailmirror_failover_ready", (look.pair, check.name), not check.stops
            for state in State:
                yield "mailmirror_check", (look.pair, check.name, state.value), check.state is state
        for each in look.fences:
            yield "mailmirror_fence_passed_timestamp_seconds", (look.pair, each.host, each.device), each.passed or 0.0
        if look.on is not None:
            labels = (look.pair, look.on.journey, look.on.state)
            yield "mailmirror_operation_began_timestamp_seconds", labels, look.on.began


def _of_place(labels: tuple[str, str], place: PlaceHealth) -> Iterator[Sample]:
    for level in Level:
        yield "mailmirror_health_level", (*labels, level.value), level.value == place.level
    yield "mailmirror_place_active", labels, place.active
    if place.since:
        yield "mailmirror_health_since_timestamp_seconds", labels, place.since
    for glance in place.glances:
        look = (labels[0], glance.observer, labels[1], glance.service)
        yield "mailmirror_probe_success", look, not glance.how
        yield "mailmirror_probe_duration_seconds", look, glance.seconds
    for service, end in place.certificates.items():
        yield "mailmirror_certificate_expiry_timestamp_seconds", (*labels, service), end
    if place.canary is not None:
        if not place.canary.how:
            yield "mailmirror_canary_rtt_seconds", labels, place.canary.seconds
        if place.canary.last_success is not None:
            yield "mailmirror_canary_last_success_timestamp_seconds", labels, place.canary.last_success
    vitals = place.vitals
    shares = [share for _, share, _ in vitals.disks if share is not None]
    known = (
        ("mailmirror_disk_free_ratio", min(shares, default=None)),
        ("mailmirror_queue_letters", vitals.letters),
        ("mailmirror_queue_oldest_timestamp_seconds", vitals.oldest),
        ("mailmirror_clock_ahead_seconds", vitals.clock),
    )
    for name, value in known:
        if value is not None:
            yield name, labels, value
