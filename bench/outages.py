"""What the daemon moves the users away from, unasked: a primary without power, and one whose mail services are dead.

Each begins and ends as a protected pair with the primary active: what is repaired in between, and how the users come
home, isn't measured. What a lost disk alone had, and what was changed on it last, may be missing until the rejoin.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.lab import plan, product
from tests.lab.files import File
from tests.lab.following import is_live
from tests.lab.guarded import INVENTORY, serves, status
from tests.lab.site import Site
from tests.lab.underload import Judged, Load, Typed, under_load
from tests.lab.waiting import until

AT_RISK = ("lost", "flags", "misplaced", "resurrected", "folder lost", "folder resurrected")
"""What a change that never reached the mirror looks like to its client."""
PROGRAMS = "/usr/sbin/dovecot /usr/lib/postfix/sbin/*"


def power_cuts(site: Site, count: int, place: Path, seed: int) -> Iterator[Judged]:
    """The primary loses its power, and boots when the mirror serves."""
    return _outages(site, count, place, seed, site.primary.power_cut, site.primary.boot)


def dead_services(site: Site, count: int, place: Path, seed: int) -> Iterator[Judged]:
    """Postfix and Dovecot end, and can't be started."""

    def end() -> None:
        site.primary.run(f"chmod a-x {PROGRAMS}; systemctl kill --signal=KILL dovecot.service postfix@-.service")

    return _outages(site, count, place, seed, end, lambda: site.primary.run(f"chmod a+x {PROGRAMS}"))


def _outages(
    site: Site, count: int, place: Path, seed: int, lose: Callable[[], object], mend: Callable[[], object]
) -> Iterator[Judged]:
    _decides(site)
    for number in range(count):
        _protected(site)
        yield under_load(
            site, place, lambda: _taken_over(site, lose), "primary", Load(seconds=60.0, seed=seed + number)
        )
        mend()
        _come_home(site)


def _decides(site: Site) -> None:
    """The daemon may act, and has all that it needs to."""
    described = yaml.safe_load(site.mirror.path(INVENTORY).read_text())
    canary = site.users[-1]
    site.mirror.lay({"/etc/mailmirror/canary": File(canary.password, 0o600)})
    described["mailmirror"]["vars"] |= {
        "mm_mode": "auto",
        "mm_canary": {"address": canary.address, "password": {"file": "/etc/mailmirror/canary"}, "every": "5s"},
        "mm_references": [f"{plan.SEATS['nameserver'].address}:53", f"{plan.SEATS['client'].address}:9"],
    }
    site.mirror.lay({INVENTORY: yaml.safe_dump(described, sort_keys=False)})
    site.mirror.systemctl("restart", product.UNIT)


def _taken_over(site: Site, lose: Callable[[], object]) -> Typed:
    """Until the failover is done; it moved when the witness began the next epoch."""
    before, count = status(site.witness)["epoch"], len(_history(site))
    lose()
    until(lambda: status(site.witness)["epoch"] > before, within=60, what="the next epoch begins")
    moved = time.monotonic()
    until(lambda: _ended(site, count), within=60, every=0.2, what="the failover ends")
    last = _history(site)[-1]
    return Typed(last, moved, f"{last['journey']} by {last['by']}: {last['state']}\n")


def _history(site: Site) -> list[dict[str, Any]]:
    asked = site.mirror.attempt("mailmirror history --format json")  # exit 3: nothing was begun yet
    return list(json.loads(asked.stdout or "[]"))


def _ended(site: Site, count: int) -> bool:
    found = _history(site)
    return len(found) > count and found[-1]["state"] != "open"


def _come_home(site: Site) -> None:
    until(lambda: status(site.primary)["role"] == "passive", within=60, what="the old active knows")
    until(lambda: status(site.primary)["hands"]["done"], within=60, what="it is shut")
    _typed(site, "rejoin")
    until(lambda: is_live(site), within=60, what="it follows the mirror")
    _typed(site, "failback")
    until(lambda: serves(site), within=30, what="the primary serves")
    _typed(site, "ack", product.PAIR, "cooldown", reason=False)


def _typed(site: Site, *words: str, reason: bool = True) -> None:
    """Again while it is refused for what the next look mends."""
    why = ["--reason", "benchmark"] if reason else []

    def done() -> bool:
        return site.mirror.attempt(["mailmirror", *words, "--yes", *why], timeout=120).returncode == 0

    until(done, within=90, every=1.0, what=f"`mailmirror {words[0]}` is done")


def _protected(site: Site) -> None:
    until(lambda: is_live(site), within=60, what="it follows live")
    site.mirror.run("mailmirror verify", timeout=120)

    def said() -> bool:
        [found] = json.loads(site.mirror.run("mailmirror status --format json"))["pairs"]
        return bool(found["state"] == "PROTECTED")

    until(said, within=180, every=0.5, what="it is PROTECTED")
