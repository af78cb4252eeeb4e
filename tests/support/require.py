"""What a test needs of the machine, found out by trying: skip with one line, or fail where the CI promised it.

Invariant: with CI=true as root a missing capability is a failure, never a skip. As an ordinary user it is a skip.
The attempts run in a child process, and leave nothing behind.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.support import image

_TRY = """
from pathlib import Path
import tempfile
from tests.support import kernel
kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWNET)
kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
kernel.raise_loopback()
place = Path(tempfile.gettempdir())
kernel.mount("try", place, "tmpfs")
for name in ("upper", "work", "root"):
    (place / name).mkdir()
kernel.mount("try", place / "root", "overlay", data=f"lowerdir=/,upperdir={place}/upper,workdir={place}/work")
(place / "file").write_bytes(bytes(65536))
with kernel.loop_device(place / "file"):
    pass
"""


@functools.cache
def missing() -> str:
    """What the lab lacks on this machine, in one line; empty when it has everything. Tried once per process."""
    if os.geteuid() != 0:
        return "needs root"
    for tool in ("apt-get", "mkfs.ext4", "ip", "tc"):
        if shutil.which(tool, path=image.PATH) is None:
            return f"needs the command {tool}"
    reason = _refused(_TRY)
    return f"needs mount, network and overlay rights and loop devices ({reason})" if reason else ""


def _refused(attempt: str) -> str:
    """The last line of what a Python program died of; empty when it ran through."""
    tried = subprocess.run(
        [sys.executable, "-c", attempt],
        env={"PYTHONPATH": str(image.CHECKOUT), "PATH": image.PATH, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if tried.returncode == 0:
        return ""
    return (tried.stderr.strip().splitlines() or ["no reason given"])[-1]


def root() -> None:
    """Call first in a test with the marker `lab`: returns where namespaces, overlay and loop devices work."""
    _unless(missing())


_TRY_HOSTS = """
import os
from tests.lab import cgroups
from tests.support import kernel
group = cgroups.hierarchy() / f"mailmirror-try-{os.getpid()}"
group.mkdir()
group.rmdir()
kernel.unshare(kernel.CLONE_NEWCGROUP | kernel.CLONE_NEWPID | kernel.CLONE_NEWTIME)
"""


def hosts() -> None:
    """Call first where whole hosts boot (tests.lab): as `root`, and what systemd as PID 1 needs."""
    _unless(missing() or missing_for_hosts())


@functools.cache
def missing_for_hosts() -> str:
    """What whole hosts lack here beyond `missing`, in one line; empty when nothing. Tried once per process."""
    reason = _refused(_TRY_HOSTS)
    return f"needs cgroup2, pid and time namespaces ({reason})" if reason else ""


def layer(build: Callable[[], object]) -> None:
    """Call after `hosts` where a layer is needed that can't be built on every machine: `build` raises ImageError."""
    try:
        build()
    except image.ImageError as error:
        _unless(str(error).replace("\n", " "))


def command(name: str) -> None:
    """Call first in a test that runs a program of the machine itself, such as `rsync`."""
    if shutil.which(name) is None:
        _unless(f"needs the command {name}")


def _unless(reason: str) -> None:
    if not reason:
        return
    if os.environ.get("CI") == "true" and os.geteuid() == 0:
        pytest.fail(f"CI=true and root, but the lab cannot run here: {reason}", pytrace=False)
    pytest.skip(reason)
