"""The Grafana dashboard, as JSON: `python deploy/grafana/generate.py > deploy/grafana/mailmirror.json`.

What a person wants first stands first: who is active, how the pair stands, what would be lost. Every query asks
Prometheus for what `telemetry` and the recording rules have; a test holds that.

Invariant: the same program makes the same bytes.
"""

from __future__ import annotations

import json
import sys
from typing import Any, NamedTuple

SOURCE = {"type": "prometheus", "uid": "${source}"}
PAIR = 'pair=~"$pair"'
WIDTH = 24


class Panel(NamedTuple):
    """`queries` are (expression, legend); `kind` and `unit` Grafana's own names; `limits` colour from there on."""

    title: str
    what: str
    queries: tuple[tuple[str, str], ...]
    kind: str = "timeseries"
    unit: str = "short"
    width: int = 8
    height: int = 7
    limits: tuple[tuple[str, float | None], ...] = (("green", None),)


def row(title: str, *panels: Panel) -> tuple[str, tuple[Panel, ...]]:
    return title, panels


ROWS = (
    row(
        "At a glance",
        Panel(
            "Who is active",
            "The host that the users are on, and the epoch of that.",
            ((f"mailmirror_active_info{{{PAIR}}}", "{{pair}}: {{host}}"), (f"mailmirror_epoch{{{PAIR}}}", "epoch")),
            kind="stat",
            width=6,
        ),
        Panel(
            "State",
            "PROTECTED is well; docs/states.md says what the others are.",
            ((f"mailmirror_state{{{PAIR}}} == 1", "{{pair}}: {{state}}"),),
            kind="stat",
            width=6,
        ),
        Panel(
            "Lag",
            "Age of the oldest change that the passive place lacks: what a failover now would lose.",
            ((f"pair:mailmirror_replication_lag_seconds:max{{{PAIR}}}", "{{pair}}"),),
            kind="stat",
            unit="s",
            width=4,
            limits=(("green", None), ("orange", 30.0), ("red", 300.0)),
        ),
        Panel(
            "Changes at risk",
            "Changes that stand at the active place alone.",
            ((f"mailmirror_replication_pending_changes{{{PAIR}}}", "{{pair}} {{host}}"),),
            kind="stat",
            width=4,
            limits=(("green", None), ("orange", 1.0)),
        ),
        Panel(
            "Failover ready",
            "1 while every check that automatic failover depends on is green.",
            ((f"min by (pair) (mailmirror_failover_ready{{{PAIR}}})", "{{pair}}"),),
            kind="stat",
            width=4,
            limits=(("red", None), ("green", 1.0)),
        ),
    ),
    row(
        "The mirror",
        Panel(
            "Lag, and mm_rpo",
            "Unknown is a gap, not zero.",
            (
                (f"mailmirror_replication_lag_seconds{{{PAIR}}}", "{{pair}} {{host}}"),
                (f"mailmirror_rpo_seconds{{{PAIR}}}", "mm_rpo of {{pair}}"),
            ),
            unit="s",
            width=12,
        ),
        Panel(
            "RPO kept, share of a day",
            "For how much of the last day the lag was within mm_rpo.",
            ((f"pair:mailmirror_rpo_kept:ratio1d{{{PAIR}}}", "{{pair}}"),),
            unit="percentunit",
            width=6,
        ),
        Panel(
            "Age of the last proof of equality",
            "Both places' digests were the same then.",
            ((f"host:mailmirror_equal_age_seconds:max{{{PAIR}}}", "{{pair}} {{host}}"),),
            unit="s",
            width=6,
        ),
        Panel(
            "Messages copied",
            "Whose bodies travelled, a second.",
            ((f"rate(mailmirror_messages_copied_total{{{PAIR}}}[5m])", "{{pair}} {{host}}"),),
            unit="ops",
        ),
        Panel(
            "Bytes on the wire",
            "Of all conversations, a second.",
            ((f"rate(mailmirror_sync_bytes_total{{{PAIR}}}[5m])", "{{pair}} {{direction}}"),),
            unit="Bps",
        ),
        Panel(
            "Held back",
            "Deletions that wait for an operator, sidecars that wait for a Dovecot, folders that don't hold still.",
            (
                (f"mailmirror_deletions_waiting{{{PAIR}}}", "{{pair}} deletions"),
                (f"mailmirror_sidecars_waiting{{{PAIR}}}", "{{pair}} sidecars"),
                (f"mailmirror_unstable_folders{{{PAIR}}}", "{{pair}} folders"),
            ),
        ),
    ),
    row(
        "Health",
        Panel(
            "Probes, by observer",
            "1 when the newest look found the service well.",
            ((f"mailmirror_probe_success{{{PAIR}}}", "{{place}} {{service}} from {{observer}}"),),
            kind="state-timeline",
            width=12,
        ),
        Panel(
            "How long a look takes",
            "By service and observer.",
            ((f"mailmirror_probe_duration_seconds{{{PAIR}}}", "{{place}} {{service}} from {{observer}}"),),
            unit="s",
            width=12,
        ),
        Panel(
            "Verdict",
            "On each mail host; DOWN takes two observers.",
            ((f"mailmirror_health_level{{{PAIR}}} == 1", "{{pair}} {{place}}: {{level}}"),),
            kind="state-timeline",
        ),
        Panel(
            "Test letters",
            "How long the last one took from sending to reading.",
            ((f"mailmirror_canary_rtt_seconds{{{PAIR}}}", "{{pair}} {{place}}"),),
            unit="s",
        ),
        Panel(
            "Queues",
            "Letters that wait, and the age of the oldest.",
            (
                (f"mailmirror_queue_letters{{{PAIR}}}", "{{pair}} {{place}} letters"),
                (f"place:mailmirror_queue_oldest_seconds:max{{{PAIR}}}", "{{pair}} {{place}} oldest, s"),
            ),
        ),
    ),
    row(
        "Failover",
        Panel(
            "What stops automatic failover",
            "Checks that are red or unknown; `mailmirror doctor` says what to do.",
            ((f"mailmirror_failover_ready{{{PAIR}}} == 0", "{{pair}}: {{check}}"),),
            kind="state-timeline",
            width=12,
        ),
        Panel(
            "Lease",
            "Whether it is armed: only then it can be waited for.",
            ((f'mailmirror_check{{{PAIR},check="lease",result="ok"}}', "{{pair}}"),),
            kind="state-timeline",
            width=6,
        ),
        Panel(
            "A journey is on, for",
            "Nothing where none is.",
            ((f"time() - mailmirror_operation_began_timestamp_seconds{{{PAIR}}}", "{{pair}} {{journey}} {{state}}"),),
            unit="s",
            width=6,
        ),
        Panel(
            "Users away in the last journey",
            "In a failover since the first suspicion, in others since the first was turned away; until it was proven.",
            ((f"mailmirror_journey_users_away_seconds{{{PAIR}}}", "{{pair}} {{journey}}"),),
            kind="stat",
            unit="s",
            width=6,
            limits=(("green", None), ("orange", 20.0)),
        ),
        Panel(
            "Lacking at the last failover",
            "What the promoted place lacked at the last contact: age, and changes.",
            (
                (f"mailmirror_journey_lag_seconds{{{PAIR}}}", "{{pair}} s"),
                (f"mailmirror_journey_messages_at_risk{{{PAIR}}}", "{{pair}} changes"),
            ),
            kind="stat",
            width=6,
            limits=(("green", None), ("orange", 1.0)),
        ),
        Panel(
            "Since the last drill",
            "What was never tried doesn't work: once a quarter.",
            ((f"time() - mailmirror_drill_timestamp_seconds{{{PAIR}}}", "{{pair}}"),),
            kind="stat",
            unit="s",
            width=6,
            limits=(("green", None), ("orange", 100 * 86_400.0)),
        ),
        Panel(
            "Journeys so far",
            "By how they ended.",
            ((f"mailmirror_journeys_total{{{PAIR}}}", "{{pair}} {{journey}} {{state}}"),),
            kind="stat",
            width=6,
        ),
        Panel(
            "Steps of the last journey of each kind",
            "From its intention until it was proven.",
            ((f"mailmirror_journey_step_duration_seconds{{{PAIR}}}", "{{journey}} {{step}}"),),
            kind="bargauge",
            unit="s",
            width=12,
        ),
        Panel(
            "Held back: pause, cooldown",
            "1 while nothing is done unasked.",
            (
                (f"mailmirror_paused{{{PAIR}}}", "{{pair}} paused"),
                (f"mailmirror_cooldown{{{PAIR}}}", "{{pair}} cooldown"),
            ),
            kind="state-timeline",
            width=12,
        ),
        Panel(
            "Certificates end in",
            "By service.",
            ((f"service:mailmirror_certificate_left_seconds:min{{{PAIR}}}", "{{place}} {{service}}"),),
            unit="s",
            width=6,
        ),
        Panel(
            "Free disk",
            "Of the fullest disk that mail needs, or of its inodes.",
            ((f"mailmirror_disk_free_ratio{{{PAIR}}}", "{{pair}} {{place}}"),),
            unit="percentunit",
            width=6,
        ),
    ),
)


