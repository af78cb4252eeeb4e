"""The inside of `tests.support.image`: one process that builds a root of its own and runs a command in it.

Started as `python -m tests.support.stage SPEC` (JSON, see Spec). Two processes: the *porter* stays in the caller's
pid namespace, passes signals in and the exit code out, and ends everything when its caller dies; the *first* is
PID 1 of the new namespaces, mounts, starts the command and reaps.

Invariant: every mount is made in a mount namespace that dies with the first, so nothing is left on the machine,
not even after SIGKILL of the caller, of the porter or of both. It doesn't choose the image nor install anything.

Exit code: the command's own, 128 + n when signal n ended it, 125 when the stage itself failed (one line on stderr).
"""

from __future__ import annotations

import json
import os
import select
import signal
import stat
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from tests.support import kernel

PASSED_ON = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}
LOOPBACK = "loopback"
FAILED = 125
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")


@dataclass
class Spec:
    """What to build and run. `image` is the ext4 file whose `upper` directory lies over the machine's root; with
    `build` the command's writes go into it, else into memory. `enter` is the PID of a first to join instead.
    `net` is a path of a network namespace, LOOPBACK for a new one with only `lo`, or None for the machine's own.
    `argv` None holds the root until SIGTERM. `ready` is a descriptor that gets the first's PID and then "ready".
    """

    caller: int
    stage: str
    image: str = ""
    argv: list[str] | None = None
    env: dict[str, str] = field(default_factory=dict)
    cwd: str = "/"
    binds: list[tuple[str, str]] = field(default_factory=list)
    net: str | None = None
    build: bool = False
    enter: int = 0
    ready: int = -1


def main(words: list[str]) -> int:
    spec = Spec(**json.loads(words[0]))
    if os.getppid() != spec.caller:
        return FAILED  # the caller died before we looked: nobody wants this run
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON | {signal.SIGCHLD})
    try:
        return _porter(spec)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"stage: {error}", file=sys.stderr)
        return FAILED


def _porter(spec: Spec) -> int:
    caller = os.pidfd_open(spec.caller)
    myself = os.pidfd_open(os.getpid())
    if spec.enter:
        everything = (
            kernel.CLONE_NEWNS | kernel.CLONE_NEWPID | kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS
        )
        kernel.setns(os.pidfd_open(spec.enter), everything)
    else:
        _new_namespaces(spec.net)
    child = os.fork()
    if child == 0:
        _inside(spec, myself)
    if spec.ready >= 0:
        os.write(spec.ready, f"{child}\n".encode())
        os.close(spec.ready)
    return _attend_while(caller, child)


def _new_namespaces(net: str | None) -> None:
    if net == LOOPBACK:
        kernel.unshare(kernel.CLONE_NEWNET)
        kernel.raise_loopback()
    elif net is not None:
        with open(net, "rb") as namespace:
            kernel.setns(namespace.fileno(), kernel.CLONE_NEWNET)
    kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWPID | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS)
    kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)


