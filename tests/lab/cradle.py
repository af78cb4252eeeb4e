"""The life of one host's PID 1: a process that gives systemd namespaces of its own, and ends it with its caller.

Started as `python -m tests.lab.cradle SPEC` (JSON, see Spec). The *cradle* stays outside, watches its caller and ends
the host's control group; the *init* builds what a machine has at its start (/proc, /dev, /run, an uptime of zero, a
boot id) and becomes systemd.

Invariant: when the caller or the cradle ends, by whatever signal, the init is killed and with it everything in the
host. Mounts are made in a namespace that dies with the init. The host can't reach the machine's clock, its modules, its
sysrq key or its sysctls, those of its own network excepted. It chooses no files: its root is built before it starts.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from tests.lab import cgroups
from tests.support import kernel, stage
from tests.support.image import PATH

FAILED = 125
NOTIFY = "/run/host/notify"  # where systemd tells that it has booted (NOTIFY_SOCKET, its container interface)
# What would reach the machine: its modules, its ports, its clock (linux/capability.h). Nobody in a host has it.
DENIED = {"sys_module": 16, "sys_rawio": 17, "sys_time": 25}
_INIT = ("/lib/systemd/systemd", "--system", "--unit=lab.target", "--show-status=no")


@dataclass
class Spec:
    """`root` is the mounted root with the host's disks, `net` a descriptor of its network namespace, `notify` a Unix
    socket outside, `cgroup` a directory in the unified hierarchy, made here. `binds` are (outside, inside, writable).
    What PID 1 prints goes to this process's standard output. `ready` is a descriptor that gets the init's PID.
    """

    caller: int
    name: str
    root: str
    net: int
    notify: str
    cgroup: str
    ready: int
    binds: list[tuple[str, str, bool]] = field(default_factory=list)


def main(words: list[str]) -> int:
    spec = Spec(**json.loads(words[0]))
    caller = os.pidfd_open(spec.caller)
    if os.getppid() != spec.caller:
        return FAILED  # it died before we looked
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP, signal.SIGTERM})
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    group = Path(spec.cgroup)
    try:
        cgroups.end(group)  # of an earlier boot whose cradle was killed
        group.mkdir(parents=True)
        return _rock(spec, caller)
    finally:
        cgroups.end(group)
        cgroups.remove_one(group.parent)


def _rock(spec: Spec, caller: int) -> int:
    """Starts the init and stays until it or the caller has ended."""
    myself = os.pidfd_open(os.getpid())
    kernel.unshare(kernel.CLONE_NEWPID | kernel.CLONE_NEWTIME)
    _set_uptime_to_zero()
    init = os.fork()
    if init == 0:
        _become_init(spec, myself)
    os.close(spec.net)
    child = os.pidfd_open(init)
    os.write(spec.ready, f"{init}\n".encode())
    os.close(spec.ready)
    if caller in select.select([child, caller], [], [])[0]:
        cgroups.kill(Path(spec.cgroup))  # all of it: a frozen parent outside would keep the init from ending
    status = os.waitpid(init, 0)[1]  # returns when everything else in the host is gone, too
    return 0 if os.waitstatus_to_exitcode(status) >= 0 else 1


def _set_uptime_to_zero() -> None:
    """CLOCK_MONOTONIC and CLOCK_BOOTTIME of a host begin with its boot, as on a real one (time_namespaces(7))."""
    offsets = [
        f"{name} {-int(time.clock_gettime(clock))} 0\n"
        for name, clock in (("monotonic", time.CLOCK_MONOTONIC), ("boottime", time.CLOCK_BOOTTIME))
    ]
    Path("/proc/self/timens_offsets").write_text("".join(offsets), encoding="ascii")


def _become_init(spec: Spec, cradle: int) -> NoReturn:
    """The child's life up to exec; it never returns into the cradle's frames."""
    try:
        kernel.die_with_parent()
        if select.select([cradle], [], [], 0)[0]:
            os._exit(FAILED)  # the cradle died between fork and prctl
        Path(spec.cgroup, "cgroup.procs").write_text("0", encoding="ascii")
        kernel.setns(spec.net, kernel.CLONE_NEWNET)
        kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWUTS | kernel.CLONE_NEWIPC | kernel.CLONE_NEWCGROUP)
        kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
        socket.sethostname(spec.name)
        _furnish(spec)
        _exec()
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"cradle of {spec.name}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(FAILED)


def _furnish(spec: Spec) -> None:
    """What a machine makes at its start, and the binds that the lab asked for."""
    root = Path(spec.root)
    stage.furnish(root)
    kernel.mount("cgroup", root / "sys/fs/cgroup", "cgroup2")
    boot = root / "run/host/boot_id"
    boot.parent.mkdir()
    boot.write_text(f"{uuid.uuid4()}\n", encoding="ascii")
    stage.bind(boot, root / "proc/sys/kernel/random/boot_id")
    stage.bind(Path(spec.notify), root / NOTIFY.lstrip("/"))
    for source, target, writable in spec.binds:
        place = root / target.lstrip("/")
        stage.bind(Path(source), place)
        if not writable:
            kernel.make_read_only(place)
    _protect_the_machine(root)
    stage.move_into(root)
    # As systemd has it on a real host: credentials are mounted elsewhere, and reach the service by propagation.
    kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_SHARED)


def _protect_the_machine(root: Path) -> None:
    """A host is root on its own system, not on the kernel that it shares with the machine."""
    own_network = root / "proc/sys/net"
    stage.bind(own_network, own_network)
    for name in ("proc/sys", "proc/sysrq-trigger"):
        if not (root / name).exists():
            continue  # a kernel without the sysrq key
        stage.bind(root / name, root / name)
        kernel.make_read_only(root / name)
    for number in DENIED.values():
        kernel.drop_capability(number)


def _exec() -> NoReturn:
    os.dup2(1, 2)
    os.closerange(3, 1024)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    environment = {"container": "other", "NOTIFY_SOCKET": NOTIFY, "PATH": PATH, "LANG": "C.UTF-8"}
    os.execve(_INIT[0], _INIT, environment)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
