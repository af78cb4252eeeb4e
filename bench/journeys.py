"""`python -m bench.journeys`: how long users are without mail while a journey runs, on whole hosts, by their own clock.

Each run is typed as an operator types it while people send and read; an outside client asks every service all the time
and says how long it had no answer, and whether anything was lost, doubled or misled. The figures of a run that broke a
promise count for nothing, and the run is told as FAILED.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bench import outages
from bench.arrange import REPOSITORY
from tests.lab import product, roots
from tests.lab.following import is_live
from tests.lab.guarded import guarded_site
from tests.lab.site import Site
from tests.lab.underload import Judged, Load, moved_under_load
from tests.lab.waiting import until

SHOWN = ("imap", "pop3", "submission", "smtp")
"""SMTP by the second MX as well: the passive place takes letters and queues them."""
LEASE = 8.0  # seconds, the default


class Run(NamedTuple):
    """Seconds without an answer by protocol, the longest time; the steps' own seconds; why it counts for nothing."""

    away: Mapping[str, float]
    steps: Mapping[str, float]
    wrong: str
    told: str


class Journey(NamedTuple):
    """`runs` of it on one site: (site, how many, place for files, seed of the first)."""

    goal: str
    run: Callable[[Site, int, Path, int], Iterator[Run]]


def switchovers(site: Site, count: int, place: Path, seed: int) -> Iterator[Run]:
    """There and home again by turns: a failback is a switchover home."""
    for number in range(count):
        until(lambda: is_live(site), within=120, what="it follows live")
        words, active = (("switchover",), "primary") if number % 2 == 0 else (("failback",), "mirror")
        yield judged_run(moved_under_load(site, place, words, active, Load(seconds=35.0, seed=seed + number)))


def power_cuts(site: Site, count: int, place: Path, seed: int) -> Iterator[Run]:
    for judged in outages.power_cuts(site, count, place, seed):
        yield judged_run(judged, outages.AT_RISK)


def dead_services(site: Site, count: int, place: Path, seed: int) -> Iterator[Run]:
    for judged in outages.dead_services(site, count, place, seed):
        yield judged_run(judged)


JOURNEYS: Mapping[str, Journey] = {
    "switchover": Journey("3 s median, 6 s worst", switchovers),
    "power cut": Journey("20 s", power_cuts),
    "dead services": Journey("10 s", dead_services),
}


def judged_run(judged: Judged, at_risk: Sequence[str] = ()) -> Run:
    """What is shown of it; findings of the kinds `at_risk` are no broken promise."""
    verdict, answer = judged.verdict, judged.typed.answer
    wrong = "" if answer["state"] == "done" else f"{answer['state']}: {answer['why']}"
    wrong = wrong or "; ".join(
        sorted({f"{each.kind} {each.detail}".strip() for each in verdict.findings if each.kind not in at_risk})
    )
    away = {protocol: verdict.away[protocol].gap for protocol in SHOWN if protocol in verdict.away}
    return Run(away, steps_of(judged.typed.told), wrong, judged.typed.told)


def steps_of(told: str) -> dict[str, float]:
    """Seconds by step, from the lines that the command told on the way: when each was done."""
    found: dict[str, float] = {}
    before = 0.0
    for line in told.splitlines():
        when, unit, rest = [*line.split(maxsplit=2), "", ""][:3]
        name, _, what = rest.partition(": ")
        if unit == "s" and what.startswith("done"):
            found[name] = float(when) - before
            before = float(when)
    return found


def table(runs: Mapping[str, Sequence[Run]]) -> list[str]:
    """Median and worst of what was away, by journey and protocol; then the median of each step."""
    out = [f"{'journey':14s} {'away':12s} {'median s':>9s} {'worst s':>9s}   runs   goal (IMAP and submission)"]
    for name, each in runs.items():
        good = [run for run in each if not run.wrong]
        for protocol in SHOWN:
            seconds = [run.away[protocol] for run in good if protocol in run.away]
            if seconds:
                figures = f"{statistics.median(seconds):9.2f} {max(seconds):9.2f}"
                out.append(f"{name:14s} {protocol:12s} {figures} {len(seconds):6d}   {JOURNEYS[name].goal}")
        out += [f"{name:14s} FAILED: {run.wrong}" for run in each if run.wrong]
        for step in good[0].steps if good else ():
            seconds = [run.steps.get(step, 0.0) for run in good]
            out.append(f"{name:14s}   {step:15s} {statistics.median(seconds):6.2f} {max(seconds):9.2f}")
    return out


def facts() -> dict[str, Any]:
    """Where it was measured."""
    return {
        "cores": os.cpu_count(),
        "load before": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "at": time.strftime("%Y-%m-%d %H:%M"),
    }


@contextmanager
def site_of(users: int, lease: float) -> Iterator[Site]:
    """A guarded pair with a witness and an address that moves; the daemon runs on the mirror."""
    with guarded_site(users, lease) as site:
        site.mirror.systemctl("start", product.UNIT)
        yield site


def main(words: list[str]) -> int:
    """Measure; exit 1 when a run FAILED."""
    parser = argparse.ArgumentParser(prog="python -m bench.journeys", description=__doc__)
    parser.add_argument("--only", default=",".join(JOURNEYS), help=f"by comma, of: {' '.join(JOURNEYS)}")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1, help="of the first run's load; each further one has the next")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "build/bench")
    chosen = parser.parse_args(words)
    chosen.out.mkdir(parents=True, exist_ok=True)
    where = {**facts(), "accounts": chosen.users}
    print("\n".join(f"{name}: {value}" for name, value in where.items()), flush=True)
    roots.privately()
    runs: dict[str, list[Run]] = {}
    for name in chosen.only.split(","):
        with site_of(chosen.users, LEASE) as site, tempfile.TemporaryDirectory() as place:
            for run in JOURNEYS[name].run(site, chosen.runs, Path(place), chosen.seed):
                runs.setdefault(name, []).append(run)
                print(run.told + (run.wrong or f"away: {dict(run.away)}"), flush=True)
            for host in (site.primary, site.mirror):
                told = [
                    line
                    for line in host.journal("mailmirror-guard").splitlines()
                    if "hands, " in line or "epoch" in line
                ]
                print("\n".join(told), flush=True)
    print("\n".join(table(runs)))
    kept = {name: [run._asdict() for run in each] for name, each in runs.items()}
    (chosen.out / "journeys.json").write_text(json.dumps({"facts": where, "runs": kept}, indent=1) + "\n")
    return 1 if any(run.wrong for each in runs.values() for run in each) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