def _attend_while(caller: int, child: int) -> int:
    """Passes signals on and reaps, as _attend does, and ends the child when the caller has died. By select, since
    PR_SET_PDEATHSIG would fire when the caller's *thread* ends, and threads can't start after a new pid namespace.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    for number in PASSED_ON | {signal.SIGCHLD}:
        signal.signal(number, lambda _number, _frame: None)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON | {signal.SIGCHLD})
    while True:
        ready = select.select([caller, reading], [], [])[0]
        if caller in ready:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return FAILED
        for arrived in os.read(reading, 64):
            if arrived != signal.SIGCHLD:
                os.kill(child, arrived)
        ended = _reap(child)
        if ended is not None:
            return ended


def _inside(spec: Spec, porter: int) -> NoReturn:
    """The child's life. It leaves by os._exit or exec, never by returning into the porter's frames."""
    code = FAILED
    try:
        kernel.die_with_parent()
        if select.select([porter], [], [], 0)[0]:
            os._exit(FAILED)  # the porter died between fork and prctl
        if spec.enter:
            _exec(spec)
        _build_root(spec)
        if spec.ready >= 0:
            os.write(spec.ready, b"ready\n")
            os.close(spec.ready)
        code = _first(spec)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"stage: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


def _first(spec: Spec) -> int:
    """PID 1: starts the command, if any, and reaps until it ends."""
    if spec.argv is None:
        return _attend(0)
    command = os.fork()
    if command == 0:
        try:
            _exec(spec)
        finally:
            os._exit(FAILED)
    return _attend(command)


def _exec(spec: Spec) -> NoReturn:
    assert spec.argv is not None
    try:
        os.chdir(spec.cwd)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON | {signal.SIGCHLD})
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.execvpe(spec.argv[0], spec.argv, spec.env)
    except OSError as error:
        print(f"stage: cannot run {spec.argv[0]}: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(127)


def _attend(child: int) -> int:
    """Passes signals to `child` and reaps; returns when it ends. With child 0 the first SIGTERM or SIGINT ends it."""
    while True:
        number = signal.sigwait(PASSED_ON | {signal.SIGCHLD})
        if number != signal.SIGCHLD:
            if not child:
                return 128 + number
            os.kill(child, number)
            continue
        ended = _reap(child)
        if ended is not None:
            return ended


def _reap(child: int) -> int | None:
    """Reaps all that have ended; the exit code of `child` if it was among them."""
    code: int | None = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == child:
            ended = os.waitstatus_to_exitcode(status)
            code = ended if ended >= 0 else 128 - ended


def _build_root(spec: Spec) -> None:
    stage = Path(spec.stage)
    kernel.mount("stage", stage, "tmpfs", data="mode=0755")
    layer, memory, root = stage / "layer", stage / "memory", stage / "root"
    for place in (layer, root, memory / "upper", memory / "work"):
        place.mkdir(parents=True)
    with kernel.loop_device(Path(spec.image), readonly=not spec.build) as device:
        kernel.mount(device, layer, "ext4", 0 if spec.build else kernel.MS_RDONLY)
    lower, writes = ("/", layer) if spec.build else (f"{layer}/upper:/", memory)
    kernel.mount("root", root, "overlay", data=f"lowerdir={lower},upperdir={writes}/upper,workdir={writes}/work")
    furnish(root)
    for source, target in spec.binds:
        bind(Path(source), root / target.lstrip("/"))
    move_into(root)


def furnish(root: Path) -> None:
    """The directories that a machine makes at boot; /sys is read-only."""
    kernel.mount("proc", root / "proc", "proc")
    kernel.mount("sysfs", root / "sys", "sysfs", kernel.MS_RDONLY)
    kernel.mount("run", root / "run", "tmpfs", data="mode=0755")
    kernel.mount("tmp", root / "tmp", "tmpfs", data="mode=1777")
    kernel.mount("dev", root / "dev", "tmpfs", data="mode=0755")
    for name in _DEVICES:
        bind(Path("/dev") / name, root / "dev" / name)
    for name, mode in (("dev/pts", 0o755), ("dev/shm", 0o1777), ("run/sshd", 0o755), ("run/lock", 0o1777)):
        (root / name).mkdir()
        (root / name).chmod(mode)
    kernel.mount("devpts", root / "dev/pts", "devpts", data="newinstance,ptmxmode=0666,mode=0620")
    (root / "dev/ptmx").symlink_to("pts/ptmx")
    for name, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        (root / "dev" / name).symlink_to(f"/proc/self/{target}")


def bind(source: Path, target: Path) -> None:
    """Shows `source`, mounts below it included, at `target`, which is made when missing."""
    if stat.S_ISDIR(source.stat().st_mode):
        target.mkdir(parents=True, exist_ok=True)
    elif not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    kernel.mount(str(source), target, flags=kernel.MS_BIND | kernel.MS_REC)


def move_into(root: Path) -> None:
    """Makes `root` the namespace's root and lets go of the machine's mounts, so that a test may unmount its own."""
    old = root / "run" / "old"
    old.mkdir()
    subprocess.run(["pivot_root", root, old], check=True)
    os.chdir("/")
    kernel.unmount("/run/old", kernel.MNT_DETACH)
    os.rmdir("/run/old")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
