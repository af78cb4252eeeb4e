"""Each alert has its page, its promtool test, and asks only for metrics that there are."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from orchestrator.cli.front import VERBS
from orchestrator.telemetry import METRICS
from tests.house import source

RULES = source.CHECKOUT / "deploy/prometheus"
RUNBOOKS = source.CHECKOUT / "docs/runbooks"
_NAME = re.compile(r"(?<![\w:])(mailmirror_\w+)|\b(\w+:mailmirror_\w+:\w+)")


def rules(name: str) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(source.text(RULES / name))["groups"] for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules("alerts.yml")}
RECORDED = {rule["record"] for rule in rules("recording.yml")}


def unknown(expression: str) -> set[str]:
    """The names in an expression that neither telemetry nor a recording rule has."""
    found = {plain or recorded for plain, recorded in _NAME.findall(expression)}
    return found - METRICS.keys() - RECORDED


@pytest.mark.issue("6.3 each alert has a runbook page and a promtool test; its metrics are there")
def test_each_alert_says_what_is_wrong_and_leads_to_its_page() -> None:
    for name, rule in ALERTS.items():
        assert name.startswith("Mailmirror") and rule["labels"]["severity"] in ("critical", "warning"), name
        said = rule["annotations"]
        assert said.keys() == {"summary", "description", "runbook_url"}, name
        assert said["runbook_url"] == f"docs/runbooks/{name}.md"
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == ALERTS.keys(), "a page for each alert, and no other"


def test_each_page_says_meaning_impact_diagnosis_and_mitigation_with_verbs_that_there_are() -> None:
    for path in RUNBOOKS.glob("*.md"):
        text = source.text(path)
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Meaning", "Impact", "Diagnosis", "Mitigation"], path
        diagnosis = text.split("## Diagnosis")[1].split("## ")[0]
        assert re.search(r"^    \S", diagnosis, re.MULTILINE), f"{path} has nothing to type"
        assert {verb for verb in re.findall(r"\bmailmirror ([a-z]+)\b", text) if verb not in VERBS} <= {"daemon"}, path


def test_each_alert_has_a_promtool_test_that_is_quiet_fires_and_clears() -> None:
    tried = yaml.safe_load(source.text(RULES / "alerts_test.yml"))["tests"]
    courses = {
        each["alert_rule_test"][0]["alertname"]: [bool(look.get("exp_alerts")) for look in each["alert_rule_test"]]
        for each in tried
    }
    assert courses == {name: [False, True, False] for name in ALERTS}
    for each in tried:
        assert {look["alertname"] for look in each["alert_rule_test"]} == {each["name"]}


def test_every_metric_that_a_rule_asks_for_is_there() -> None:
    for rule in [*ALERTS.values(), *rules("recording.yml")]:
        assert not unknown(rule["expr"]), rule
    assert unknown("mailmirror_nothing > 0 or pair:mailmirror_none:max") == {
        "mailmirror_nothing",
        "pair:mailmirror_none:max",
    }
