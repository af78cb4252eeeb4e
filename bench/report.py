"""The goals, and the tables on the terminal.

Invariant: a goal is OK or MISSED only on figures of this very invocation; what wasn't measured is said to be so, and a
workload whose copy wasn't equal is FAILED, whatever its time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.results import Results

OURS = "mailmirror"
MILLION = "grow-1000000"
Line = tuple[str, ...]
WORKS = {
    "first-copy": "first copy",
    "nothing": "nothing changed",
    "asked": "nothing changed, asked of the daemon",
    "new": "1 in 60 new",
    "flags": "10 % flags",
    "moves": "10 % moved",
    "renames": "a folder per account renamed",
    "expunged": "5 % expunged",
    "slow": "first copy over 100 Mbit/s",
    "delay": "first copy over 100 ms",
    "big-first-copy": "one folder of 500,000: first copy",
    "big-nothing": "one folder of 500,000: nothing changed",
    "big-new": "one folder of 500,000: 1 new",
    "big-flag": "one folder of 500,000: 1 flag",
    "grow-10000": "first copy, 10,000 of 1 kB",
    "grow-100000": "first copy, 100,000 of 1 kB",
    MILLION: "first copy, 1,000,000 of 1 kB",
}


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of the table of goals: what is measured, against what, the limit and its unit."""

    what: str
    against: str
    limit: float
    unit: str
    value: Callable[[Results], float | None]
    works: tuple[str, ...] = ()


def _ratio(work: str, peer: str) -> Callable[[Results], float | None]:
    def value(results: Results) -> float | None:
        mine, theirs = results.median_wall(work, OURS), results.median_wall(work, peer)
        return mine / theirs if mine is not None and theirs else None

    return value


def _to_nothing(results: Results) -> float | None:
    mine, theirs = results.median_wall("asked", OURS), results.median_wall("nothing", "rsync")
    return mine / theirs if mine is not None and theirs else None


def _wire(work: str, scale: float, beyond_rows: bool = False) -> Callable[[Results], float | None]:
    def value(results: Results) -> float | None:
        size = results.median_bytes(work, OURS, beyond_rows)
        return None if size is None else size / scale

    return value


def _live(rate: int, which: str) -> Callable[[Results], float | None]:
    def value(results: Results) -> float | None:
        found = [live for live in results.live if live.peer == OURS and live.rate == rate and not live.problems]
        if not found:
            return None
        measured = {"p50": found[-1].p50 * 1000, "p99": found[-1].p99 * 1000, "lost": found[-1].lost}
        return float(measured[which])

    return value


def _peak(*roles: str) -> Callable[[Results], float | None]:
    def value(results: Results) -> float | None:
        peaks = [row.use.peak for row in results.of(MILLION, OURS)]
        peaks += [idle.peak for idle in results.idle if idle.messages == 1_000_000]
        sizes = [peak[role] for peak in peaks for role in roles if role in peak]
        return max(sizes) / 1e6 if sizes else None

    return value


def _idle(results: Results) -> float | None:
    shares = [idle.cpu * 100 for idle in results.idle if idle.seconds >= 300]
    return max(shares) if shares else None


def _wall(what: str, work: str, peer: str, limit: float) -> Goal:
    return Goal(what, peer, limit, "×", _ratio(work, peer), (work,))


GOALS = [
    _wall("first copy, durable before it counts", "first-copy", "rsync", 0.9),
    _wall("first copy, durable before it counts", "first-copy", "rsync-fsync", 0.3),
    _wall("nothing changed, one-shot", "nothing", "rsync", 1.0),
    Goal("nothing changed, asked of the daemon", "rsync", 0.1, "×", _to_nothing, ("asked", "nothing")),
    Goal("nothing changed, asked of the daemon: wire", "", 20, "kB", _wire("asked", 1e3), ("asked",)),
    _wall("1,000 new, one-shot", "new", "rsync", 1.0),
    _wall("6,000 flags, one-shot", "flags", "rsync", 0.7),
    _wall("6,000 moves, one-shot", "moves", "rsync", 0.7),
    _wall("40 folders renamed, one-shot", "renames", "rsync", 0.4),
    Goal("bytes for 6,000 flags", "", 0.6, "MB", _wire("flags", 1e6), ("flags",)),
    Goal("bytes for 6,000 moves beyond uidlist rows", "", 0.6, "MB", _wire("moves", 1e6, True), ("moves",)),
    Goal("bytes for 40 renamed folders", "", 0.05, "MB", _wire("renames", 1e6), ("renames",)),
    _wall("first copy over 100 Mbit/s", "slow", "rsync-zlib", 1.0),
    _wall("first copy over 100 ms round trip", "delay", "rsync", 0.8),
    Goal("live at 20/s: p50", "", 30, "ms", _live(20, "p50"), ("live",)),
    Goal("live at 20/s: p99", "", 120, "ms", _live(20, "p99"), ("live",)),
    Goal("live at 20/s: lost", "", 0, "", _live(20, "lost"), ("live",)),
    Goal("live at 200/s: p50", "", 30, "ms", _live(200, "p50"), ("live",)),
    Goal("live at 200/s: p99", "", 400, "ms", _live(200, "p99"), ("live",)),
    Goal("live at 200/s: lost", "", 0, "", _live(200, "lost"), ("live",)),
    Goal("1M messages: controller's peak PSS", "", 150, "MB", _peak("near"), (MILLION,)),
    Goal("1M messages: the larger agent's peak PSS", "", 200, "MB", _peak("near agent", "far"), (MILLION,)),
    Goal("CPU over 5 min without a change", "", 1.0, "% of a core", _idle, ("idle",)),
]


