"""Live latency: messages arrive at a steady rate behind the full store, and each one's way to the copy is timed.

Invariant: one clock, CLOCK_MONOTONIC. A message starts at the return of the rename(2) that delivers it, in a process
that does nothing else. mailmirror's end is the sink's own word after its directory fsync (`run --trace`); lsyncd has no
such word, so its end is the moment the file appears under its final name (inotify), which promises no durability.
"""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import random
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import changes, measure
from bench.arrange import Site
from bench.changes import Deliver
from bench.results import Live
from bench.tree import Tree

IN_MOVED_TO = 0x80
GRACE = 15.0  # seconds for the last message to arrive
Arrivals = dict[str, int]  # base name -> nanoseconds


class Watched:
    """Notes when a file appears under its final name in any new/ of the copy, with inotify(7)."""

    def __init__(self, store: Path) -> None:
        self.seen: Arrivals = {}
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._libc.inotify_init1(os.O_CLOEXEC)
        for directory in store.glob("**/new"):
            if self._libc.inotify_add_watch(self._descriptor, os.fsencode(directory), IN_MOVED_TO) < 0:
                raise OSError(ctypes.get_errno(), "inotify_add_watch", str(directory))
        threading.Thread(target=self._run, name="inotify", daemon=True).start()

    def _run(self) -> None:
        while True:
            events = os.read(self._descriptor, 1 << 16)
            now = time.monotonic_ns()
            offset = 0
            while offset < len(events):
                _, _, _, length = struct.unpack_from("iIII", events, offset)
                name = events[offset + 16 : offset + 16 + length].rstrip(b"\0").decode("ascii", "replace")
                self.seen.setdefault(name, now)
                offset += 16 + length

    def arrivals(self) -> Arrivals:
        """Return what has appeared so far."""
        return dict(self.seen)


def traced(path: Path) -> Arrivals:
    """Read mailmirror's trace: a JSON line per durable message. A torn last line is left for the next reading."""
    if not path.exists():
        return {}
    lines = path.read_bytes().split(b"\n")[:-1]
    return {str(row["name"]): int(row["durable_ns"]) for row in map(json.loads, lines)}


def plan(store: Tree, count: int, moment: int) -> list[tuple[Deliver, str]]:
    """Plan that many deliveries into the accounts' INBOXes, with their uidlist rows."""
    rng = random.Random(f"live {store.seed} {moment}")
    planned = []
    for number in range(count):
        folder = rng.choice(store.accounts).folders[""]
        planned.append(changes.arrive(store, folder, rng, moment + number))
    return planned


def generate(root: Path, planned: list[tuple[Deliver, str]], rate: int, record: Path) -> None:
    """Deliver at the rate, and write each one's name and the time of its rename; the uidlist row follows at once."""
    start = time.monotonic_ns()
    with record.open("w") as stream:
        for number, (delivery, row) in enumerate(planned):
            ahead = start + number * 1_000_000_000 // rate - time.monotonic_ns()
            if ahead > 0:
                time.sleep(ahead / 1e9)
            changes.deliver(root, delivery)
            stream.write(f"{delivery.base} {time.monotonic_ns()}\n")
            changes.apply([changes.Append(f"{delivery.folder}/dovecot-uidlist", row.encode())], root)


@contextmanager
def following(argv: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that follows the source, and end it."""
    with log.open("ab") as output:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield process
    finally:
        measure.end(process, 30)


def settle(site: Site, store: Tree, arrivals: Callable[[], Arrivals], moment: int, seconds: float = 120) -> None:
    """Deliver a message now and then until one arrives: from then on the peer is live. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    sent: set[str] = set()
    for planned in plan(store, int(seconds), moment):
        generate(site.source, [planned], 1, site.space / "settle.txt")
        sent.add(planned[0].base)
        wait = time.monotonic() + 2
        while time.monotonic() < wait:
            if sent & arrivals().keys():
                return
            time.sleep(0.05)
        if time.monotonic() > deadline:
            break
    raise TimeoutError(f"no message became visible within {seconds:.0f} s")


def measured(
    site: Site,
    process: subprocess.Popen[bytes],
    name: str,
    store: Tree,
    rate: int,
    seconds: int,
    arrivals: Callable[[], Arrivals],
) -> Live:
    """Deliver at a rate for some seconds and time every message. The peer must be following already."""
    planned = plan(store, rate * seconds, changes.ARRIVAL + 10_000_000 * rate)
    record = site.space / f"sent-{name}-{rate}.txt"
    sampler = measure.Sampler(process.pid, site.sshd.pid)
    near, far = measure.cpu(measure.family(process.pid)), measure.cpu(measure.family(site.sshd.pid))
    began = time.monotonic()
    maker = multiprocessing.get_context("fork").Process(target=generate, args=(site.source, planned, rate, record))
    maker.start()
    maker.join(seconds * 3 + 60)
    if maker.exitcode != 0:
        maker.kill()
        raise RuntimeError(f"the generator of messages ended with {maker.exitcode}")
    span = time.monotonic() - began
    near = (measure.cpu(measure.family(process.pid)) - near) / span
    far = (measure.cpu(measure.family(site.sshd.pid)) - far) / span
    sent = {line.split()[0]: int(line.split()[1]) for line in record.read_text().splitlines()}
    deadline = time.monotonic() + GRACE
    while sent.keys() - arrivals().keys() and time.monotonic() < deadline:
        time.sleep(0.2)
    peak = sampler.stop()
    return _summary(name, rate, sent, arrivals(), (near, far), peak)


def _summary(
    name: str, rate: int, sent: Arrivals, arrived: Arrivals, cpu: tuple[float, float], peak: dict[str, int]
) -> Live:
    ways = sorted((arrived[base] - moment) / 1e9 for base, moment in sent.items() if base in arrived)
    lost = len(sent) - len(ways)
    if not ways:
        return Live(name, rate, len(sent), lost, 0.0, 0.0, 0.0, *cpu, peak, ["nothing arrived"])
    return Live(name, rate, len(sent), lost, percentile(ways, 0.5), percentile(ways, 0.99), ways[-1], *cpu, peak)


def percentile(ordered: list[float], share: float) -> float:
    """Return the value below which that share of an ordered list lies (nearest rank)."""
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered)) - 1))]
