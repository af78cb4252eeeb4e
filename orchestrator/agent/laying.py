"""Lays the guard down on a host and takes it away: code, command, settings, key, unit, and the boot gate's drop-ins.

The controller ships the agent's code and has one of the three `ERRANDS` done there, as root, over SSH or as its own
child. What was laid stands in a ledger in the guard's state directory, written before the first file, so that taking it
away leaves /etc as it was, also after an installation that was cut off.

Invariant: running mail services are never stopped, started or reloaded by laying down, and a host that is active goes
on serving when its guard is taken away: the gate is opened, its addresses stay. A passive host whose Postfix is held is
taken out of that posture only with its mail services stopped: else what waits in its queue would be delivered into the
mirror's stores. A key that is another one is never replaced.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

from . import VERSION, address, guardtalk, marker, posture, register, unitfiles, units
from .posture import STATE, replace, settle
from .register import Register
from .serve import Fault

ETC = "/etc/mailmirror"
SETTINGS, KEY = ETC + "/guard.json", ETC + "/guard.key"
CODE = unitfiles.HOME + "/code"
COMMAND = "/usr/local/sbin/mailmirror-guard"
LEDGER = "laid.json"
TABLES = "mailmirror"
"""How the names of the gate's nftables tables begin."""
READY_WITHIN = 30.0
UNTIDIED = f"/run/systemd/system/{unitfiles.UNIT}.d"


# --- what is there ----------------------------------------------------------------------------------------------------


def look(_: Mapping[str, Any]) -> Dict[str, Any]:
    """{installed, version, role, held, settings}: `role` is active, passive, witness, or unknown."""
    settings = _settings()
    version = os.readlink(CODE + "/current") if os.path.islink(CODE + "/current") else ""
    held = posture.is_held()
    there = os.path.exists(os.path.join(STATE, LEDGER))
    return {"installed": there, "version": version, "role": role(settings), "held": held, "settings": settings}


def role(settings: Mapping[str, Any]) -> str:
    """What this host is: by its guard's register, which is the authority, else by the stores' markers, of which one
    that is active makes it active. `unknown` where neither can be read.
    """
    if settings.get("place") == "witness":
        return "witness"
    try:
        known = register.load(STATE)
    except register.Damaged:
        return "unknown"
    if known is not None and known.epoch:
        return marker.ACTIVE if known.active == settings.get("place") else marker.PASSIVE
    found = {mark.role if mark else "unknown" for mark in map(marker.look, settings.get("stores", ()))}
    return marker.ACTIVE if marker.ACTIVE in found else found.pop() if len(found) == 1 else "unknown"


def _settings() -> Dict[str, Any]:
    try:
        with open(SETTINGS, encoding="utf-8") as file:
            return dict(json.load(file))
    except (FileNotFoundError, ValueError):
        return {}


# --- laying down ------------------------------------------------------------------------------------------------------


def install(job: Mapping[str, Any]) -> Dict[str, Any]:
    """`job`: {settings, key (hex), sha, files (name -> text), python}. Idempotent: what is so already is left alone.

    Returns {version, changed (paths), restarted (seconds, None when it went on running), told (lines)}. Raises Fault:
    not-root, systemd, another-key, no-marker, guard-down.
    """
    _must_be_root()
    systemd = units.version()
    _same_pair(job["settings"]["pair"])
    _same_key(job["key"])
    first = _first_register(job["settings"], bool(job["may_begin"]))
    before, after = _settings().get("ttl"), job["settings"]["ttl"]
    leased = before == 0 and after > 0
    if before and not after and role(_settings()) == marker.ACTIVE and job["settings"]["place"] != "witness":
        raise Fault(
            "active", "this host is the active one, and the others still grant it a lease", "Update them first."
        )
    wanted = _files(job, systemd)
    links = _links(job["sha"])
    gone = _intend([*wanted, *links])
    changed = [path for path in gone if _unlink(path)]
    changed += [CODE + "/" + job["sha"]] if _lay_code(job["sha"], job["files"]) else []
    changed += [path for path, (content, mode) in wanted.items() if _write(path, content, mode)]
    changed += [path for path, target in links.items() if _link(path, target)]
    if first is not None:
        register.keep(STATE, first)
    if any(path.startswith(unitfiles.UNITS) for path in changed):
        units.reload()
    if leased:
        _carry_over()
    took = _run_guard(bool(changed))
    _prune(job["sha"])
    told = (
        [] if shutil.which("nft") else ["nftables is missing: the guard stops services itself, and the lease is weaker"]
    )
    return {"version": VERSION, "changed": changed, "restarted": took, "told": told}


