"""What the lab's Prometheus has scraped of the daemon, asked by its HTTP API; and a picture of it for the docs.

Invariant: the queries of the picture are the dashboard's own, read from its JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import urlencode

from tests.lab.host import Host
from tests.lab.waiting import until
from tests.support.image import CHECKOUT

INKS = ("#1b6e2d", "#b00020", "#1f5fa8", "#8a4b00", "#6a3d9a", "#555555")
Series = tuple[str, list[tuple[float, float]]]
"""A legend, and its points: (seconds since 1970, value)."""
WIDTH, TALL, EDGE = 420.0, 150.0, 34.0


def start(host: Host) -> None:
    """Prometheus, until it answers."""
    host.systemctl("start", "prometheus.service")
    ready = "curl --silent --fail localhost:9090/-/ready"
    until(lambda: host.attempt(ready).returncode == 0, within=30, what="Prometheus answers")


def ask(host: Host, path: str, **words: str) -> Any:
    """The data of an answer of /api/v1."""
    url = f"http://localhost:9090/api/v1/{path}?{urlencode(words)}"
    answer = json.loads(host.run(["curl", "--silent", "--fail", url]))
    assert answer["status"] == "success", answer
    return answer["data"]


def value(host: Host, query: str) -> float | None:
    """Of the one series that the query finds now; None where there is none."""
    found = ask(host, "query", query=query)["result"]
    return float(found[0]["value"][1]) if found else None


def firing(host: Host) -> set[str]:
    """The alerts that fire now, by name."""
    return {each["labels"]["alertname"] for each in ask(host, "alerts")["alerts"] if each["state"] == "firing"}


def picture(host: Host, titles: Sequence[str], since: float, until: float) -> str:
    """These panels of the dashboard over a span of time (seconds since 1970), as SVG."""
    panels = {
        each["title"]: each for each in json.loads((CHECKOUT / "deploy/grafana/mailmirror.json").read_text())["panels"]
    }
    drawn = []
    for number, title in enumerate(titles):
        left, top = 10 + (number % 2) * (WIDTH + 20), 10 + number // 2 * (TALL + 30)
        series = list(_series(host, panels[title], since, until))
        draw = _panel if panels[title]["type"] == "timeseries" else _bands
        shapes = "".join(draw(title, series, since, until))
        drawn.append(f'<g transform="translate({left:.0f},{top:.0f})">{shapes}</g>')
    high = 20 + (len(titles) + 1) // 2 * (TALL + 30)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH + 40:.0f} {high:.0f}" '
        'font-family="sans-serif" font-size="10"><rect width="100%" height="100%" fill="#ffffff"/>'
        + "".join(drawn) + "</svg>\n"
    )  # fmt: skip


def _series(host: Host, panel: Mapping[str, Any], since: float, until: float) -> Iterator[Series]:
    for target in panel["targets"]:
        query = target["expr"].replace("$pair", ".*")
        told = ask(host, "query_range", query=query, start=f"{since:.3f}", end=f"{until:.3f}", step="1")
        for each in told["result"]:
            legend = target["legendFormat"]
            for label, said in each["metric"].items():
                legend = legend.replace("{{" + label + "}}", said)
            points = [(float(at), float(said)) for at, said in each["values"]]
            yield legend, [(at, said) for at, said in points if math.isfinite(said)]


def _bands(title: str, series: Sequence[Series], since: float, until: float) -> Iterator[str]:
    """A row for each series: where it is 1, a band."""
    yield f'<rect width="{WIDTH}" height="{TALL}" fill="none" stroke="#d0d0d0"/>'
    yield f'<text x="6" y="14" font-weight="bold">{escape(title)}</text>'
    left, row = 170.0, (TALL - 30) / max(len(series), 1)
    for number, (legend, points) in enumerate(series):
        top, ink = 24 + number * row, INKS[number % len(INKS)]
        yield f'<text x="6" y="{top + row / 2 + 3:.1f}" fill="{ink}" font-size="8">{escape(legend)}</text>'
        wide = (WIDTH - left - 10) / (until - since)
        for at, said in points:
            if said == 1:
                x = left + (at - since) * wide
                yield f'<rect x="{x:.1f}" y="{top:.1f}" width="{wide:.2f}" height="{row * 0.7:.1f}" fill="{ink}"/>'


def _panel(title: str, series: Sequence[Series], since: float, until: float) -> Iterator[str]:
    highest = max((said for _, points in series for _, said in points), default=0.0) or 1.0
    yield f'<rect width="{WIDTH}" height="{TALL}" fill="none" stroke="#d0d0d0"/>'
    yield f'<text x="6" y="14" font-weight="bold">{escape(title)}</text>'
    yield f'<text x="{EDGE - 4}" y="{EDGE}" text-anchor="end">{highest:.3g}</text>'
    wide, tall = WIDTH - EDGE - 10, TALL - 2 * EDGE
    for number, (legend, points) in enumerate(series[:6]):
        ink = INKS[number]
        lines: list[list[str]] = [[]]
        last = since
        for at, said in points:
            if at - last > 2.5:
                lines.append([])
            last = at
            x, y = EDGE + (at - since) / (until - since) * wide, EDGE + (1 - said / highest) * tall
            lines[-1].append(f"{x:.1f},{y:.1f}")
        for line in lines:
            if line:
                yield f'<polyline points="{" ".join(line)}" fill="none" stroke="{ink}" stroke-width="1.5"/>'
        x, y = EDGE + number % 2 * 190, TALL - 22 + number // 2 * 9
        yield f'<text x="{x}" y="{y}" fill="{ink}" font-size="8">{escape(legend)}</text>'
