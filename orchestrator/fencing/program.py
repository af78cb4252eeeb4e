"""One program run to its end or to its deadline, whichever comes first, without a shell.

Invariant: when `run` returns, the program is gone and every process that it left in its process group is killed, and no
more than LONGEST bytes of what each of its two outputs said are kept. A process with a session of its own isn't found.
It judges nothing of what was said.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

LONGEST = 1 << 16
LINGER = 0.5
"""Seconds that what a program left behind may still hold its output open after it has ended."""


class Ended(NamedTuple):
    """`code` is the exit code (negative: the signal that ended it), None when the deadline did."""

    code: int | None
    out: str
    err: str


def run(argv: Sequence[str], stdin: bytes, environment: Mapping[str, str], within: float) -> Ended:
    """Run a program with what it is to read; `within` is in seconds. Raises OSError when it can't be started."""
    deadline = time.monotonic() + within
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        list(argv), stdin=pipe, stdout=pipe, stderr=pipe, env=dict(environment), cwd="/", start_new_session=True
    )
    alive = os.pidfd_open(process.pid)
    try:
        ended, out, err = _converse(process, alive, stdin, deadline)
    finally:
        # Before it is reaped: until then the number of its group can't be another's.
        with contextlib.suppress(ProcessLookupError):  # nobody is left in it
            os.killpg(process.pid, signal.SIGKILL)
        os.close(alive)
        code = process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            with contextlib.suppress(BrokenPipeError):  # what it didn't read goes nowhere
                stream.close()  # type: ignore[union-attr]  # all three are pipes
    return Ended(code if ended else None, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))


def _converse(
    process: subprocess.Popen[bytes], alive: int, stdin: bytes, deadline: float
) -> tuple[bool, bytearray, bytearray]:
    """Write and read until it has ended and said all, or the deadline; whether it had ended."""
    assert process.stdin and process.stdout and process.stderr
    said = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
    writing = process.stdin.fileno()
    os.set_blocking(writing, False)
    left, ended = memoryview(stdin), False
    with selectors.DefaultSelector() as ready:
        for descriptor in (*said, alive):
            ready.register(descriptor, selectors.EVENT_READ)
        ready.register(writing, selectors.EVENT_WRITE)
        while (wait := deadline - time.monotonic()) > 0 and not (ended and said.keys().isdisjoint(ready.get_map())):
            for key, _ in ready.select(wait):
                if key.fd == alive:
                    ended, deadline = True, min(deadline, time.monotonic() + LINGER)
                    ready.unregister(alive)
                elif key.fd == writing:
                    left = _written(writing, left)
                    if not left:
                        ready.unregister(writing)
                        process.stdin.close()
                elif not _heard(key.fd, said[key.fd]):
                    ready.unregister(key.fd)
    out, err = said.values()
    return ended, out, err


def _written(descriptor: int, left: memoryview) -> memoryview:
    """What is still to be written; nothing when nobody reads it."""
    try:
        return left[os.write(descriptor, left) :] if left else left
    except BrokenPipeError:
        return left[:0]


def _heard(descriptor: int, kept: bytearray) -> bool:
    """Take what is there, keep what there is room for; False at the end."""
    more = os.read(descriptor, LONGEST)
    kept += more[: LONGEST - len(kept)]
    return bool(more)
