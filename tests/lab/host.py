"""One host of the lab: power, disks, cable, clock, and commands run on it.

A host is a root (an overlay that this process has mounted), its disks, a cable, and while it is up a systemd in
namespaces of its own (`cradle`). All waiting is bounded, and by events: systemd tells when it has booted.

Invariant: a host ends with this process. A power cut takes the cable first, so that nothing that the disks lose has
been promised to anybody after it. What the host is for stands elsewhere (`site`).
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.lab import cgroups, clock, cradle, files
from tests.lab.disks import Disks
from tests.lab.switch import Switch
from tests.support import kernel
from tests.support.image import CHECKOUT, PATH

BOOT_WITHIN = 60.0
_ENVIRONMENT = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": "/root", "USER": "root"}
_DENIED = "--bounding-set=" + ",".join(f"-{name}" for name in cradle.DENIED)
_JOIN = 'echo 0 > "$0/cgroup.procs" && exec "$@"'


class HostError(Exception):
    """A host didn't boot or didn't end in time, or isn't in the state that the call needs."""


class CommandFailed(Exception):
    """A command on a host ended with another code than 0; the message holds what it said."""

    def __init__(self, host: str, argv: Sequence[str], done: subprocess.CompletedProcess[str]) -> None:
        said = (done.stdout + done.stderr).strip()
        super().__init__(f"{host}: {' '.join(argv)}: exit code {done.returncode}\n{said}")
        self.returncode = done.returncode
        self.stdout = done.stdout
        self.stderr = done.stderr


@dataclass
class _Boot:
    """What lives from one boot to the end of that boot."""

    cradle: subprocess.Popen[bytes]
    init: int
    pidfd: int
    net: int
    notify: socket.socket
    up: bool = False


