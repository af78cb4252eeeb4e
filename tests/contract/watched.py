"""A small store, its watch, and a process that changes it: what the contract of the watches is tried on.

Invariant: every mount is gone after its context. Changes are made by a child process (`_ACT`), because a watch leaves
out what its own process does. Waiting is on the descriptor, with a deadline.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from orchestrator.agent.fanotify import Fanotify
from orchestrator.agent.hint import Hint, Place
from orchestrator.agent.inotify import Inotify
from orchestrator.agent.watch import Watch
from tests.support import kernel, require
from tests.support.powercut import Disk

DEADLINE = 10.0

_ACT = """
import json, os, shutil, sys
root = os.fsencode(sys.argv[1])
print("ready", flush=True)
for line in sys.stdin.buffer:
    verb, *names = [part.encode("latin-1") for part in json.loads(line)]
    paths = [os.path.join(root, name) for name in names]
    if verb == b"write":
        with open(paths[0], "wb") as file:
            file.write(b"x")
    elif verb == b"append":
        with open(paths[0], "ab") as file:
            file.write(b"x")
    elif verb == b"rename":
        os.rename(*paths)
    elif verb == b"link":
        os.link(*paths)
    elif verb == b"unlink":
        os.unlink(paths[0])
    elif verb == b"mkdir":
        os.mkdir(paths[0])
    elif verb == b"rmtree":
        shutil.rmtree(paths[0])
    elif verb == b"chmod":
        os.chmod(paths[0], 0o600)
    elif verb == b"many":
        for number in range(int(names[1])):
            open(os.path.join(paths[0], b"m%d" % number), "wb").close()
    print("done", flush=True)
"""


class Actor:
    """A process that changes files below a root, one command at a time."""

    def __init__(self, root: Path) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-c", _ACT, os.fspath(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._answer()

    def __call__(self, verb: str, *names: bytes) -> None:
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps([verb, *(name.decode("latin-1") for name in names)]).encode() + b"\n")
        self._child.stdin.flush()
        self._answer()

    def _answer(self) -> None:
        assert self._child.stdout is not None
        assert self._child.stdout.readline() in (b"ready\n", b"done\n")

    def close(self) -> None:
        self._child.communicate()


class Site:
    """A root, its watch, and who changes it."""

    def __init__(self, root: Path, watch: Watch) -> None:
        self.root = root
        self.watch = watch
        self.act = Actor(root)

    def folder(self, path: bytes) -> None:
        for part in (b"", b"/new", b"/cur", b"/tmp"):
            self.act("mkdir", path + part)

    def follow_all(self, top: bytes = b"") -> None:
        base = os.fsencode(self.root)
        for here, _, _ in os.walk(os.path.join(base, top)):
            if os.path.basename(here) != b"tmp":
                self.watch.follow(b"" if here.rstrip(b"/") == base else os.path.relpath(here, base))

    def drain(self) -> list[Hint]:
        """Everything that is told by now."""
        fileno = self.watch.fileno()
        assert fileno is not None
        found: list[Hint] = []
        while select.select([fileno], [], [], 0)[0]:
            found += self.watch.read()
        return found

    def until(self, *wanted: tuple[bytes, bytes, str]) -> list[Hint]:
        """Read until all of these were told, or the deadline."""
        fileno = self.watch.fileno()
        assert fileno is not None
        found: list[Hint] = []
        end = time.monotonic() + DEADLINE
        while not set(wanted) <= {hint[:3] for hint in found}:
            left = end - time.monotonic()
            assert left > 0, f"not told: {set(wanted) - {hint[:3] for hint in found}}; told: {found}"
            select.select([fileno], [], [], left)
            found += self.watch.read()
        return found


KINDS = ["inotify", "fanotify-tmpfs", "fanotify-ext4", "fanotify-5.9-tmpfs", "fanotify-5.9-ext4"]


@contextlib.contextmanager
def file_system(kind: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch, "mounted")
        place.mkdir()
        if kind == "tmpfs":
            kernel.mount("store", place, "tmpfs")
            try:
                yield place
            finally:
                kernel.unmount(place, kernel.MNT_DETACH)
            return
        with Disk(place, size=256 << 20):
            yield place


@contextlib.contextmanager
def opened(kind: str, base: Path) -> Iterator[Site]:
    root = base / "store"
    root.mkdir()
    watch: Watch
    if kind == "inotify":
        watch = Inotify(Place(os.fspath(root)))
    else:
        old = "5.9" in kind
        watch = Fanotify(Place(os.fspath(root)), renames=not old, pidfds=not old, limited="limited" in kind)
    site = Site(root, watch)
    try:
        for path in (b"ex.org", b"ex.org/joe"):
            site.act("mkdir", path)
        for path in (b"", b"/.Sent"):
            if path:
                site.act("mkdir", b"ex.org/joe" + path)
            for part in (b"/new", b"/cur", b"/tmp"):
                site.act("mkdir", b"ex.org/joe" + path + part)
        site.follow_all()
        site.drain()
        yield site
    finally:
        site.act.close()
        watch.close()


@contextlib.contextmanager
def site(kind: str, scratch: Path) -> Iterator[Site]:
    """A site of one of KINDS; fanotify's kinds end with the file system that is mounted for them."""
    if kind == "inotify":
        with opened(kind, scratch) as found:
            yield found
        return
    require.root()
    with file_system(kind.rpartition("-")[2]) as base, opened(kind, base) as found:
        yield found


JOE = b"ex.org/joe"


def names_process(watch: Watch) -> bool:
    return isinstance(watch, Fanotify) and watch.renames
