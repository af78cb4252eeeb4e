"""The oracle's command line; see the package. Exit codes: 0 sound, 1 a promise was broken, 2 usage."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
from pathlib import Path

from tests.lab.oracle import reading
from tests.lab.oracle.intervals import Span
from tests.lab.oracle.run import Oracle, judged
from tests.lab.oracle.site import BadSite, load
from tests.lab.oracle.table import as_json, lines
from tests.lab.oracle.verdict import Verdict


def _arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.oracle", description=__doc__, allow_abbrev=False)
    parser.add_argument("--site", required=True, help="site.json, as the lab writes it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=50.0, help="operations a second, over all accounts")
    parser.add_argument("--out", help="verdict.json")
    parser.add_argument("--dir", help="where journal and all the rest is kept; by default it is thrown away")
    parser.add_argument("--read-from", default="", metavar="ADDRESS", help="the last reading, not from the service")
    parser.add_argument("--wire", help="what `python -m tests.lab.oracle.witness` wrote, or writes meanwhile")
    queue_only = "a place's final transports were held, by the journal's clock"
    parser.add_argument("--held", action="append", default=[], metavar="PLACE,FROM,TO", help=queue_only)
    parser.add_argument("--log", action="append", default=[], help="a host's mail log: deliveries that lost a reply")
    parser.add_argument("--tls", action="store_true", help="nobody speaks in the clear")
    parser.add_argument("--no-probes", action="store_true")
    parser.add_argument("--judge-only", action="store_true", help="a verdict from the files in --dir; nothing is asked")
    return parser.parse_args(words)


def _held(words: list[str]) -> list[tuple[str, Span]]:
    parts = (word.split(",") for word in words)
    return [(place, Span(float(start), float(end))) for place, start, end in parts]


def _verdict(options: argparse.Namespace, place: Path) -> Verdict:
    wire = Path(options.wire) if options.wire else None
    held = _held(options.held)
    log = "".join(Path(name).read_text(encoding="utf-8", errors="replace") for name in options.log)
    if options.judge_only:
        return judged(place, reading.load(place / "reading.json"), wire, held, log)
    site_file = Path(options.site)
    probe = not options.no_probes
    oracle = Oracle(load(site_file), site_file.resolve(), place, options.seed, options.rate, not options.tls, probe)
    with oracle:
        threading.Event().wait(options.seconds)
    if oracle.done is not None:
        done = oracle.done
        print(
            f"seed {options.seed}: {done.done} done, {done.left_out} left out, {len(done.untaken)} letters never taken",
            *done.untaken,
            sep="\n",
        )
        for words in done.refusals[:5]:
            print(f"refused: {words}")
    return oracle.judge(oracle.read(options.read_from), wire, held, log)


def main(words: list[str]) -> int:
    options = _arguments(words)
    with tempfile.TemporaryDirectory(prefix="oracle") as spare:
        try:
            verdict = _verdict(options, Path(options.dir or spare))
        except (BadSite, OSError) as error:
            print(f"oracle: {error}", file=sys.stderr)
            return 2
        print("\n".join(lines(verdict)))
        if options.out:
            Path(options.out).write_text(json.dumps(as_json(verdict), indent=1) + "\n", encoding="utf-8")
    return 0 if verdict.sound else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
