"""The parts of the benchmark, each from an empty arrangement to its rows.

Invariant: a part that can't run (a peer isn't installed, the product's command fails) becomes a failed row or a note
with the reason, and the other parts still run.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench import chain, changes, live, measure, tree
from bench.arrange import Endpoint, Site
from bench.chain import Chain
from bench.compare import Comparer
from bench.measure import Use
from bench.ours import Mailmirror
from bench.peers import RSYNC, RSYNC_ZLIB, Peer, lsyncd_command
from bench.results import Idle, Live, Results, Row
from bench.tree import Shape

OURS = Mailmirror()
LINKS = Shape(messages=15_000, accounts=10)  # the slow and the delayed link carry a quarter of the tree
LINK_SECONDS = 0.05  # one way: 100 ms round trip


@dataclass(slots=True)
class Plan:
    """What one invocation was asked for; sizes are those of `--small` or of the full benchmark."""

    only: frozenset[str]
    peers: list[Peer]
    ours: bool
    lsyncd: bool
    runs: int
    small: bool
    long: bool
    seed: int
    results: Results = field(default_factory=Results)
    save: Callable[[], None] = lambda: None

    @property
    def complete(self) -> bool:
        """Tell whether this is the whole benchmark, whose plot the README shows."""
        return self.ours and not self.only and not self.small and len(self.peers) >= 4

    def wants(self, *names: str) -> bool:
        """Tell whether any of these workloads is asked for."""
        return not self.only or bool(self.only & set(names))

    def told(self, row: Row) -> None:
        """Keep a finished row, and say it."""
        self.results.rows.append(row)
        state = "equal" if row.good else "FAILED " + "; ".join(row.problems)
        print(
            f"{row.work:>15} {row.peer:<12} run {row.run}: {row.use.wall:7.2f} s  {row.use.bytes / 1e6:9.3f} MB  "
            f"CPU {row.use.near_cpu:.2f} + {row.use.far_cpu:.2f} s  {state}",
            flush=True,
        )
        self.save()

    def contenders(self) -> list[Peer]:
        """Return the peers, ours last."""
        return [*self.peers, *([OURS] if self.ours else [])]


def attempt(plan: Plan, work: str, peer: str, part: Callable[[], None]) -> None:
    """Run a part; turn a failure of what is measured into a failed row."""
    try:
        part()
    except (RuntimeError, OSError, TimeoutError, ValueError) as problem:
        plan.told(Row(work, peer, 0, Use(code=1), [f"{type(problem).__name__}: {problem}"]))


def main_tree(site: Site, plan: Plan) -> None:
    """The seven workloads on the main tree, round by round; then what needs a running daemon, on the same tree."""
    shape = Shape(messages=2_000, accounts=6) if plan.small else Shape()
    template = site.space / "template"
    store = tree.generate(template, shape, plan.seed)
    steps = [step for step in chain.steps(shape.messages) if step.name == "first-copy" or plan.wants(step.name)]
    if plan.wants(*(step.name for step in steps)):
        work = Chain(chain.schedule(store, steps), partial(site.copy_template, template), *_room(shape))
        for number in range(1, plan.runs + 1):
            for peer in plan.contenders():
                part = _shorter(work, peer, number, plan)
                copy = partial(part.run, site, peer, site.endpoint, number, plan.told)
                if part.planned:
                    attempt(plan, "first-copy", peer.name, copy)
    if plan.wants("live", "asked", "idle"):
        _live(site, plan, template, shape)
    shutil.rmtree(template)


def _shorter(work: Chain, peer: Peer, number: int, plan: Plan) -> Chain:
    """Leave out of later rounds what no goal takes a median of: unison, --fuzzy, and all but --fsync's first copy."""
    if number == 1 or plan.long or peer.name in ("rsync", "mailmirror"):
        return work
    keep = 1 if peer.name == "rsync-fsync" else 0
    return Chain(work.planned[:keep], work.fill, work.megabytes, work.inodes)


def _room(shape: Shape, block: int = 4096) -> tuple[int, int]:
    """Return megabytes and inodes of a file system with ample room for the tree, its growth and our own state."""
    size = shape.messages * (shape.mean + block) * 3 // 2 + shape.messages * 600
    return 1024 + (size >> 20), shape.messages * 2 + 20_000