def verdict(goal: Goal, results: Results) -> tuple[str, str]:
    """Return the measured value as text, and OK, MISSED, FAILED or `not measured`."""
    if any(results.failed(work, OURS) for work in goal.works):
        return "-", "FAILED"
    value = goal.value(results)
    if value is None:
        return "-", "not measured"
    return f"{value:.3g} {goal.unit}".strip(), "OK" if value <= goal.limit else "MISSED"


def goals_table(results: Results) -> str:
    """Return the goals with what was measured against each."""
    lines: list[Line] = [("work", "against", "goal", "measured", "")]
    for goal in GOALS:
        measured, word = verdict(goal, results)
        lines.append((goal.what, goal.against or "-", f"<= {goal.limit:g} {goal.unit}".strip(), measured, word))
    return _columns(lines)


def figures_table(results: Results) -> str:
    """Return every workload and peer: median, range, CPU, bytes, peak memory."""
    lines: list[Line] = [("work", "peer", "wall s", "min-max", "CPU s", "wire MB", "peak PSS MB by role", "")]
    for work, label in WORKS.items():
        for peer in dict.fromkeys(row.peer for row in results.rows if row.work == work):
            lines.append((label, peer, *_figures(results, work, peer)))
    return _columns(lines)


def _figures(results: Results, work: str, peer: str) -> Line:
    rows, failed = results.of(work, peer), results.failed(work, peer)
    if failed or not rows:
        return ("-", "-", "-", "-", "-", "FAILED: " + " ".join((failed[0].problems or ["?"])[0].split())[:150])
    walls = sorted(row.use.wall for row in rows)
    middle = min(rows, key=lambda row: abs(row.use.wall - (results.median_wall(work, peer) or 0)))
    peak = ", ".join(f"{role} {size / 1e6:.0f}" for role, size in sorted(middle.use.peak.items()))
    wire = (results.median_bytes(work, peer) or 0) / 1e6
    span = f"{walls[0]:.2f}-{walls[-1]:.2f}" if len(walls) > 1 else ""
    return (f"{results.median_wall(work, peer):.2f}", span, f"{middle.use.cpu:.2f}", f"{wire:.3f}", peak, "equal")


def live_table(results: Results) -> str:
    """Return the live latencies and the idle daemon's use."""
    lines: list[Line] = [("live", "rate", "sent", "lost", "p50 ms", "p99 ms", "max ms", "CPU near + far", "")]
    for live in results.live:
        ways = (f"{value * 1000:.1f}" for value in (live.p50, live.p99, live.highest))
        use = f"{live.near_cpu:.0%} + {live.far_cpu:.0%}"
        state = f"FAILED: {live.problems[0][:150]}" if live.problems else "equal"
        lines.append((live.peer, f"{live.rate}/s", str(live.sent), str(live.lost), *ways, use, state))
    text = _columns(lines) if results.live else ""
    for idle in results.idle:
        peak = ", ".join(f"{role} {size / 1e6:.0f} MB" for role, size in sorted(idle.peak.items()))
        text += f"\nidle, {idle.messages:,} messages, {idle.seconds:.0f} s: {idle.cpu:.2%} of a core; {peak}"
    return text


def _columns(lines: list[Line]) -> str:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    ruled = [lines[0], tuple("-" * width for width in widths), *lines[1:]]
    padded = ([cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in ruled)
    return "\n".join("  ".join(cells).rstrip() for cells in padded)


def text(results: Results) -> str:
    """Return the whole report."""
    facts = "\n".join(f"{name}: {value}" for name, value in results.facts.items())
    notes = "\n".join(f"note: {note}" for note in results.notes)
    parts = [facts, figures_table(results), live_table(results), goals_table(results), notes]
    return "\n\n".join(part for part in parts if part) + "\n"
