"""The workloads that change a store step by step: change the source, copy, compare, measure; again for the next step.

Invariant: every peer meets the same tree and the same changes in the same order, on a near file system made anew; after
each step the stores are compared before the figure counts, outside the measured time. Dirty pages that a peer
left behind are written back before the next step, so that nobody pays for another.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import changes, measure, tree
from bench.arrange import Endpoint, Site
from bench.changes import Append, Op, Planner
from bench.compare import Comparer
from bench.peers import Peer
from bench.results import Row

TIMEOUT = 900.0  # seconds for one pass of any peer
BIG_FOLDER = (("", 1.0),)


@dataclass(frozen=True, slots=True)
class Step:
    """One workload: its name, and what happens to the source before it (None: nothing)."""

    name: str
    plan: Planner | None = None


def steps(messages: int) -> list[Step]:
    """Return the workloads of the main tree, in order, scaled to its size."""
    return [
        Step("first-copy"),
        Step("nothing"),
        Step("new", changes.new_messages(max(1, messages // 60))),
        Step("flags", changes.flag_changes(messages // 10)),
        Step("moves", changes.moves(messages // 10)),
        Step("renames", changes.folder_renames(".Archive", ".Archive-2025")),
        Step("expunged", changes.expunges(messages // 20)),
    ]


def big_steps() -> list[Step]:
    """Return the workloads of the tree with one huge folder."""
    return [
        Step("big-first-copy"),
        Step("big-nothing"),
        Step("big-new", changes.new_messages(1)),
        Step("big-flag", changes.flag_changes(1)),
    ]


def schedule(store: tree.Tree, wanted: list[Step]) -> list[tuple[str, list[Op]]]:
    """Plan every step's changes, one after the other; the tree ends up as the source will."""
    planned = []
    for step in wanted:
        rng = random.Random(f"{step.name} {store.seed}")
        planned.append((step.name, step.plan(store, rng) if step.plan else []))
    return planned


@dataclass(slots=True)
class Chain:
    """One tree with its planned changes. `fill` makes the source: the unchanged tree."""

    planned: list[tuple[str, list[Op]]]
    fill: Callable[[], None]
    megabytes: int
    inodes: int
    block: int = 4096

    def run(self, site: Site, peer: Peer, endpoint: Endpoint, number: int, told: Callable[[Row], None]) -> None:
        """Take one peer through all steps; every finished row is `told`. After a failed row the rest is left out."""
        site.fresh(self.megabytes, self.inodes, self.block)
        self.fill()
        peer.prepare(site, endpoint)
        comparer = Comparer(site.source, site.sink, peer.raised, peer.mtime_unit)
        log = site.space / f"{peer.name}.log"
        for name, operations in self.planned:
            changes.apply(operations, site.source)
            site.settle()
            use = measure.run(site, peer.command(site), log, TIMEOUT)
            problems = comparer.differences(5) if use.code == 0 else [f"exit code {use.code}: {tail(log)}"]
            row = Row(name, peer.name, number, use, problems, appended(operations))
            told(row)
            if not row.good:
                return


def appended(operations: list[Op]) -> int:
    """Return the bytes that Dovecot appended to files."""
    return sum(len(operation.lines) for operation in operations if isinstance(operation, Append))


def tail(log: Path, size: int = 400) -> str:
    """Return the end of a log."""
    return log.read_bytes()[-size:].decode("utf-8", "replace").strip()
