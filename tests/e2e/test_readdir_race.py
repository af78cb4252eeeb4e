"""The readdir race: a listing that is made while names change may miss a file that was there all the time.

A folder of 10,000 messages; another process renames hundreds of them a second (flag changes), in bursts with pauses, so
that listings are made within bursts, between them and across their edges, and expunges a few for good. A scanner that
took every absence for a deletion would delete mail; ours records the true expunges and not one more.

`LONG_TESTS=1` scans for four minutes, thousands of times, instead of for some seconds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.agent import maildir
from orchestrator.agent.beneath import Root
from orchestrator.agent.log import MESSAGE, Log
from orchestrator.agent.scan import MESSAGES, Scanner
from tests.support import seeds

SIZE = 10_000
SECONDS = 240.0 if os.environ.get("LONG_TESTS") else 15.0

_RENAMER = """
import os, random, sys, time
cur, seed = sys.argv[1].encode(), int(sys.argv[2])
rnd = random.Random(seed)
names = [name for name in os.listdir(cur)]
renames = 0
print("ready", flush=True)
while not os.path.exists(cur + b"/../stop"):
    for _ in range(rnd.choice((1, 10, 50))):
        at = rnd.randrange(len(names))
        base = names[at].split(b":")[0]
        new = base + b":2," + rnd.choice((b"", b"S", b"FS", b"RS", b"RST"))
        os.rename(cur + b"/" + names[at], cur + b"/" + new)
        names[at] = new
        renames += 1
        time.sleep(rnd.choice((0, 0.0005)))
    if rnd.random() < 0.05:
        gone = names.pop(rnd.randrange(len(names)))
        os.unlink(cur + b"/" + gone)
        print("-" + gone.split(b":")[0].decode(), flush=True)
    time.sleep(rnd.choice((0.0, 0.005, 0.02, 0.06)))
print("renames", renames, flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One Maildir, whose messages are links to a few files: only names matter here."""
    for sub in ("cur", "new", "tmp"):
        (tmp_path / "store/ann" / sub).mkdir(parents=True)
    cur = tmp_path / "store/ann/cur"
    for number in range(SIZE):
        (cur / f"{1_700_000_000 + number}.M{number}P1.host,S=1:2,").touch()
    return tmp_path / "store/ann"


@contextmanager
def renaming(folder: Path, seed: int) -> Iterator[subprocess.Popen[str]]:
    """Another process that renames and expunges, until the file `stop` is there; it tells what it expunged."""
    renamer = subprocess.Popen(
        [sys.executable, "-c", _RENAMER, str(folder / "cur"), str(seed)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert renamer.stdout is not None
        assert renamer.stdout.readline() == "ready\n"
        yield renamer
    finally:
        renamer.kill()
        renamer.wait()
        if renamer.stdout is not None:
            renamer.stdout.close()


def settle(scanner: Scanner) -> None:
    """Let the scanner come to its end in a store that holds still."""
    scanner.audit()
    while scanner.pending:
        delay = scanner.step()
        time.sleep(delay or 0.0)


@pytest.mark.issue("2.P readdir race: a folder of 10,000, thousands of scans, zero wrong deletions")
def test_no_listing_that_missed_a_name_deletes_a_message(folder: Path, tmp_path: Path) -> None:
    seed = seeds.drawn("readdir_race")
    log = Log(str(tmp_path / "log.sqlite"))
    root = Root(str(folder.parent))
    scanner = Scanner(root, log, None, lambda _path: None)
    settle(scanner)
    assert scanner.tree.totals() == (1, 1, SIZE)
    inbox = scanner.tree.by_path[b"ann"]
    scans = misled = 0
    new_fd, cur_fd = (os.open(folder / sub, os.O_RDONLY | os.O_DIRECTORY) for sub in ("new", "cur"))
    with renaming(folder, seed) as renamer:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            scanner.enqueue(inbox, MESSAGES)
            scanner.step()
            scans += 1
            if scans % 5 == 0:
                listed = maildir.list_messages(new_fd, cur_fd)[0]
                there = {name.split(":")[0] for name in os.listdir(cur_fd)}
                misled += any(os.fsdecode(base) in there for base in log.listing(inbox.fid).keys() - listed.keys())
            log.commit()
        looks = scans // 5
        (folder / "stop").touch()
        said = renamer.stdout.read().split() if renamer.stdout else []
    settle(scanner)
    expunged = sorted(line[1:] for line in said if line.startswith("-"))
    removed = sorted(os.fsdecode(row.name) for row in log.removals_after(0, SIZE) if row.what == MESSAGE)
    print(f"{scans} scans, {said[-1]} renames, {len(expunged)} expunged; {misled} of {looks} listings missed a name")
    assert removed == expunged
    assert misled, "the race didn't show: the test proves nothing here"
    assert scanner.tree.totals()[2] == SIZE - len(expunged)
    for fd in (new_fd, cur_fd):
        os.close(fd)
    log.close()
    root.close()
