"""The mirror's disk fails it: the power goes, the disk is full, the file system turns read-only.

The store stands on an ext4 in a loop file; EXT4_IOC_SHUTDOWN without a log flush loses what a power cut
loses (the drive's own cache isn't modelled: a missing fsync is found, a missing flush isn't).
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from orchestrator import errors
from orchestrator.demo.mailbox import INBOX
from tests.support import pairs, require
from tests.support.powercut import Disk

pytestmark = pytest.mark.lab
SEEDS = range(8)
FOLDERS = (INBOX, "Sent", "Archive")


class Watched:
    """A pair whose mirror's store, and for odd seeds its agent's state too, stand on a disk that can die."""

    def __init__(self, base: Path, disk: Disk, seed: int) -> None:
        self.disk = disk
        self.told: set[str] = set()
        self.random = random.Random(seed)
        self.laid = pairs.Laid(base, pairs.LOCAL)
        if seed % 2:
            (disk.path / "state").mkdir()
            (base / "state").mkdir()
            (base / "state/m").symlink_to(disk.path / "state")
        (disk.path / "store").mkdir(exist_ok=True)
        self.laid.mirror.rmdir()
        self.laid.mirror.symlink_to(disk.path / "store")
        self.box = pairs.Mailbox(self.laid.source / "ex.org/ann")
        for name in FOLDERS[1:]:
            self.box.create(name)

    def listen(self) -> None:
        """From now on note which messages are told as durable."""
        self.laid.session._trace = lambda base, _: self.told.add(base)

    def deliver(self, count: int) -> None:
        for _ in range(count):
            body = b"Subject: x\n\n" + self.random.randbytes(self.random.choice((40, 4_000, 40_000)))
            self.box.folder(self.random.choice(FOLDERS)).deliver(body)

    def churn(self) -> None:
        """A few flags, moves and expunges."""
        for name in FOLDERS:
            folder = self.box.folder(name)
            known = sorted(folder.messages())
            self.random.shuffle(known)
            folder.flag(known[0], "FS")
            folder.move(known[1:3], self.box.folder(FOLDERS[(FOLDERS.index(name) + 1) % 3]))
            folder.expunge(known[3:4])

    def pass_until_cut(self) -> None:
        """Passes that go on until the power goes at a moment that the seed chooses."""
        timer = threading.Timer(self.random.uniform(0.1, 1.0), self.disk.die)
        timer.start()
        try:
            for _ in range(200):
                self.laid.session.sync()
                self.deliver(self.random.randrange(1, 30))
                if self.random.random() < 0.3:
                    self.churn()
            pytest.fail("the power never went")
        except errors.MailmirrorError:
            timer.join()


def bodies(root: Path) -> dict[str, bytes]:
    """Base name -> content of every message under a final name; fails when one stands twice in a folder."""
    found: dict[str, bytes] = {}
    for path, facts in pairs.messages(root).items():
        folder, _, name = path.rpartition("/")
        key = f"{folder.rpartition('/')[0]}/{name.split(':')[0]}"
        assert key not in found, f"{key} stands twice"
        found[key] = facts[-1]
    return {key.rpartition("/")[2]: content for key, content in found.items()}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    require.root()
    with Disk(tmp_path / "disk", size=192 << 20) as made:
        yield made


@pytest.mark.issue("2.P power cut of the mirror: nothing empty or torn, nothing acknowledged gone")
@pytest.mark.issue("2.5 durability before the name")
@pytest.mark.parametrize("seed", SEEDS)
def test_a_power_cut_leaves_whole_messages_and_all_that_was_acknowledged(disk: Disk, tmp_path: Path, seed: int) -> None:
    print(f"seed {seed}")
    with pairs.in_memory() as memory:
        watched = Watched(memory, disk, seed)
        written: dict[str, bytes] = {}
        watched.deliver(300)
        watched.laid.session.initialise()
        watched.listen()
        written.update(bodies(watched.laid.source))
        watched.pass_until_cut()
        written.update(bodies(watched.laid.source))
        watched.laid.end()
        disk.cut()
        there = bodies(watched.laid.mirror)
        torn = [base for base, content in there.items() if written.get(base, content) != content or not content]
        assert torn == [], "a final name names a message that isn't whole"
        source = bodies(watched.laid.source)
        print(f"{len(watched.told)} told, {len(there)} there, {len(source)} at the source")
        assert sorted(base for base in watched.told & source.keys() if base not in there) == []
        watched.laid.sync()
        pairs.equal(watched.laid)
        watched.laid.end()


@pytest.mark.issue("2.P full disk")
def test_a_full_mirror_says_so_and_goes_on_when_there_is_space(disk: Disk, tmp_path: Path) -> None:
    with pairs.in_memory() as memory:
        watched = Watched(memory, disk, 0)
        watched.deliver(120)
        watched.laid.session.initialise()
        filler = disk.path / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(1 << 16)):
                continue
        with pytest.raises(errors.MailmirrorError) as failed:
            watched.laid.sync()
        assert "No space left" in str(failed.value)
        assert failed.value.remedy
        source = bodies(watched.laid.source)
        assert all(source[base] == content for base, content in bodies(watched.laid.mirror).items())
        filler.unlink()
        watched.laid.end()
        watched.laid.sync()
        pairs.equal(watched.laid)
        watched.laid.end()
