"""An order typed while people use the mail servers, and what the outside client has to say about it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.lab import product
from tests.lab.oracle import reading, witness
from tests.lab.oracle import site as outside
from tests.lab.oracle.intervals import Span
from tests.lab.oracle.run import judged
from tests.lab.oracle.table import lines
from tests.lab.oracle.verdict import Verdict
from tests.lab.site import CA, Site


class Typed(NamedTuple):
    """What an order came to, when the old active gave its epoch up (CLOCK_MONOTONIC; 0: it didn't), and what was told
    on the way, a line for each step.
    """

    answer: dict[str, Any]
    moved: float
    told: str


class Load(NamedTuple):
    """Operations a second over all accounts, for so many seconds; the order is typed after `settle` of them."""

    rate: int = 20
    seconds: float = 45.0
    settle: float = 12.0
    seed: int = 5


class Judged(NamedTuple):
    typed: Typed
    verdict: Verdict
    table: str


def typed(site: Site, *words: str) -> Typed:
    """As an operator types it on the mirror's host."""
    command = ["mailmirror", *words, "--yes", "--reason", "test", "--format", "json"]
    asked = site.mirror.start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    gave_up, said = 0.0, []
    for line in asked.stderr or ():
        said.append(line)
        if "tombstone: done" in line:
            gave_up = time.monotonic()
    told = asked.communicate(timeout=60)[0]
    failed = {"state": "failed", "why": said[-1].strip() if said else "it said nothing"}
    return Typed(json.loads(told) if told.strip() else failed, gave_up, "".join(said))


def moved_under_load(site: Site, place: Path, words: tuple[str, ...], active: str, load: Load) -> Judged:
    """Order `words` under load, with `active` the place that the users leave; `place` is for the witness's files."""
    return under_load(site, place, lambda: typed(site, *words), active, load)


def under_load(site: Site, place: Path, act: Callable[[], Typed], active: str, load: Load) -> Judged:
    """What `act` does under load, with `active` the place that the users leave; `place` is for the witness's files."""
    described = {**json.loads(site.describe().as_json()), "ca": CA}
    site.client.path("/root/site.json").write_text(json.dumps(described))
    home = f"/root/oracle-{load.seed}"
    asked = ["--seed", str(load.seed), "--seconds", str(load.seconds), "--rate", str(load.rate), "--dir", home]
    command = [product.PYTHON, "-m", "tests.lab.oracle", "--site", "/root/site.json", *asked]
    wire = place / f"wire-{load.seed}"
    with witness.Standing(outside.parse(json.dumps(described)), wire, net=site.describe().network):
        oracle = site.client.start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        time.sleep(load.settle)  # the load goes on by the clock
        answer = act()
        said = oracle.communicate(timeout=load.seconds + 180)[0]
    kept = site.client.path(home)
    other = "mirror" if active == "primary" else "primary"
    holds = [(other, Span(0.0, answer.moved)), (active, Span(answer.moved, float("inf")))]
    log = "".join(host.journal("postfix*") for host in (site.primary, site.mirror) if host.is_up)
    verdict = judged(kept, reading.load(kept / "reading.json"), wire, holds, log)
    return Judged(answer, verdict, said + "\n" + "\n".join(lines(verdict)))
