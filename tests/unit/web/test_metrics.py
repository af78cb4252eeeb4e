"""`/metrics`, as Prometheus reads it."""

from __future__ import annotations

import math
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.errors import UsageError
from orchestrator.failover.states import State
from orchestrator.failover.travelled import Last, Travelled
from orchestrator.health.report import Glance, Letter, ObserverHealth, PairHealth, PlaceHealth, Vitals
from orchestrator.readiness.checks import On, Readied, checks
from orchestrator.readiness.facts import Device
from orchestrator.replication.report import Link, PairStatus, PassiveStatus, Tally, Waiting
from orchestrator.telemetry import METRICS
from orchestrator.web import decides
from orchestrator.web.decides import Standing
from orchestrator.web.metrics import Told, exposition, samples
from orchestrator.web.serving import Serving
from orchestrator.web.vitals import of_health, of_readiness
from orchestrator.web.voyages import of_journeys
from tests.unit.readiness.site import AWAY, WIT, at, well

SECRET = "someone@example.org"


def stand() -> Told:
    known = PassiveStatus(
        "mail2",
        "mirror",
        connected=True,
        pending=3,
        lag_seconds=1.5,
        watermark=100.0,
        equal_as_of=90.0,
        waiting=[Waiting("w1", SECRET, 300, f"{SECRET} lost its INBOX", 1.0)],
        tally=Tally(messages=7, message_bytes=70, deleted=2),
    )
    org = PairStatus(
        "org",
        Link.LIVE,
        active="mail1",
        watch="fanotify",
        missing_accounts=[SECRET],
        permit_open=True,
        passives=[known],
        rpo=1.0,
    )
    net = PairStatus("net", Link.CONNECTING, passives=[PassiveStatus("mail4", "mirror")], trouble=SECRET)
    return [org, net], {"net": 4}, {"missed": 1}


