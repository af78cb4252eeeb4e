"""A wall clock for mailmirror's own processes on a host, which can be stepped: thirty lines of C, by LD_PRELOAD.

Debian's libfaketime (0.9.10) can't be used: under it `time.sleep` of Python 3.11 fails with EINVAL (measured;
wolfcw/libfaketime#426).

Invariant: the machine's clock is never touched, nor that of other programs on the host. CLOCK_MONOTONIC and
CLOCK_BOOTTIME stay true, as they do when somebody sets a real host's clock. The kernel's own times (mtime, ctime) are
the machine's, so a stepped host sees files from its future or past, as a client of a file server would.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.lab.files import File, Files

OFFSET = "/etc/lab/clock"  # 8 bytes: nanoseconds, in the machine's byte order
ENVIRONMENT = "/etc/lab/clock.env"  # of units, by EnvironmentFile; sessions by SSH get it from sshd
_SOURCE = "/etc/lab/clock.c"
_LIBRARY = "/usr/local/lib/lab-clock.so"
COMPILE = ("tcc", "-nostdlib", "-shared", "-o", _LIBRARY, _SOURCE)


def files() -> Files:
    """For a host whose clock is to be stepped; `COMPILE` there, and sshd has to read its configuration again."""
    variables = [f"LD_PRELOAD={_LIBRARY}", f"LAB_CLOCK={OFFSET}"]
    return {
        _SOURCE: Path(__file__).with_suffix(".c").read_text(encoding="ascii"),
        OFFSET: File(bytes(8)),
        ENVIRONMENT: "".join(f"{variable}\n" for variable in variables),
        "/etc/ssh/sshd_config.d/clock.conf": f"SetEnv {' '.join(variables)}\n",
    }


def step(offset: Path, seconds: float) -> None:
    """`offset` is the file OFFSET as seen from here. Those who look at it have it mapped, so it is written in place."""
    descriptor = os.open(offset, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.pwrite(descriptor, int(seconds * 1e9).to_bytes(8, sys.byteorder, signed=True), 0)
    finally:
        os.close(descriptor)