def dashboard() -> dict[str, Any]:
    panels, number, top = list[dict[str, Any]](), 0, 0
    for title, those in ROWS:
        number += 1
        panels.append(
            {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": _place(0, top, WIDTH, 1)}
        )
        top, left, tall = top + 1, 0, 0
        for panel in those:
            if left + panel.width > WIDTH:
                top, left, tall = top + tall, 0, 0
            number += 1
            panels.append(_panel(panel, number, _place(left, top, panel.width, panel.height)))
            left, tall = left + panel.width, max(tall, panel.height)
        top += tall
    return {
        "uid": "mailmirror", "title": "mailmirror", "tags": ["mail"], "schemaVersion": 39, "version": 1,
        "timezone": "browser", "refresh": "10s", "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [
            {"name": "source", "label": "Data source", "type": "datasource", "query": "prometheus"},
            {
                "name": "pair", "label": "Pair", "type": "query", "datasource": SOURCE, "multi": True,
                "includeAll": True, "query": "label_values(mailmirror_pair_state, pair)", "refresh": 2,
                "current": {"text": "All", "value": "$__all"},
            },
        ]},
        "panels": panels,
    }  # fmt: skip


def _place(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": width, "h": height}


def _panel(panel: Panel, number: int, where: dict[str, int]) -> dict[str, Any]:
    steps = [{"color": color, "value": value} for color, value in panel.limits]
    said = panel.kind == "stat"
    return {
        "id": number, "type": panel.kind, "title": panel.title, "description": panel.what, "gridPos": where,
        "datasource": SOURCE,
        "targets": [
            {"refId": chr(ord("A") + index), "expr": query, "legendFormat": legend, "datasource": SOURCE}
            for index, (query, legend) in enumerate(panel.queries)
        ],
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}}, "overrides": [],
        },
        "options": {"textMode": "value_and_name"} if said else {},
    }  # fmt: skip


if __name__ == "__main__":
    sys.stdout.write(json.dumps(dashboard(), indent=1) + "\n")