def scrape(address: str = "127.0.0.1:0") -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    metrics = Serving(address, exposition(stand, healths))
    try:
        host = "[::1]" if "::1" in address else "127.0.0.1"
        with urllib.request.urlopen(f"http://{host}:{metrics.port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    finally:
        metrics.close()
    assert SECRET not in text
    assert "someone" not in text
    families = list(text_string_to_metric_families(text))
    assert {family.name for family in families} == {name.removesuffix("_total") for name in METRICS}
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


@pytest.mark.issue("2.6 metrics: lag, rates, pending, firewall, equality")
def test_a_scrape_shows_lag_pending_firewall_equality_and_rates() -> None:
    seen = scrape()
    host, pair = (("host", "mail2"), ("pair", "org")), (("pair", "org"),)
    assert seen["mailmirror_replication_lag_seconds", host] == 1.5
    assert (seen["mailmirror_rpo_seconds", pair], seen["mailmirror_rpo_exceeded", host]) == (1.0, 1.0)
    assert seen["mailmirror_replication_pending_changes", host] == 3
    assert seen["mailmirror_deletions_waiting", host] == 300
    assert seen["mailmirror_equal_timestamp_seconds", host] == 90
    assert seen["mailmirror_messages_copied_total", host] == 7
    assert seen["mailmirror_permit_open", pair] == 1
    assert seen["mailmirror_missing_accounts", pair] == 1
    assert seen["mailmirror_link_up", host] == 1
    assert seen["mailmirror_active_info", (("host", "mail1"), ("pair", "org"))] == 1
    assert seen["mailmirror_changes_total", (("host", "mail2"), ("kind", "deleted"), ("pair", "org"))] == 2
    assert seen["mailmirror_pair_state", (("pair", "net"), ("state", "connecting"))] == 1
    assert seen["mailmirror_reconnects_total", (("pair", "net"),)] == 4
    assert seen["mailmirror_timer_trouble_total", (("kind", "missed"),)] == 1


def test_what_isn_t_known_is_no_zero() -> None:
    seen, host = scrape(), (("host", "mail4"), ("pair", "net"))
    assert math.isnan(seen["mailmirror_replication_lag_seconds", host])
    assert ("mailmirror_equal_timestamp_seconds", host) not in seen
    assert seen["mailmirror_link_up", host] == 0


def healths() -> list[PairHealth]:
    glances = [
        Glance("witness", "imap", "timeout", SECRET, 3.0, 100.0, True, 4),
        Glance("controller", "imap", "", "", 0.02, 100.0, False, 0),
    ]
    vitals = Vitals(100.0, [("/home/someone", 0.4, False), ("/v", 0.25, False), ("/x", None, None)], 3, 90.0, 0.1, True)
    primary = PlaceHealth(
        "primary", "mail1", True, "SUSPECT", 95.0, evidence=[SECRET], glances=glances, certificates={"imap": 2e9},
        vitals=vitals, canary=Letter(99.0, "", "", 0.7, 0, 99.0),
    )  # fmt: skip
    observers = [ObserverHealth("witness", "wit", True, True), ObserverHealth("archive", "vault", False)]
    return [PairHealth("org", 100.0, places=[primary, PlaceHealth("mirror", "mail2")], observers=observers)]


@pytest.mark.issue("4.1 metrics of health: level, probes, canary, certificate, disk, queue")
def test_health_is_in_the_metrics_and_what_isnt_known_is_left_out() -> None:
    made = {(name, labels): value for name, labels, value in of_health(healths())}
    levels = {labels[1:]: value for (name, labels), value in made.items() if name == "mailmirror_health_level"}
    assert [labels for labels, value in levels.items() if value] == [("primary", "SUSPECT"), ("mirror", "UNKNOWN")]
    look = ("org", "witness", "primary", "imap")
    assert made["mailmirror_probe_success", look] == 0 and made["mailmirror_probe_duration_seconds", look] == 3.0
    primary, mirror = ("org", "primary"), ("org", "mirror")
    assert made["mailmirror_canary_rtt_seconds", primary] == 0.7
    assert made["mailmirror_certificate_expiry_timestamp_seconds", (*primary, "imap")] == 2e9
    assert (made["mailmirror_disk_free_ratio", primary], made["mailmirror_queue_letters", primary]) == (0.25, 3)
    assert made["mailmirror_queue_oldest_timestamp_seconds", primary] == 90.0
    assert made["mailmirror_observer_up", ("org", "archive")] == 0
    assert made["mailmirror_place_active", primary] and not made["mailmirror_place_active", mirror]
    assert [name for name, labels in made if labels == mirror] == ["mailmirror_place_active"]
    assert not [labels for _, labels in made if "someone" in str(labels)]


def readied() -> Readied:
    """The witness can't tell its time."""
    fences = (Device("mail1", 1, "ipmi", 90.0), Device("mail2", 1, "ipmi", None))
    return Readied("org", 100.0, checks(at(well(), WIT, clock=AWAY)), fences, On("switchover", "stuck", 95.0))


@pytest.mark.issue("4.4 doctor: readiness in the metrics, by check")
def test_readiness_is_in_the_metrics_by_check_and_nothing_before_the_first_look() -> None:
    made = {(name, labels): value for name, labels, value in of_readiness([readied(), Readied("net")])}
    assert made.pop(("mailmirror_failover_checked_timestamp_seconds", ("org",))) == 100.0
    ready = {labels: value for (name, labels), value in made.items() if name == "mailmirror_failover_ready"}
    assert {labels: value for labels, value in ready.items() if not value} == {("org", "clock"): False}
    assert ("org", "lease") in ready
    assert ("mailmirror_failover_ready", ("org", "archive")) not in made, "no failover waits for it"


STANDINGS = [Standing("org", State.DOWN, 100.0, 2, paused=True, cooldown=False)]


@pytest.mark.issue("5.5 metrics: the state by pair, suppressed, paused")
def test_one_state_is_1_and_what_is_held_back_is_counted() -> None:
    made = {(name, labels): value for name, labels, value in decides.samples(STANDINGS)}
    states = {labels[1]: value for (name, labels), value in made.items() if name == "mailmirror_state"}
    assert [state for state, value in states.items() if value] == ["DOWN"] and len(states) == len(State)
    assert made["mailmirror_decisions_suppressed_total", ("org",)] == 2
    assert made["mailmirror_paused", ("org",)] and not made["mailmirror_cooldown", ("org",)]


@pytest.mark.issue("6.3 metrics of checks, fence tests and journeys")
def test_every_check_each_fence_device_and_the_journey_that_is_on_are_in_the_metrics() -> None:
    made = {(name, labels): value for name, labels, value in of_readiness([readied(), Readied("net")])}
    results = {labels for (name, labels), value in made.items() if name == "mailmirror_check" and value}
    assert ("org", "clock", "unknown") in results and ("org", "archive", "ok") in results
    assert len({check for _, check, _ in results}) == len(results), "each came to one result"
    passed = "mailmirror_fence_passed_timestamp_seconds"
    assert (made[passed, ("org", "mail1", "ipmi")], made[passed, ("org", "mail2", "ipmi")]) == (90.0, 0.0)
    assert made["mailmirror_operation_began_timestamp_seconds", ("org", "switchover", "stuck")] == 95.0


TRAVELLED = [
    Travelled(
        "org", {("switchover", "done"): 2, ("failover", "rolled back"): 1},
        [Last("failover", 10.0, 25.0, {"fence": 4.5}, 12.5, 2.0, 3), Last("rejoin", 30.0, 31.0, {})], 99.0,
    ),
    Travelled("net"),
]  # fmt: skip


@pytest.mark.issue("6.3 metrics of journeys: step durations, RTO and RPO actuals, messages at risk, the last drill")
def test_what_journeys_came_to_is_in_the_metrics_and_what_isnt_known_is_left_out() -> None:
    made = {(name.removeprefix("mailmirror_"), labels): value for name, labels, value in of_journeys(TRAVELLED)}
    last = ("org", "failover")
    assert made.pop(("journeys_total", ("org", "failover", "rolled_back"))) == 1
    assert made.pop(("journeys_total", ("org", "switchover", "done"))) == 2
    assert made.pop(("journey_duration_seconds", last)) == 15.0
    assert made.pop(("journey_done_timestamp_seconds", last)) == 25.0
    assert made.pop(("journey_step_duration_seconds", (*last, "fence"))) == 4.5
    assert made.pop(("journey_users_away_seconds", last)) == 12.5
    assert (made.pop(("journey_lag_seconds", last)), made.pop(("journey_messages_at_risk", last))) == (2.0, 3)
    assert made.pop(("drill_timestamp_seconds", ("org",))) == 99.0
    rejoin = {"journey_done_timestamp_seconds", "journey_duration_seconds"}
    assert {name for name, labels in made if labels == ("org", "rejoin")} == rejoin and len(made) == 2


def test_every_sample_is_of_a_listed_metric_with_its_labels_and_every_metric_has_one() -> None:
    made = [*samples(*stand()), *of_health(healths()), *of_readiness([readied()]), *decides.samples(STANDINGS)]
    made += of_journeys(TRAVELLED)
    assert {name for name, _, _ in made} == METRICS.keys()
    assert all(len(labels) == len(METRICS[name].labels) for name, labels, _ in made)


def test_metric_names_follow_the_conventions() -> None:
    for name, metric in METRICS.items():
        assert name.startswith("mailmirror_")
        assert (metric.kind == "counter") == name.endswith("_total"), name
        assert name == name.lower()
        assert metric.meaning.endswith(".")
        assert not {"account", "mailbox", "folder", "user", "address"} & set(metric.labels)


def test_a_port_that_can_t_be_had_is_an_operator_s_error() -> None:
    first = Serving("127.0.0.1:0", exposition(stand))
    try:
        for address in (f"127.0.0.1:{first.port}", "127.0.0.1:many"):
            with pytest.raises(UsageError, match="Pages and metrics can't be served"):
                Serving(address, exposition(stand))
    finally:
        first.close()


def test_it_serves_on_ipv6_loopback_too() -> None:
    assert scrape("[::1]:0")