def _files(job: Mapping[str, Any], systemd: int) -> Dict[str, Tuple[str, int]]:
    settings = job["settings"]
    files = {
        unitfiles.PROGRAM: (unitfiles.program(job["python"]), 0o755),
        SETTINGS: (json.dumps(settings, indent=1, sort_keys=True) + "\n", 0o600),
        KEY: (job["key"] + "\n", 0o600),
        f"{unitfiles.UNITS}/{unitfiles.UNIT}": (unitfiles.guard_unit(settings), 0o644),
    }
    for unit in settings["units"]:
        files[unitfiles.drop_in_path(unit)] = (unitfiles.drop_in(unit, systemd), 0o644)
    return files


def _links(sha: str) -> Dict[str, str]:
    wants = f"{unitfiles.UNITS}/{unitfiles.WANTED_BY}.wants/{unitfiles.UNIT}"
    return {CODE + "/current": sha, COMMAND: unitfiles.PROGRAM, wants: f"{unitfiles.UNITS}/{unitfiles.UNIT}"}


def _must_be_root() -> None:
    if os.geteuid() != 0:
        raise Fault(
            "not-root", "the guard can only be laid down and taken away by root", "Log in as root, or use sudo."
        )


def _same_pair(pair: str) -> None:
    there = _settings().get("pair", pair)
    if there != pair:
        raise Fault(
            "another-pair",
            f"the guard there is the pair {there}'s, and a host has one guard",
            "Give each pair with a lease a witness of its own, or take that guard off first.",
        )


def _same_key(key: str) -> None:
    try:
        with open(KEY, encoding="ascii") as file:
            there = file.read().strip()
    except FileNotFoundError:
        return
    if there != key:
        raise Fault(
            "another-key",
            f"{KEY} is another controller's: its guards wouldn't understand this one",
            "Copy PAIR.guard.key from that controller's mm_state_dir, or take the guard off every host first.",
        )


def _first_register(settings: Mapping[str, Any], may_begin: bool) -> Optional[Register]:
    """What the guard of a host that never had one begins with; None where it has, or is to learn it from the others.

    An active host goes on serving: by the word of who installs the guard, until the first grant. `may_begin`: the other
    mail host isn't active. Where it is, this one's markers are of an earlier epoch.
    """
    if settings["place"] == "witness" or register.load(STATE) is not None:
        return None
    marks = [mark for mark in map(marker.look, settings["stores"]) if mark is not None]
    if not marks:
        raise Fault("no-marker", "no store has a marker: is this host the active one?", "Run `mailmirror init` first.")
    if role(settings) != marker.ACTIVE or not may_begin:
        return None
    words = "it was active when its guard was installed"
    return Register(max(mark.epoch for mark in marks), settings["place"], boot=marker.boot_id(), attested=words)


def _intend(paths: List[str]) -> List[str]:
    """Have the ledger name all that is about to be laid; returns what an earlier version laid and this one doesn't."""
    ledger = _ledger()
    before = ledger["paths"]
    missing = set()
    for path in (*paths, CODE + "/x"):
        directory = os.path.dirname(path)
        while not os.path.isdir(directory):
            missing.add(directory)
            directory = os.path.dirname(directory)
    directories = sorted({*ledger["directories"], *missing})
    _keep({"paths": sorted({*before, *paths}), "directories": directories})
    return [path for path in before if path not in paths]


def _ledger() -> Dict[str, Any]:
    try:
        with open(os.path.join(STATE, LEDGER), encoding="utf-8") as file:
            return dict(json.load(file))
    except FileNotFoundError:
        return {"paths": [], "directories": []}


def _keep(ledger: Mapping[str, Any]) -> None:
    os.makedirs(STATE, 0o700, exist_ok=True)
    replace(os.path.join(STATE, LEDGER), json.dumps(ledger, indent=1).encode(), 0o600)


