"""The mail services' units of systemd: looked at, started, stopped, masked; each act is proven by reading back.

A mask is for this boot only (`--runtime`): what keeps a unit down after a reboot is the boot gate (`unitfiles`), and a
mask that outlived it would keep mail down when the guard has long been taken away. A unit whose own file lies in
/etc/systemd/system can't be masked (systemd.unit(5): /etc comes before /run); its drop-in of the boot gate counts
instead, since it is asked at every start.

Invariant: a unit is stopped only when systemd says so and no process is left in its control group; a unit that this
host doesn't have is stopped and shut. What can't be told is UNKNOWN, never NOT_DONE.
"""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress
from typing import Callable, Dict, List, NamedTuple, Sequence

from .posture import DONE, NOT_DONE, UNKNOWN
from .serve import Fault
from .unitfiles import DROP_IN

DEFAULT = ("postfix.service", "postfix@-.service", "dovecot.service", "dovecot.socket")
"""Of Postfix and Dovecot as Debian has them; another system lacks some of these, which harms nothing."""
WITHIN = 30.0
EVERY = 0.05
_PROPERTIES = "Id,LoadState,ActiveState,Result,MainPID,ControlGroup,DropInPaths,UnitFileState,Job"
_GROUPS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd")
_AT_REST = ("inactive", "failed")


class Unit(NamedTuple):
    """What systemd says of one unit, and how many processes its control group has."""

    name: str
    load: str
    active: str
    result: str
    main_pid: int
    processes: int
    enabled: str
    gated: bool
    busy: bool  # a job is on, or waits

    @property
    def there(self) -> bool:
        """Whether this host has such a unit."""
        return self.load != "not-found"

    @property
    def stopped(self) -> bool:
        return self.active in _AT_REST and not self.main_pid and not self.processes

    @property
    def shut(self) -> bool:
        """Whether nothing but the guard's consent lets it start."""
        return not self.there or self.load == "masked" or self.gated


class Proof(NamedTuple):
    """`state` is DONE, NOT_DONE or UNKNOWN, `why` what speaks against DONE."""

    state: str
    why: List[str]


def look(names: Sequence[str]) -> List[Unit]:
    """The units as they are. Raises Fault("systemd") when it can't be asked."""
    shown = _systemctl("show", "--property=" + _PROPERTIES, "--", *names) if names else ""
    found = [dict(line.split("=", 1) for line in block.splitlines()) for block in shown.split("\n\n") if block.strip()]
    if len(found) != len(names):
        raise Fault("systemd", f"it told of {len(found)} units when asked for {len(names)}", "Look at systemctl show.")
    return [_unit(name, told) for name, told in zip(names, found)]


def _unit(name: str, told: Dict[str, str]) -> Unit:
    drop_ins = told.get("DropInPaths", "").split()
    return Unit(
        name=name,
        load=told["LoadState"],
        active=told["ActiveState"],
        result=told.get("Result", ""),
        main_pid=int(told.get("MainPID") or 0),
        processes=_processes(told.get("ControlGroup", "")),
        enabled=told.get("UnitFileState", ""),
        gated=any(os.path.basename(path) == DROP_IN for path in drop_ins),
        busy=bool(int(told.get("Job") or 0)) or told["ActiveState"] in ("activating", "deactivating", "reloading"),
    )


def _processes(group: str) -> int:
    """How many processes a control group has, those below it included."""
    if not group or group == "/":
        return 0
    count = 0
    for top in _GROUPS:
        for directory, _, files in os.walk(top + group):
            if "cgroup.procs" in files:
                try:
                    with open(os.path.join(directory, "cgroup.procs"), encoding="ascii") as file:
                        count += len(file.read().split())
                except OSError:
                    continue  # it is being removed: it has no process then
    return count


# --- proofs -----------------------------------------------------------------------------------------------------------


def stopped(names: Sequence[str]) -> Proof:
    """Whether none of them runs. Never raises."""
    return _proof(names, lambda unit: unit.stopped, "runs")


def shut(names: Sequence[str]) -> Proof:
    """Whether none of them can start unless the guard lets it. Never raises."""
    return _proof(names, lambda unit: unit.shut, "is neither masked nor gated")


def _proof(names: Sequence[str], good: Callable[[Unit], bool], otherwise: str) -> Proof:
    try:
        found = look(names)
    except (Fault, OSError, ValueError, KeyError) as error:
        return Proof(UNKNOWN, [str(error)])
    return _judged(found, good, otherwise)


def _judged(found: Sequence[Unit], good: Callable[[Unit], bool], otherwise: str) -> Proof:
    bad = [unit for unit in found if not good(unit)]
    said = (f"{unit.name} {otherwise} ({unit.active}, {unit.result}, {unit.processes} processes)" for unit in bad)
    return Proof(NOT_DONE if bad else DONE, list(said))


# --- acts -------------------------------------------------------------------------------------------------------------


