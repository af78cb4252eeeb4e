"""`python -m bench`: measure mailmirror and its peers, print the tables, write results.json and the plot."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

from bench import arrange, plot, report, sessions
from bench.arrange import REPOSITORY, Site
from bench.peers import PEERS
from bench.sessions import Plan

CHAINED = ("first-copy", "nothing", "new", "flags", "moves", "renames", "expunged")
FOLLOWED = ("asked", "live", "idle")
WORKS = (*CHAINED, *FOLLOWED, "slow", "delay", "big", "growth")


def options(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", default="", help=f"workloads, by comma, of: {' '.join(WORKS)}")
    parser.add_argument("--peers", default="rsync,rsync-fsync,rsync-fuzzy,unison,lsyncd", help="by comma; may be empty")
    parser.add_argument("--runs", type=int, default=3, help="rounds whose median counts (3)")
    parser.add_argument("--small", action="store_true", help="a smoke run on a tiny tree; its figures mean nothing")
    parser.add_argument("--long", action="store_true", help="also 1M messages, five idle minutes, all over slow links")
    parser.add_argument("--no-ours", action="store_true", help="only the peers")
    parser.add_argument("--seed", type=int, default=1, help="of tree and changes (1)")
    parser.add_argument(
        "--out", type=Path, default=REPOSITORY / "build/bench", help="folder for results.json and the plot"
    )
    parser.add_argument("--image", type=Path, help="an overlay layer that holds the peers; default: the tests' layer")
    chosen = parser.parse_args(arguments)
    unknown = {word for word in chosen.only.split(",") if word} - set(WORKS)
    unknown |= {word for word in chosen.peers.split(",") if word} - {*PEERS, "lsyncd"}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    return chosen


def main(arguments: list[str]) -> int:
    """Run the benchmark; exit 1 when a row FAILED."""
    chosen = options(arguments)
    chosen.out.mkdir(parents=True, exist_ok=True)
    if arrange.INSIDE not in os.environ and arrange.can_isolate():
        image = chosen.image or _layer()
        return arrange.isolate([*arguments, *(["--image", str(image)] if image else [])])
    plan = _plan(chosen)
    with arrange.site(chosen.image) as site:
        plan.results.facts = facts(site, plan)
        print("\n".join(f"{name}: {value}" for name, value in plan.results.facts.items()), flush=True)
        _drop_missing(site, plan)
        began = time.monotonic()
        _measure(site, plan)
        plan.results.facts["took"] = f"{time.monotonic() - began:.0f} s"
    plan.save()
    (chosen.out / "bench.svg").write_text(plot.panels(plan.results))
    if plan.complete:
        shutil.copy(chosen.out / "bench.svg", REPOSITORY / "docs/bench.svg")
    (chosen.out / "report.txt").write_text(report.text(plan.results))
    print("\n" + report.text(plan.results), flush=True)
    return 1 if any(not row.good for row in plan.results.rows) else 0


def _measure(site: Site, plan: Plan) -> None:
    if plan.wants(*CHAINED, *FOLLOWED):
        sessions.main_tree(site, plan)
    if plan.wants("slow", "delay"):
        sessions.links(site, plan)
    if plan.wants("big"):
        sessions.big_folder(site, plan)
    if plan.wants("growth"):
        sessions.growth(site, plan)


def _plan(chosen: argparse.Namespace) -> Plan:
    names = [word for word in chosen.peers.split(",") if word]
    only = frozenset(word for word in chosen.only.split(",") if word)
    peers = [PEERS[name] for name in names if name in PEERS]
    runs = 1 if chosen.small else chosen.runs
    plan = Plan(only, peers, not chosen.no_ours, "lsyncd" in names, runs, chosen.small, chosen.long, chosen.seed)
    plan.save = lambda: plan.results.save(chosen.out / "results.json")
    return plan


def _layer() -> Path | None:
    """Return the tests' image layer, built when needed; a checkout without tests does with what is installed."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.image"], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=False
    )
    return Path(done.stdout.strip()) if done.returncode == 0 else None


def _drop_missing(site: Site, plan: Plan) -> None:
    for peer in list(plan.peers):
        if not _version(site, peer.binary):
            plan.peers.remove(peer)
            plan.results.notes.append(f"{peer.name} was left out: {peer.binary} isn't installed")
    if plan.lsyncd and not _version(site, "lsyncd"):
        plan.lsyncd = False
        plan.results.notes.append("lsyncd was left out: it isn't installed")


def _version(site: Site, binary: str) -> str:
    """Return the first line of what a program says of its version; empty when it isn't there."""
    flag = "-version" if binary in ("unison", "lsyncd") else "--version"
    flag = "-V" if binary == "ssh" else flag
    done = subprocess.run(site.near([binary, flag]), capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0] if lines and done.returncode != 127 else ""


def facts(site: Site, plan: Plan) -> dict[str, str]:
    """Describe machine, versions and arrangement."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = f"Linux {platform.release()}, Python {platform.python_version()}"
    where = (
        "source in memory, copy on a fresh ext4 in a loop file in memory, sshd in a namespace, bytes of the veth"
        if site.isolated
        else "ROUGH: ordinary user; both sides in memory, loopback, no ext4; bytes are all that loopback carried"
    )
    found = {binary: _version(site, binary) for binary in ("ssh", "rsync", "unison", "lsyncd")}
    return {
        "machine": f"{os.cpu_count()} cores, {memory:.0f} GiB, {system}",
        "arrangement": where,
        "versions": "; ".join(f"{binary}: {version}" for binary, version in found.items() if version),
        "seed": str(plan.seed),
        "load before": " ".join(f"{value:.2f}" for value in os.getloadavg()),
        "disk space": f"{shutil.disk_usage(site.space).free >> 20} MB free in memory",
    }


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except RuntimeError as problem:
        sys.exit(f"bench: {problem}")