def _lay_code(sha: str, files: Mapping[str, str]) -> bool:
    home = f"{CODE}/{sha}"
    if os.path.isdir(home):
        return False
    new = f"{CODE}/.new"
    shutil.rmtree(new, ignore_errors=True)
    package = f"{new}/orchestrator/agent"
    os.makedirs(package, 0o755)
    replace(f"{new}/orchestrator/__init__.py", b"", 0o644)
    for name, text in files.items():
        if os.path.basename(name) != name or not name.endswith(".py"):
            raise Fault("bad-request", f"the code has an odd name: {name!r:.100}")
        replace(f"{package}/{name}", text.encode(), 0o644)
    os.rename(new, home)
    settle(CODE)
    return True


def _prune(sha: str) -> None:
    """The code of earlier versions goes: the guard runs this one by now."""
    for name in os.listdir(CODE):
        if name not in (sha, "current"):
            shutil.rmtree(f"{CODE}/{name}")


def _write(path: str, content: str, mode: int) -> bool:
    try:
        with open(path, encoding="utf-8") as file:
            if file.read() == content and os.fstat(file.fileno()).st_mode & 0o7777 == mode:
                return False
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    replace(path, content.encode(), mode)
    return True


def _link(path: str, target: str) -> bool:
    if os.path.islink(path) and os.readlink(path) == target:
        return False
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    new = path + ".mailmirror-new"
    _unlink(new)
    os.symlink(target, new)
    os.rename(new, path)
    settle(os.path.dirname(path))
    return True


def _unlink(path: str) -> bool:
    if not os.path.lexists(path):
        return False
    os.unlink(path)
    return True


def _within() -> float:
    """How long the guard may take to end, and to be ready again: a granter lets the active have a grant first."""
    return READY_WITHIN + float(_settings().get("ttl", 0))


def _carry_over() -> None:
    """The pair gets a lease, and this guard may be the first to know: what serves goes on until it is granted."""
    try:
        told = guardtalk.ask({"verb": "status"})
        if told["serves"]:
            words = "it served when its lease was introduced"
            told = guardtalk.ask({"verb": "attest", "epoch": told["epoch"], "words": words})
        if "error" in told:
            raise Fault("guard-down", str(told["error"]), "See `mailmirror-guard status` there, then try again.")
    except guardtalk.Silent as silent:
        raise Fault("guard-down", str(silent), "Start it, then try again: what serves must go on.") from silent


def _run_guard(changed: bool) -> Any:
    """Start it, or start it anew when what it runs by is another; the seconds that a restart took."""
    [guard] = units.look([unitfiles.UNIT])
    if guard.active == "active" and not changed:
        return None
    began = time.monotonic()
    words = ["systemctl", "restart", unitfiles.UNIT]
    with _untidied():
        done = subprocess.run(words, capture_output=True, text=True, timeout=_within(), check=False)
    if done.returncode:
        log = subprocess.run(
            ["journalctl", "--no-pager", "-n", "10", "-o", "cat", "-u", unitfiles.UNIT],
            capture_output=True,
            text=True,
            check=False,
        )
        raise Fault("guard-down", f"the guard doesn't start: {log.stdout[-1500:]}", "Mend it; all files are laid down.")
    return time.monotonic() - began if guard.active == "active" else None


# --- taking away ------------------------------------------------------------------------------------------------------


def remove(job: Mapping[str, Any]) -> Dict[str, Any]:
    """`job`: {even_active: bool, markers: bool}. Idempotent. Returns {removed (paths), stopped (units), told (lines)}.

    Raises Fault: not-root, active (this host is the active one and `even_active` isn't said), and what `posture` does.
    """
    _must_be_root()
    settings = _settings()
    serves = bool(settings) and role(settings) in (marker.ACTIVE, "unknown")
    if serves and not job["even_active"]:
        what = "is the active one" if role(settings) == marker.ACTIVE else "may be the active one: nothing here says"
        raise Fault("active", f"this host {what}", "Say its name with --active to take the guard off all the same.")
    told: List[str] = []
    if [path for path in _ledger()["paths"] if path.endswith(unitfiles.DROP_IN) and _unlink(path)]:
        units.reload()  # before the guard is stopped: what is started meanwhile would start it again
    _stop_guard(settings, keep_addresses=serves)
    _open_gate()
    stopped: List[str] = []
    if posture.is_held():
        stopped = [unit.name for unit in units.look(settings.get("units", ())) if unit.there and not unit.stopped]
        if (proof := units.stop(stopped)).state != posture.DONE:
            raise Fault("still-running", "; ".join(proof.why), "Stop them by hand, then try again.")
    told += posture.release()
    told += [f"{name} stays masked" for name in units.unmask(settings.get("units", ()))]
    if job["markers"]:
        told += _remove_markers(settings.get("stores", ()))
    removed = _remove_files()
    shutil.rmtree(UNTIDIED, ignore_errors=True)  # an installer that was killed may have left it
    units.reload()
    return {"removed": removed, "stopped": stopped, "told": told}


