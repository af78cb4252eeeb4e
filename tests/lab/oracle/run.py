"""The oracle as one thing: begin, let time pass, end, read everything, judge.

Invariant: what it starts (threads, the prober's process) has ended when `stop` returns, also after a failure. All that
it learnt stands in one directory: journal.jsonl, probes.jsonl, reading.json, verdict.json; so a verdict can be had
again from the files alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from tests.lab.oracle import postlog, prober, reading, witness
from tests.lab.oracle.driver import Done, Driver
from tests.lab.oracle.intervals import Span
from tests.lab.oracle.journal import Journal, Record, now, read
from tests.lab.oracle.site import Site
from tests.lab.oracle.table import as_json
from tests.lab.oracle.verdict import Probes, Verdict, Wire, held_apart, judge, missing
from tests.lab.oracle.wire import trusting

CHECKOUT = Path(__file__).resolve().parents[3]


@dataclass
class Oracle:
    """A context manager around the time in which the outside world works. `site_file` is what the prober reads.
    `clear`: some accounts speak without TLS, so that the witness can read them.
    """

    site: Site
    site_file: Path
    place: Path
    seed: int
    rate: float
    clear: bool = True
    probe: bool = True
    patience: float = 60.0  # a sender tries again after up to 8 s, and on a busy machine an attempt may take 5
    done: Done | None = None
    _prober: subprocess.Popen[bytes] | None = None
    _watch: list[float] = field(default_factory=list)

    def __enter__(self) -> Oracle:
        self.place.mkdir(parents=True, exist_ok=True)
        self._journal = Journal(self.place / "journal.jsonl")
        self._driver = Driver(self.site, self._journal, self.seed, self.rate, self.clear)
        if self.probe:
            words = ["--site", str(self.site_file), "--out", str(self.place / "probes.jsonl")]
            words += [] if self.clear else ["--tls"]
            command = [sys.executable, "-m", "tests.lab.oracle.prober", *words]
            self._prober = subprocess.Popen(command, cwd=CHECKOUT)
        self._driver.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(0.0 if kind else self.patience)

    def stop(self, patience: float) -> None:
        """Ends the work, after `patience` seconds at most for letters that are still to be taken. Idempotent."""
        if self.done is None:
            self.done = self._driver.stop(patience)
            self._journal.close()
        if self._prober is not None:
            self._prober.terminate()
            self._prober.wait()
            self._prober = None

    def read(self, address: str = "", patience: float = 10.0) -> dict[str, dict[str, reading.Folder]]:
        """Every account, from this address or from where users go; waits for what was accepted and isn't there yet."""
        tls = None if self.clear else trusting(self.site.ca)
        where = address or self.site.service_address
        records = list(read(self.place / "journal.jsonl"))
        found = reading.settled(
            lambda: reading.read(self.site, where, tls), lambda seen: missing(records, seen), patience
        )
        reading.save(found, self.place / "reading.json")
        return found

    def judge(
        self,
        found: reading.Reading,
        wire_file: Path | None = None,
        holds: Iterable[tuple[str, Span]] = (),
        log: str = "",
    ) -> Verdict:
        """The verdict over all that is on file; writes verdict.json. `log` as in `judged`."""
        verdict = judged(self.place, found, wire_file, holds, log)
        (self.place / "verdict.json").write_text(json.dumps(as_json(verdict), indent=1) + "\n", encoding="utf-8")
        return verdict


def judged(
    place: Path,
    found: reading.Reading,
    wire_file: Path | None = None,
    holds: Iterable[tuple[str, Span]] = (),
    log: str = "",
) -> Verdict:
    """From an oracle's directory, and the file of a witness where one stood by; `holds` as in `verdict.held_apart`.
    `log` is the text of the hosts' mail logs, where deliveries within the site may have lost a reply (`postlog`).
    """
    records = list(read(place / "journal.jsonl"))
    twice = postlog.again(log.splitlines())
    return judge(records, found, wire_of(records, wire_file, holds), probes_of(place, records), twice)


def wire_of(records: Sequence[Record], wire_file: Path | None, holds: Iterable[tuple[str, Span]]) -> Wire | None:
    if wire_file is None:
        return None
    wire, carried = witness.read(wire_file)
    answers = held_apart([*wire.answers, *witness.joined(records, carried)], holds)
    return Wire(tuple(sorted(answers, key=lambda answer: answer.t)), wire.missed)


def probes_of(place: Path, records: Sequence[Record]) -> dict[str, Probes] | None:
    """Of the time between the journal's first record and its last."""
    file = place / "probes.jsonl"
    if not file.exists():
        return None
    times = [record.t for record in records] or [now()]
    return prober.read(file, Span(min(times), max(times)))