class Host:
    """`place` says what it is in the site (primary, client, ...); `directory` has its root, and room for more."""

    def __init__(
        self,
        name: str,
        place: str,
        address: str,
        *,
        directory: Path,
        group: Path,
        switch: Switch,
        disks: Disks,
        address6: str = "",
    ) -> None:
        self.name = name
        self.place = place
        self.address = address
        self.address6 = address6
        self.root = directory / "root"
        self.disks = disks
        self.binds: list[tuple[str, str, bool]] = []  # (outside, inside, writable), from the next boot on
        self._directory = directory
        self._switch = switch
        self._group = group
        self._mounted = True
        self._boot: _Boot | None = None

    def __repr__(self) -> str:
        return f"<{self.place} {self.name} {self.address} {'up' if self.is_up else 'down'}>"

    # ---- power -------------------------------------------------------------------------------------------------------

    @property
    def is_up(self) -> bool:
        return self._boot is not None and not select.select([self._boot.pidfd], [], [], 0)[0]

    def boot(self) -> float:
        """Switches it on and waits until systemd says that it has booted; the seconds that it took. HostError."""
        self.switch_on()
        return self.wait_booted()

    def switch_on(self) -> None:
        """Begins to boot, and returns at once."""
        if self.is_up:
            raise HostError(f"{self.name} is up already")
        self._leave()
        if not self._mounted:
            self.disks.mount()
            self._mounted = True
        self._began = time.monotonic()
        with contextlib.ExitStack() as undo:
            notify = undo.enter_context(self._listen())
            net = self._switch.connect(self.name, self._addresses(), self.mac)
            undo.callback(self._switch.disconnect, self.name, net)
            self._boot = self._rock(notify, net)
            undo.pop_all()

    def wait_booted(self, within: float = BOOT_WITHIN) -> float:
        """Until every service that was to start has started, or failed to, see `failed`; the seconds from switching on,
        0 when it had booted before.
        """
        boot = self._booting()
        if boot.up:
            return 0.0
        poll = select.poll()
        poll.register(boot.notify, select.POLLIN)
        poll.register(boot.pidfd, select.POLLIN)
        deadline = time.monotonic() + within
        while not boot.up:
            events = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
            if not events or any(descriptor == boot.pidfd for descriptor, _ in events):
                why = "ended" if events else f"didn't boot in {within:.0f} s"
                raise HostError(f"{self.name} {why}; its console:\n{self.console()}")
            boot.up = b"READY=1" in boot.notify.recv(4096)
        boot.notify.close()  # systemd would wait for whoever doesn't read what else it tells
        return time.monotonic() - self._began

    def power_cut(self) -> None:
        """The power goes: cable, disks and processes at one blow. What wasn't durable is lost."""
        boot = self._booting()
        self._switch.disconnect(self.name, boot.net)
        self.disks.die()
        self._kill(boot)
        self._leave(disconnect=False)

    def shut_down(self, within: float = 30.0) -> None:
        """An orderly `systemctl poweroff`; returns when it is off."""
        boot = self._booting()
        self.run(["systemctl", "--no-block", "poweroff"])
        try:
            boot.cradle.wait(within)
        except subprocess.TimeoutExpired:
            raise HostError(f"{self.name} didn't shut down in {within:.0f} s") from None
        self._leave()

    def close(self) -> None:
        """Ends it, in whatever state it is, and frees its disks. Idempotent."""
        if self._boot is not None:
            self._kill(self._boot)
            self._leave()
        self.disks.close()

    def _kill(self, boot: _Boot) -> None:
        with contextlib.suppress(FileNotFoundError):  # it ended by itself
            cgroups.kill(self._group)
        boot.cradle.wait(30)

    def _leave(self, *, disconnect: bool = True) -> None:
        """Lets go of a boot that has ended."""
        boot, self._boot = self._boot, None
        if boot is None:
            return
        if disconnect:
            self._switch.disconnect(self.name, boot.net)
        boot.notify.close()
        os.close(boot.pidfd)
        self.disks.unmount()
        self._mounted = False

    def _booting(self) -> _Boot:
        if self._boot is None:
            raise HostError(f"{self.name} is switched off")
        return self._boot

    def _addresses(self) -> list[str]:
        return [f"{self.address}/24", *([f"{self.address6}/64"] if self.address6 else [])]

    @property
    def mac(self) -> str:
        """Its cable's link-layer address, the same at every boot."""
        return "02:00:" + ":".join(f"{int(part):02x}" for part in self.address.split("."))

    def _listen(self) -> socket.socket:
        place = self._directory / "notify"
        place.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        listening.bind(os.fspath(place))
        return listening

    def _rock(self, notify: socket.socket, net: int) -> _Boot:
        reading, writing = os.pipe()
        spec = cradle.Spec(
            caller=os.getpid(),
            name=self.name,
            root=str(self.root),
            net=net,
            notify=notify.getsockname(),
            cgroup=str(self._group),
            ready=writing,
            binds=self.binds,
        )
        with open(self._directory / "console", "ab") as console:
            try:
                process = subprocess.Popen(
                    [sys.executable, "-m", "tests.lab.cradle", json.dumps(asdict(spec))],
                    env={"PYTHONPATH": str(CHECKOUT), "PATH": PATH, "PYTHONDONTWRITEBYTECODE": "1"},
                    pass_fds=[net, writing],
                    stdin=subprocess.DEVNULL,
                    stdout=console,
                    start_new_session=True,
                )
            finally:
                os.close(writing)
        with open(reading, encoding="ascii") as report:
            said = report.read()
        try:
            return _Boot(process, int(said), os.pidfd_open(int(said)), net, notify)
        except (ValueError, ProcessLookupError):
            process.wait(30)
            raise HostError(f"{self.name} couldn't be started; the lines above say why") from None

    def mend(self) -> None:
        """Thaws it, plugs it in, lifts the bound of its cable, frees its disks; a host that is off stays off."""
        if self.is_up:
            self.thaw()
            self.plug()
            self.slow(None)
            self.disks.mend()

    # ---- time --------------------------------------------------------------------------------------------------------

    def freeze(self) -> None:
        """Stops every process on it, as a stopped virtual machine; its kernel still answers on the network."""
        self._booting()
        cgroups.freeze(self._group, True)

    def thaw(self) -> None:
        self._booting()
        cgroups.freeze(self._group, False)

    def fake_clock(self) -> None:
        """From now on mailmirror's processes that start on it look at a clock of their own, see `step_clock`."""
        self.lay(clock.files())
        self.run(clock.COMPILE)
        self.systemctl("reload", "ssh.service")

    def step_clock(self, seconds: float) -> None:
        """Puts that clock so far ahead of the machine's (or behind), at once for processes that run. Wall-clock time
        only, as when somebody sets it: timers and timeouts go on undisturbed.
        """
        if not self.path(clock.OFFSET).exists():
            raise HostError(f"{self.name} has the machine's clock; call fake_clock before mailmirror starts on it")
        clock.step(self.path(clock.OFFSET), seconds)

    # ---- cable -------------------------------------------------------------------------------------------------------

    def unplug(self) -> None:
        """The network cable is pulled out, which the host sees (no carrier)."""
        self._switch.unplug(self.name)

    def plug(self) -> None:
        self._switch.plug(self.name)

    def slow(self, bits_per_second: int | None) -> None:
        """Bounds its cable in both directions, for later boots too; None lifts the bound."""
        self._switch.slow(self.name, self._booting().net, bits_per_second)

    @property
    def net(self) -> str:
        """Names its network namespace, while it is up, as for `nsenter --net=`."""
        return f"/proc/{self._booting().init}/ns/net"

    @contextlib.contextmanager
    def network(self) -> Iterator[None]:
        """What this thread opens meanwhile, it opens on the host's network. Use addresses: names are the machine's."""
        with open("/proc/thread-self/ns/net", "rb") as own, open(self.net, "rb") as there:
            kernel.setns(there.fileno(), kernel.CLONE_NEWNET)
            try:
                yield
            finally:
                kernel.setns(own.fileno(), kernel.CLONE_NEWNET)

    # ---- commands ----------------------------------------------------------------------------------------------------

    def start(
        self, argv: Sequence[str], *, user: str = "root", env: Mapping[str, str] | None = None, **popen: Any
    ) -> subprocess.Popen[Any]:
        """Starts a command on the host, among its processes: it freezes and dies with them. Arguments of Popen."""
        init = str(self._booting().init)
        group = self._group / "commands"
        group.mkdir(exist_ok=True)
        join = ["sh", "-c", _JOIN, str(group)]
        spaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--time", "--root", "--wd"]
        become = [] if user == "root" else [f"--reuid={user}", f"--regid={user}", "--init-groups"]
        command = [*join, "nsenter", "--target", init, *spaces, "--", "setpriv", _DENIED, *become, "--", *argv]
        return subprocess.Popen(command, env={**_ENVIRONMENT, **(env or {})}, **popen)

    def attempt(
        self, command: str | Sequence[str], *, user: str = "root", stdin: str = "", timeout: float = 30.0
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command (a list, or a line for the shell) to its end, whatever that is. Exit code 124: it took longer
        than `timeout` seconds and was ended. HostError when even that failed, because the host is frozen.
        """
        argv = ["sh", "-c", command] if isinstance(command, str) else list(command)
        bounded = ["timeout", "--kill-after=1", str(timeout), *argv]
        pipe = subprocess.PIPE
        with self.start(bounded, user=user, stdin=pipe, stdout=pipe, stderr=pipe, text=True, errors="replace") as run:
            try:
                out, err = run.communicate(stdin, timeout + 5)
            except subprocess.TimeoutExpired:
                run.kill()
                raise HostError(f"{self.name}: {argv} hangs; is the host frozen?") from None
        return subprocess.CompletedProcess(argv, run.returncode, out, err)

    def run(self, command: str | Sequence[str], *, user: str = "root", stdin: str = "", timeout: float = 30.0) -> str:
        """As `attempt`; what it wrote to its standard output. CommandFailed unless its exit code is 0."""
        done = self.attempt(command, user=user, stdin=stdin, timeout=timeout)
        if done.returncode != 0:
            raise CommandFailed(self.name, done.args, done)
        return done.stdout

    # ---- services ----------------------------------------------------------------------------------------------------

    def systemctl(self, *words: str) -> str:
        return self.run(["systemctl", "--no-pager", *words])

    def kill(self, unit: str, number: str = "KILL") -> None:
        """Sends a signal to the main process of a unit."""
        self.systemctl("kill", f"--signal={number}", "--kill-who=main", unit)

    def kill_command(self, words: str, number: str = "KILL") -> None:
        """Sends a signal to every process whose command line has these words. CommandFailed when there is none."""
        self.run(["pkill", f"-{number}", "-f", f"[{words[0]}]{words[1:]}"])  # so written, it doesn't find itself

    def failed(self) -> list[str]:
        """The units that failed."""
        lines = self.systemctl("list-units", "--failed", "--plain", "--no-legend").splitlines()
        return [line.split()[0] for line in lines if line.strip()]

    def journal(self, unit: str = "", *, boots: bool = False) -> str:
        """What was logged in this boot, or in all boots, by one unit or by all."""
        words = ["journalctl", "--no-pager", "--output=short-precise"]
        return self.run([*words, *([] if boots else ["--boot"]), *([f"--unit={unit}"] if unit else [])])

    def console(self, lines: int = 20) -> str:
        """The last lines that PID 1 wrote to its console."""
        place = self._directory / "console"
        text = place.read_text(encoding="utf-8", errors="replace") if place.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    # ---- files -------------------------------------------------------------------------------------------------------

    def path(self, inside: str) -> Path:
        """Where a path of the host is seen from here, whether it is up or down; /run, /tmp and /dev excepted."""
        return self.root / inside.lstrip("/")

    def lay(self, wanted: files.Files) -> None:
        files.lay(self.root, wanted)