def stop(names: Sequence[str], within: float = WITHIN) -> Proof:
    """Stop them all, sockets first, so that no client starts a service again. Idempotent; waits `within` seconds.

    One that comes back meanwhile, because a unit that wants it was started, is stopped again.
    """
    deadline = time.monotonic() + within
    while True:
        found = look(names)
        running = [unit for unit in found if unit.there and not unit.stopped]
        again = sorted((unit.name for unit in running if not unit.busy), key=lambda name: not name.endswith(".socket"))
        if again:
            _systemctl("stop", "--no-block", "--", *again)
        if not running:
            return _judged(found, lambda unit: unit.stopped, "runs")
        if time.monotonic() >= deadline:
            return stopped(names)
        time.sleep(EVERY)


def kill(names: Sequence[str]) -> None:
    """SIGKILL to every process of those that are still there. Proves nothing: `stop` does. Raises Fault as `look`."""
    for unit in look(names):
        if unit.there and unit.processes:
            with suppress(Fault):  # its last process has ended by itself
                _systemctl("kill", "--signal=KILL", "--", unit.name)


def start(names: Sequence[str], within: float = WITHIN) -> Proof:
    """Start those that the site uses: no socket that isn't enabled, no instance whose own service starts it.

    Idempotent. A unit that the boot gate keeps down is NOT_DONE. Raises Fault("masked") when one is masked.
    """
    units = [unit for unit in look(names) if unit.there]
    if masked := [unit.name for unit in units if unit.load == "masked"]:
        raise Fault("masked", f"{', '.join(masked)} can't start: masked", "Unmask it first (systemctl unmask).")
    mine = [unit.name for unit in units if _is_started(unit, names)]
    at_rest = {name for unit in units if unit.active != "active" for name in (unit.name, _starter(unit.name))}
    if down := [name for name in mine if name in at_rest]:
        _systemctl("start", "--no-block", "--", *down)
    watched = [unit.name for unit in units if unit.name in mine or "@" in unit.name]
    deadline = time.monotonic() + within
    found = look(watched) if down else [unit for unit in units if unit.name in watched]
    while any(unit.busy for unit in found) and time.monotonic() < deadline:
        time.sleep(EVERY)
        found = look(watched)
    return _judged(found, lambda unit: _runs(unit, unit.name in mine), "doesn't run")


def _runs(unit: Unit, was_asked: bool) -> bool:
    """An instance that its own service doesn't start (Debian 13: Postfix is `postfix.service` itself) needn't run."""
    return unit.active == "active" or (not was_asked and unit.active == "inactive" and unit.result == "success")


def _is_started(unit: Unit, names: Sequence[str]) -> bool:
    if unit.name.endswith(".socket"):
        return unit.enabled.startswith("enabled")
    return "@" not in unit.name or _starter(unit.name) not in names


def _starter(name: str) -> str:
    """The unit that starts an instance, as Debian 12 has it for Postfix."""
    return name.partition("@")[0] + ".service" if "@" in name else name


def mask(names: Sequence[str]) -> Proof:
    """Mask them for this boot, where that is possible; see the module for where it isn't. Idempotent."""
    those = [unit.name for unit in look(names) if unit.there and unit.load != "masked" and not _lies_in_etc(unit.name)]
    if those:
        _systemctl("mask", "--runtime", "--", *those)
    return shut(names)


def unmask(names: Sequence[str]) -> List[str]:
    """Undo `mask`; returns those that somebody else has masked for good, which stay so. Idempotent."""
    here = [name for name in names if os.path.islink(f"/run/systemd/system/{name}")]
    if here:
        _systemctl("unmask", "--runtime", "--", *here)
    return [unit.name for unit in look(names) if unit.load == "masked"]


def _lies_in_etc(name: str) -> bool:
    template = name.partition("@")[0] + "@." + name.rpartition(".")[2] if "@" in name else name
    return any(os.path.lexists(f"/etc/systemd/system/{each}") for each in (name, template))


def tell_to_end(name: str) -> None:
    """SIGTERM to each of a unit's processes, as its stop ends with. Raises Fault("systemd")."""
    _systemctl("kill", "--signal=TERM", "--", name)


def reread(name: str) -> None:
    """Have a service that runs read its configuration again, and listen as that says. Raises Fault("systemd")."""
    _systemctl("reload", "--", name)


def reload() -> None:
    """Have systemd read its unit files again."""
    _systemctl("daemon-reload")


def version() -> int:
    """Which systemd runs here."""
    words = _systemctl("--version").split()
    return int("".join(letter for letter in words[1] if letter.isdigit()) or 0)


def _systemctl(*words: str) -> str:
    """Raises Fault("systemd")."""
    environment = {**os.environ, "LC_ALL": "C", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"}
    try:
        done = subprocess.run(
            ["systemctl", *words], env=environment, capture_output=True, text=True, timeout=WITHIN, check=False
        )
    except FileNotFoundError as error:
        raise Fault("systemd", "this host has no systemctl", "A mail host needs systemd for its boot gate.") from error
    except subprocess.TimeoutExpired as error:
        raise Fault("systemd", f"systemctl {words[0]} hangs", "Look at systemctl list-jobs.") from error
    if done.returncode:
        raise Fault("systemd", f"systemctl {words[0]}: {done.stderr.strip()[-500:]}", "Look at systemctl status.")
    return done.stdout
