"""`/metrics` for Prometheus: one look at the pairs' status per scrape, turned into the metrics of `telemetry`.

Invariant: a scrape sees one moment, and nothing is counted here: counters are the
statuses' own, so a scrape that fails loses nothing. The registry is our own, not the
library's global one. What isn't known is left out, except the lag, which is NaN: an alert
on it must see that.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from orchestrator import __version__
from orchestrator.failover.travelled import Travelled
from orchestrator.health.report import PairHealth
from orchestrator.readiness.checks import Readied
from orchestrator.replication.lateness import is_late
from orchestrator.replication.report import Link, PairStatus, PassiveStatus
from orchestrator.telemetry import METRICS
from orchestrator.web import decides
from orchestrator.web.decides import Standing
from orchestrator.web.vitals import of_health, of_readiness
from orchestrator.web.voyages import of_journeys

Told = tuple[list[PairStatus], Mapping[str, int], Mapping[str, int]]
"""How the pairs stand; link losses by pair; the timer's trouble by kind."""
Sample = tuple[str, tuple[str, ...], float]
"""Metric name, label values, value."""

CHANGES = ("linked", "renamed", "folders", "folders_renamed", "sidecars", "deleted", "refused")


def exposition(
    told: Callable[[], Told],
    healths: Callable[[], Sequence[PairHealth]] = tuple,
    readied: Callable[[], Sequence[Readied]] = tuple,
    decided: Callable[[], Sequence[Standing]] = tuple,
    travelled: Callable[[], Sequence[Travelled]] = tuple,
) -> Callable[..., Any]:
    """`/metrics` as a WSGI application."""
    registry = CollectorRegistry()
    registry.register(Statuses(told, healths, readied, decided, travelled))
    application: Callable[..., Any] = make_wsgi_app(registry)
    return application


class Statuses(Collector):
    """What the registry asks at every scrape."""

    def __init__(
        self,
        told: Callable[[], Told],
        healths: Callable[[], Sequence[PairHealth]],
        readied: Callable[[], Sequence[Readied]],
        decided: Callable[[], Sequence[Standing]] = tuple,
        travelled: Callable[[], Sequence[Travelled]] = tuple,
    ) -> None:
        self._told, self._healths, self._readied, self._decided = told, healths, readied, decided
        self._travelled = travelled

    def describe(self) -> Iterable[Metric]:
        """No samples at registration: the daemon may still be starting."""
        return []

    def collect(self) -> Iterator[Metric]:
        families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
        for name, metric in METRICS.items():
            family = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            families[name] = family(name, metric.meaning, labels=metric.labels)
        found = (
            samples(*self._told()), of_health(self._healths()), of_readiness(self._readied()),
            decides.samples(self._decided()), of_journeys(self._travelled()),
        )  # fmt: skip
        for name, labels, value in chain.from_iterable(found):
            families[name].add_metric(labels, value)
        yield from families.values()


def samples(statuses: list[PairStatus], reconnects: Mapping[str, int], trouble: Mapping[str, int]) -> Iterator[Sample]:
    """Every sample of one scrape."""
    yield "mailmirror_build_info", (__version__,), 1.0
    for kind in ("missed", "failed", "still running"):
        yield "mailmirror_timer_trouble_total", (kind.replace(" ", "_"),), trouble.get(kind, 0)
    for status in statuses:
        yield "mailmirror_reconnects_total", (status.pair,), reconnects.get(status.pair, 0)
        yield from _of_pair(status)
        for passive in status.passives:
            yield from _of_passive(status, passive)


def _of_pair(status: PairStatus) -> Iterator[Sample]:
    pair = (status.pair,)
    for link in Link:
        yield "mailmirror_pair_state", (*pair, link.value.replace(" ", "_")), link is status.link
    if status.active:
        yield "mailmirror_active_info", (*pair, status.active), 1.0
    if status.watch:
        yield "mailmirror_watch_info", (*pair, status.watch), 1.0
    yield "mailmirror_permit_open", pair, status.permit_open
    if status.rpo:
        yield "mailmirror_rpo_seconds", pair, status.rpo
    yield "mailmirror_unstable_folders", pair, status.unstable_folders
    yield "mailmirror_missing_accounts", pair, len(status.missing_accounts)
    yield "mailmirror_epoch", pair, status.epoch
    yield "mailmirror_accounts", pair, status.accounts
    yield "mailmirror_folders", pair, status.folders
    yield "mailmirror_messages", pair, status.messages
    yield "mailmirror_sync_bytes_total", (*pair, "received"), status.bytes_received
    yield "mailmirror_sync_bytes_total", (*pair, "sent"), status.bytes_sent


def _of_passive(status: PairStatus, passive: PassiveStatus) -> Iterator[Sample]:
    host = (status.pair, passive.host)
    lag = math.nan if passive.lag_seconds is None else passive.lag_seconds
    linked = passive.connected and status.link in (Link.LIVE, Link.CATCHING_UP)
    yield "mailmirror_link_up", host, linked
    late = is_late(status.rpo, passive.lag_seconds, linked=linked, seen_at=status.taken_at, now=time.time())
    yield "mailmirror_rpo_exceeded", host, late
    yield "mailmirror_replication_lag_seconds", host, lag
    yield "mailmirror_replication_pending_changes", host, passive.pending
    if passive.watermark is not None:
        yield "mailmirror_replication_watermark_timestamp_seconds", host, passive.watermark
    if passive.equal_as_of is not None:
        yield "mailmirror_equal_timestamp_seconds", host, passive.equal_as_of
    yield "mailmirror_deletions_waiting", host, sum(held.count for held in passive.waiting)
    yield "mailmirror_sidecars_waiting", host, passive.sidecars_wait
    yield "mailmirror_messages_copied_total", host, passive.tally.messages
    yield "mailmirror_message_bytes_copied_total", host, passive.tally.message_bytes
    for kind in CHANGES:
        yield "mailmirror_changes_total", (*host, kind), getattr(passive.tally, kind)