def _live(site: Site, plan: Plan, template: Path, shape: Shape) -> None:
    rates, seconds = ((20,), 3) if plan.small else ((20, 200), 60)
    if plan.lsyncd and plan.wants("live"):
        attempt(plan, "live", "lsyncd", lambda: _follow_lsyncd(site, plan, template, shape, seconds))
    if plan.ours:
        attempt(plan, "live", OURS.name, lambda: _follow_ours(site, plan, template, shape, rates, seconds))


def _follow_lsyncd(site: Site, plan: Plan, template: Path, shape: Shape, seconds: int) -> None:
    store = _prepared(site, plan, template, shape)
    watched = live.Watched(site.sink)
    with live.following(lsyncd_command(site, site.endpoint), site.space / "lsyncd.log") as process:
        live.settle(site, store, watched.arrivals, changes.ARRIVAL + 1_000_000)
        figures = live.measured(site, process, "lsyncd", store, 20, seconds, watched.arrivals)
        _keep(plan, figures, Comparer(site.source, site.sink))


def _prepared(site: Site, plan: Plan, template: Path, shape: Shape) -> tree.Tree:
    """Fill the source, copy it once by rsync, unmeasured, and return the tree as planned messages need it."""
    site.fresh(*_room(shape))
    site.copy_template(template)
    RSYNC.prepare(site, site.endpoint)
    use = measure.run(site, RSYNC.command(site), site.space / "rsync.log", chain.TIMEOUT)
    if use.code:
        raise RuntimeError(f"rsync: {chain.tail(site.space / 'rsync.log')}")
    return tree.reopened(site.source, shape, plan.seed)


def _follow_ours(site: Site, plan: Plan, template: Path, shape: Shape, rates: tuple[int, ...], seconds: int) -> None:
    site.fresh(*_room(shape))
    site.copy_template(template)
    OURS.prepare(site, site.endpoint)
    OURS.ask(site, "sync", "bench")
    store = tree.reopened(site.source, shape, plan.seed)
    trace = site.disk / "trace.jsonl"
    comparer = Comparer(site.source, site.sink, raised=True)
    command = OURS.verb(site, "run", "--trace", str(trace))
    with live.following(command, site.space / "run.log") as process:
        live.settle(site, store, lambda: live.traced(trace), changes.ARRIVAL + 1_000_000)
        if plan.wants("asked"):
            for number in range(1, plan.runs + 1):
                use = measure.run(site, OURS.command(site), site.space / "asked.log", 300, lasting=True)
                plan.told(Row("asked", OURS.name, number, use, comparer.differences(5)))
        for rate in rates if plan.wants("live") else ():
            figures = live.measured(site, process, OURS.name, store, rate, seconds, lambda: live.traced(trace))
            _keep(plan, figures, comparer)
        if plan.wants("idle"):
            plan.results.idle.append(idle(site, process.pid, shape.messages, 300 if plan.long else min(60, seconds)))


def _keep(plan: Plan, figures: Live, comparer: Comparer) -> None:
    deadline = time.monotonic() + 15
    while (problems := comparer.differences(5)) and time.monotonic() < deadline:
        time.sleep(0.5)
    figures.problems += problems
    plan.results.live.append(figures)
    state = f"lost {figures.lost}  {'; '.join(figures.problems) or 'equal'}"
    print(f"{'live':>15} {figures.peer:<12} {figures.rate}/s: {ways(figures)}  {state}", flush=True)
    plan.save()


def ways(figures: Live) -> str:
    """Return the latencies of a live run in words."""
    return f"p50 {figures.p50 * 1000:.1f} ms, p99 {figures.p99 * 1000:.1f} ms"


def idle(site: Site, pid: int, messages: int, seconds: float) -> Idle:
    """Let the daemon run for a while without any change and return what it used."""
    sampler = measure.Sampler(pid, site.sshd.pid, every=1.0)
    before = measure.cpu(measure.family(pid)) + measure.cpu(measure.family(site.sshd.pid))
    began = time.monotonic()
    time.sleep(seconds)
    used = measure.cpu(measure.family(pid)) + measure.cpu(measure.family(site.sshd.pid)) - before
    return Idle(messages, time.monotonic() - began, used / (time.monotonic() - began), sampler.stop())


