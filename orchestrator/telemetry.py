"""Every metric that mailmirror has, in one list: name, type, meaning, labels and where a label's values come from.

Names follow Prometheus' conventions: base units, `_total` for counters, `_info`, and
`_timestamp_seconds` for points in time (the age is the reader's to compute). Invariant: no
label holds a mailbox, an account or an address: pairs, hosts and fixed words only.

What fills them is `web.metrics`; a test holds both together.
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class Metric(NamedTuple):
    """One metric. `kind` decides whether it may fall."""

    name: str
    kind: Literal["gauge", "counter"]
    meaning: str
    labels: tuple[str, ...] = ()


PAIR = ("pair",)
HOST = ("pair", "host")  # host: by its name in the inventory; a passive place, where nothing else is said

PLACE = ("pair", "place")  # place: primary, mirror
JOURNEY = ("pair", "journey")
LOOK = ("pair", "observer", "place", "service")  # observer: controller, mirror, witness; service: as in mm_probe

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("mailmirror_build_info", "gauge", "Always 1; the version that runs.", ("version",)),
        # state: the words of replication.report.Link, with _ for a space
        Metric(
            "mailmirror_pair_state",
            "gauge",
            "1 for the state that its replication is in, 0 for the others.",
            ("pair", "state"),
        ),
        Metric("mailmirror_link_up", "gauge", "1 while both ends of this replication are connected.", HOST),
        Metric("mailmirror_active_info", "gauge", "Always 1; the host that is active.", HOST),
        # watch: fanotify, inotify, poll
        Metric("mailmirror_watch_info", "gauge", "Always 1; how the active place notices changes.", ("pair", "watch")),
        Metric(
            "mailmirror_replication_lag_seconds",
            "gauge",
            "Age of the oldest change that the place lacks; 0: none; NaN: unknown.",
            HOST,
        ),
        Metric("mailmirror_rpo_seconds", "gauge", "The lag that is still good (mm_rpo).", PAIR),
        Metric(
            "mailmirror_rpo_exceeded",
            "gauge",
            "1 while the lag is above mm_rpo, or there has been no link for longer than that.",
            HOST,
        ),
        Metric("mailmirror_replication_pending_changes", "gauge", "Changes that the place lacks.", HOST),
        Metric(
            "mailmirror_replication_watermark_timestamp_seconds",
            "gauge",
            "When the last change became durable there.",
            HOST,
        ),
        Metric("mailmirror_equal_timestamp_seconds", "gauge", "When both ends were last proven equal.", HOST),
        Metric("mailmirror_deletions_waiting", "gauge", "Deletions that the firewall holds back.", HOST),
        Metric("mailmirror_permit_open", "gauge", "1 while deletions may flow.", PAIR),
        Metric("mailmirror_sidecars_waiting", "gauge", "Sidecars held back because an IMAP server runs there.", HOST),
        Metric(
            "mailmirror_unstable_folders", "gauge", "Folders whose deletions wait for a listing that holds still.", PAIR
        ),
        Metric("mailmirror_missing_accounts", "gauge", "Accounts that vanished from the active place.", PAIR),
        Metric("mailmirror_epoch", "gauge", "The pair's epoch.", PAIR),
        Metric("mailmirror_accounts", "gauge", "Accounts in the active store.", PAIR),
        Metric("mailmirror_folders", "gauge", "Folders in the active store.", PAIR),
        Metric("mailmirror_messages", "gauge", "Messages in the active store.", PAIR),
        # direction: received, sent, as the controller sees it
        Metric(
            "mailmirror_sync_bytes_total", "counter", "Bytes on the wire, of all conversations.", ("pair", "direction")
        ),
        Metric("mailmirror_messages_copied_total", "counter", "Messages whose bodies travelled.", HOST),
        Metric("mailmirror_message_bytes_copied_total", "counter", "Bytes of those bodies.", HOST),
        # kind: linked, renamed, folders, folders_renamed, sidecars, deleted, refused
        Metric(
            "mailmirror_changes_total",
            "counter",
            "Changes without a body that were made there.",
            ("pair", "host", "kind"),
        ),
        Metric("mailmirror_reconnects_total", "counter", "Times that the link was lost or not made.", PAIR),
        # level: HEALTHY, DEGRADED, SUSPECT, DOWN, UNKNOWN
        Metric(
            "mailmirror_health_level",
            "gauge",
            "1 for the verdict on this mail host, 0 for the others.",
            (*PLACE, "level"),
        ),
        Metric("mailmirror_place_active", "gauge", "1 for the place that is active, as health sees it.", PLACE),
        Metric("mailmirror_health_since_timestamp_seconds", "gauge", "Since when that verdict stands.", PLACE),
        Metric("mailmirror_observer_up", "gauge", "1 while this observer's agent answers.", ("pair", "observer")),
        Metric("mailmirror_probe_success", "gauge", "1 when this observer's newest look found the service well.", LOOK),
        Metric("mailmirror_probe_duration_seconds", "gauge", "How long its newest look took.", LOOK),
        Metric("mailmirror_canary_rtt_seconds", "gauge", "How long the last canary letter that came took.", PLACE),
        Metric(
            "mailmirror_canary_last_success_timestamp_seconds",
            "gauge",
            "When a canary letter last came through.",
            PLACE,
        ),
        Metric(
            "mailmirror_certificate_expiry_timestamp_seconds",
            "gauge",
            "When the service's certificate ends.",
            (*PLACE, "service"),
        ),
        Metric(
            "mailmirror_disk_free_ratio", "gauge", "Free share of its fullest disk, or of that one's inodes.", PLACE
        ),
        Metric("mailmirror_queue_letters", "gauge", "Letters that wait in its queue.", PLACE),
        Metric("mailmirror_queue_oldest_timestamp_seconds", "gauge", "Since when the oldest of them waits.", PLACE),
        Metric("mailmirror_clock_ahead_seconds", "gauge", "By how much its clock is ahead of the controller's.", PLACE),
        # check: as `doctor` names them, those that automatic failover needs
        Metric(
            "mailmirror_failover_ready",
            "gauge",
            "0 while this check stops automatic failover: red, or unknown.",
            ("pair", "check"),
        ),
        Metric("mailmirror_failover_checked_timestamp_seconds", "gauge", "When those checks were made.", PAIR),
        # state: as docs/states.md has them
        Metric(
            "mailmirror_state", "gauge", "1 for the state that the pair is in, 0 for the others.", ("pair", "state")
        ),
        Metric("mailmirror_decided_timestamp_seconds", "gauge", "When it was decided last what to do.", PAIR),
        Metric(
            "mailmirror_decisions_suppressed_total",
            "counter",
            "Times that something would have been done, and a flag or mm_mode held it back.",
            PAIR,
        ),
        Metric("mailmirror_paused", "gauge", "1 while nothing is done unasked, by an operator's pause.", PAIR),
        Metric("mailmirror_cooldown", "gauge", "1 while no other failover follows unasked.", PAIR),
        # check: as `doctor` names them, all that concern the pair; result: ok, warn, unknown, red
        Metric(
            "mailmirror_check",
            "gauge",
            "1 for what this check of `doctor` came to, 0 for the others.",
            ("pair", "check", "result"),
        ),
        # device: as mm_fence names it
        Metric(
            "mailmirror_fence_passed_timestamp_seconds",
            "gauge",
            "When this fence device last passed a test; 0: never.",
            ("pair", "host", "device"),
        ),
        # journey: as playbooks name it; state: open, stuck
        Metric(
            "mailmirror_operation_began_timestamp_seconds",
            "gauge",
            "When the journey began that hasn't ended; nothing where none is on.",
            ("pair", "journey", "state"),
        ),
        # journey: as playbooks name it; state: done, rolled_back, aborted
        Metric("mailmirror_journeys_total", "counter", "Journeys that have ended.", ("pair", "journey", "state")),
        Metric("mailmirror_journey_done_timestamp_seconds", "gauge", "When the last one that was done ended.", JOURNEY),
        Metric("mailmirror_journey_duration_seconds", "gauge", "How long the last one that was done took.", JOURNEY),
        # step: as playbooks name it
        Metric(
            "mailmirror_journey_step_duration_seconds",
            "gauge",
            "How long each step of the last one that was done took, from its intention until it was proven.",
            ("pair", "journey", "step"),
        ),
        Metric(
            "mailmirror_journey_users_away_seconds",
            "gauge",
            "For how long users weren't served in the last one that was done; in a failover since the first suspicion.",
            JOURNEY,
        ),
        Metric(
            "mailmirror_journey_lag_seconds",
            "gauge",
            "What the promoted place lacked at the last contact in the last failover.",
            JOURNEY,
        ),
        Metric(
            "mailmirror_journey_messages_at_risk",
            "gauge",
            "Changes that the promoted place lacked at the last contact in the last failover.",
            JOURNEY,
        ),
        Metric("mailmirror_drill_timestamp_seconds", "gauge", "When the last drill ended that was done.", PAIR),
        # kind: missed, failed, still_running
        Metric(
            "mailmirror_timer_trouble_total",
            "counter",
            "Audits and verifications that weren't called in time.",
            ("kind",),
        ),
    )
}