def _stop_guard(settings: Mapping[str, Any], keep_addresses: bool) -> None:
    """Stop it, and let what it does at its end not take the users' address from a host that goes on serving."""
    [guard] = units.look([unitfiles.UNIT])
    stood = [(plain, where) for plain, where in settings.get("addresses", ()) if _stands(plain, where)]
    with _untidied() if guard.there and keep_addresses else contextlib.nullcontext():
        if guard.there and (proof := units.stop([unitfiles.UNIT], _within())).state != posture.DONE:
            raise Fault("guard-up", "; ".join(proof.why), "Stop it by hand: systemctl stop " + unitfiles.UNIT)
    for plain, where in stood:
        if keep_addresses and not _stands(plain, where):
            address.add(plain, where, quick=True)
        elif not keep_addresses:
            address.remove(plain, where)


@contextlib.contextmanager
def _untidied() -> Iterator[None]:
    """Meanwhile the guard's end leaves the addresses where they are; the next one decides, or nobody minds them."""
    os.makedirs(UNTIDIED, 0o755, exist_ok=True)
    replace(f"{UNTIDIED}/mailmirror-untidied.conf", b"[Service]\nExecStopPost=\n", 0o644)
    units.reload()
    try:
        yield
    finally:
        shutil.rmtree(UNTIDIED)
        units.reload()


def _stands(plain: str, where: str) -> bool:
    return os.path.isdir(f"/sys/class/net/{where}") and bool(address.held(plain, where))


def _open_gate() -> None:
    """Every table of ours goes; the guard's own went with the guard."""
    if shutil.which("nft") is None:
        return
    shown = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, timeout=10, check=True)
    for line in shown.stdout.splitlines():
        words = line.split()
        if len(words) == 3 and words[2].startswith(TABLES):
            subprocess.run(["nft", "delete", *words], capture_output=True, timeout=10, check=True)


def _remove_markers(stores: List[str]) -> List[str]:
    told = []
    for store in stores:
        path = os.path.join(store, ".mailmirror", "store.json")
        if os.path.isfile(path) and not os.path.islink(path) and _unlink(path):
            settle(os.path.dirname(path))
            told.append(f"{store} has no marker any more: it is no pair's store")
    return told


def _remove_files() -> List[str]:
    ledger = _ledger()
    removed = [path for path in ledger["paths"] if _unlink(path)]
    for path in ledger["paths"]:
        _unlink(path + ".mailmirror-new")  # of an installation that was cut off
    for directory in (CODE, *sorted(ledger["directories"], key=len, reverse=True)):
        if directory == CODE:
            shutil.rmtree(CODE, ignore_errors=True)
        elif os.path.isdir(directory) and not os.listdir(directory):
            os.rmdir(directory)
    _empty(STATE)
    return removed


def _empty(directory: str) -> None:
    """What the guard kept goes; the directory itself stays where it is a file system of its own."""
    for name in os.listdir(directory) if os.path.isdir(directory) else ():
        path = os.path.join(directory, name)
        if name == "lost+found":
            continue
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    if os.path.isdir(directory) and not os.path.ismount(directory) and not os.listdir(directory):
        os.rmdir(directory)


ERRANDS = {"look": look, "install": install, "remove": remove}


def main(asked: Mapping[str, Any]) -> Dict[str, Any]:
    """One errand, {errand, job, files}: its answer, or {fault: [code, message, remedy]}."""
    os.umask(0o022)
    try:
        return ERRANDS[asked["errand"]]({"files": asked["files"], **asked["job"]})
    except Fault as fault:
        return {"fault": [fault.code, str(fault), fault.remedy]}