def links(site: Site, plan: Plan) -> None:
    """The first copy over 100 Mbit/s (needs the isolated arrangement) and over a 100 ms round trip."""
    shape = Shape() if plan.long else Shape(messages=300, accounts=2) if plan.small else LINKS
    template = site.space / "template"
    store = tree.generate(template, shape, plan.seed)
    first = chain.schedule(store, [chain.Step("slow")]), chain.schedule(store, [chain.Step("delay")])
    ours: list[Peer] = [OURS] if plan.ours else []

    def copies(which: int, endpoint: Endpoint, peers: list[Peer]) -> None:
        work = Chain(first[which], partial(site.copy_template, template), *_room(shape))
        for number in range(1, plan.runs + 1):
            for peer in peers:
                attempt(plan, first[which][0][0], peer.name, partial(work.run, site, peer, endpoint, number, plan.told))

    if plan.wants("slow"):
        if site.isolated:
            with site.slow("100mbit"):
                copies(0, site.endpoint, [RSYNC_ZLIB, *ours])
        else:
            plan.results.notes.append("100 Mbit/s was left out: tbf on a veth needs root")
    if plan.wants("delay"):
        with site.delayed(LINK_SECONDS) as endpoint:
            copies(1, endpoint, [RSYNC, *ours])
    shutil.rmtree(template)


def big_folder(site: Site, plan: Plan) -> None:
    """One folder of 500,000 small messages with its uidlist of 31 MB: rsync and ours, once."""
    shape = Shape(2_000 if plan.small else 500_000, 1, chain.BIG_FOLDER, 600, fixed=True)
    _grown(site, plan, shape, chain.big_steps(), 4096)


def growth(site: Site, plan: Plan) -> None:
    """First copies of 10,000, 100,000 and (`--long`) 1,000,000 messages of 1 kB; with `--long` the daemon at 1M."""
    for messages in (1_000,) if plan.small else (10_000, 100_000, 1_000_000) if plan.long else (10_000, 100_000):
        _grown(site, plan, Shape(messages, 40, mean=1000, fixed=True), [chain.Step(f"grow-{messages}")], 1024)
    if plan.long and plan.ours:
        attempt(plan, "grow-1000000", OURS.name, lambda: _long_life(site, plan))


def _grown(site: Site, plan: Plan, shape: Shape, steps: list[chain.Step], block: int) -> None:
    """Run rsync and ours on a tree of small messages. Blocks of 1 kB save memory, but hold no directory of 500,000."""
    planned = chain.schedule(_in_memory(site, plan, shape), steps)
    work = Chain(planned, partial(_fill, site, plan, shape), *_room(shape, block), block)
    contenders: list[Peer] = [RSYNC, *([OURS] if plan.ours else [])]
    for peer in contenders:
        attempt(plan, steps[0].name, peer.name, partial(work.run, site, peer, site.endpoint, 1, plan.told))


def _fill(site: Site, plan: Plan, shape: Shape) -> None:
    tree.generate(site.source, shape, plan.seed)


def _in_memory(site: Site, plan: Plan, shape: Shape) -> tree.Tree:
    """Generate the tree to learn its names; two of them at once would not fit in memory."""
    site.fresh(64, 1000)
    store = tree.generate(site.source, shape, plan.seed)
    shutil.rmtree(site.source)
    return store


def _long_life(site: Site, plan: Plan) -> None:
    """On the store of 1M messages left by the growth run: ten minutes of mail at 20/s, then five without a change."""
    shape = Shape(1_000_000, 40, mean=1000, fixed=True)
    store = tree.reopened(site.source, shape, plan.seed)
    trace = site.disk / "trace.jsonl"
    with live.following(OURS.verb(site, "run", "--trace", str(trace)), site.space / "run.log") as process:
        live.settle(site, store, lambda: live.traced(trace), changes.ARRIVAL + 2_000_000, 600)
        figures = live.measured(site, process, OURS.name, store, 20, 600, lambda: live.traced(trace))
        plan.results.notes.append(f"20/s behind 1M messages: {ways(figures)}, lost {figures.lost}")
        plan.results.idle.append(idle(site, process.pid, 1_000_000, 300))
        plan.results.idle.append(Idle(1_000_000, 0, figures.near_cpu + figures.far_cpu, figures.peak))
