"""The rules and the metrics, judged by Prometheus' own promtool, which is in the lab's layer."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator

import pytest
import yaml

from orchestrator.web.metrics import exposition
from orchestrator.web.serving import Serving
from tests.lab.generation import BOOKWORM, PACKAGES
from tests.support import image, require
from tests.unit.web.test_metrics import healths, readied, stand

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("image")]
RULES = image.CHECKOUT / "deploy/prometheus"


@pytest.fixture(scope="module")
def root() -> Iterator[image.Root]:
    require.root()
    with image.Root(binds=[(RULES, "/rules")], packages=PACKAGES, unpacked=BOOKWORM.unpacked) as root:
        yield root


@pytest.mark.issue("6.3 rules and alerts hold by promtool: each is quiet, fires and clears")
def test_each_alert_is_quiet_fires_and_clears(root: image.Root) -> None:
    said = root.check(["promtool", "check", "rules", "/rules/recording.yml", "/rules/alerts.yml"])
    assert b"SUCCESS" in said
    try:
        root.check(["promtool", "test", "rules", "/rules/alerts_test.yml"])
    except subprocess.CalledProcessError as error:
        pytest.fail(f"{error.output.decode()}\n{error.stderr.decode()}")


def test_each_query_of_the_dashboard_is_one_that_prometheus_understands(root: image.Root) -> None:
    panels = json.loads((image.CHECKOUT / "deploy/grafana/mailmirror.json").read_text())["panels"]
    asked = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    rules = [{"record": f"dashboard:query:{number}", "expr": each} for number, each in enumerate(asked)]
    written = yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}).encode()
    said = root.check(
        ["sh", "-c", "cat > /tmp/dashboard.yml && promtool check rules /tmp/dashboard.yml"], stdin=written
    )
    assert f"{len(asked)} rules found".encode() in said, said


@pytest.mark.issue("6.3 promtool check metrics is clean")
def test_the_metrics_are_as_prometheus_wants_them(root: image.Root) -> None:
    metrics = Serving("127.0.0.1:0", exposition(stand, healths, lambda: [readied()]))
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics.port}/metrics", timeout=5) as answer:
            text = answer.read()
    finally:
        metrics.close()
    root.check(["promtool", "check", "metrics"], stdin=text)
