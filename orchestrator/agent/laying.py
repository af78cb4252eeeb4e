"""Lays a guard down on a host: code, command, settings, key, unit, and on a mail host the boot gate's drop-ins.

The controller ships the agent's code and has one of the three `ERRANDS` done there, as root, over SSH or as its own
child. `laid` keeps what was laid, so that `unlaying` leaves /etc as it was, also after one that was cut off.

Invariant: running mail services are never stopped, started or reloaded by laying down. A mail host has one guard; a
witness may have those of several pairs, none of which notices what is done to another. A key that is another one is
never replaced.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from typing import Any, Dict, Mapping, Optional, Tuple

from . import VERSION, guardtalk, laid, marker, posture, register, unitfiles, units, unlaying
from .homes import PLAIN, Home
from .posture import replace, settle
from .register import Register
from .serve import Fault

# --- what is there ----------------------------------------------------------------------------------------------------


def look(job: Mapping[str, Any]) -> Dict[str, Any]:
    """Of the guard of `pair`: {installed, version, role, held, settings}; role: active, passive, witness, unknown."""
    home = laid.found(job["pair"])
    if home is None:
        return {"installed": False, "version": "", "role": "unknown", "held": False, "settings": {}}
    settings, current = laid.settings(home), home.code + "/current"
    version = os.readlink(current) if os.path.islink(current) else ""
    held = posture.is_held(home.state)
    role = laid.role(settings, home.state)
    return {"installed": True, "version": version, "role": role, "held": held, "settings": settings}


# --- laying down ------------------------------------------------------------------------------------------------------


def install(job: Mapping[str, Any]) -> Dict[str, Any]:
    """`job`: {settings, key (hex), sha, files (name -> text), python, may_begin}. Idempotent: what is so already is
    left alone. Returns {version, changed (paths), restarted (seconds, None when it went on running), told (lines)}.

    Raises Fault: not-root, systemd, another-pair, port-taken, another-key, active, no-marker, guard-down.
    """
    unlaying.must_be_root()
    systemd = units.version()
    settings = job["settings"]
    home = _home(settings)
    _same_key(home, job["key"])
    first = _first_register(home, settings, bool(job["may_begin"]))
    there = laid.settings(home)
    before, after = there.get("ttl"), settings["ttl"]
    leased = before == 0 and after > 0
    if before and not after and laid.role(there, home.state) == marker.ACTIVE and settings["place"] != "witness":
        raise Fault(
            "active", "this host is the active one, and the others still grant it a lease", "Update them first."
        )
    wanted = _files(home, job, systemd)
    links = _links(home, job["sha"])
    gone = laid.intend(home, settings["pair"], [*wanted, *links, laid.COMMAND])
    changed = [path for path in gone if laid.unlink(path)]
    changed += [home.code + "/" + job["sha"]] if _lay_code(home, job["sha"], job["files"]) else []
    changed += [path for path, (content, mode) in wanted.items() if laid.write(path, content, mode)]
    changed += [path for path, target in links.items() if laid.link(path, target)]
    laid.link(laid.COMMAND, home.program)
    if first is not None:
        register.keep(home.state, first)
    if any(path.startswith(unitfiles.UNITS) for path in changed):
        units.reload()
    if leased:
        _carry_over(home)
    took = _run_guard(home, bool(changed))
    _prune(home, job["sha"])
    told = (
        [] if shutil.which("nft") else ["nftables is missing: the guard stops services itself, and the lease is weaker"]
    )
    return {"version": VERSION, "changed": changed, "restarted": took, "told": told}


def _home(settings: Mapping[str, Any]) -> Home:
    """Where the guard of this pair lies, or is to lie: in the plain places if nobody's is there. Raises Fault."""
    pair, others = settings["pair"], laid.others(settings["pair"])
    home = laid.found(pair) or (Home(pair) if PLAIN in others.values() else PLAIN)
    for other, where in others.items():
        told = laid.settings(where)
        if settings["place"] != "witness" or told.get("place", "witness") != "witness":
            raise Fault(
                "another-pair",
                f"a guard of the pair {other} is there, and a mail host has one guard",
                "Give each pair mail hosts of its own and a witness that serves no mail, or take that guard off:"
                f" `mailmirror agent remove {other} HOST`.",
            )
        if told.get("port") == settings["port"]:
            raise Fault(
                "port-taken",
                f"the guard of the pair {other} hears at UDP port {settings['port']} there",
                f"Say another mm_guard_port for {pair}, and update the guards of its hosts that have one.",
            )
    if home.named and settings["place"] != "witness":
        raise Fault("another-pair", f"{pair} has its witness's guard there", "Take it off first: `agent remove`.")
    return home


def _files(home: Home, job: Mapping[str, Any], systemd: int) -> Dict[str, Tuple[str, int]]:
    settings = job["settings"]
    files = {
        home.program: (unitfiles.program(job["python"], home), 0o755),
        home.settings: (json.dumps(settings, indent=1, sort_keys=True) + "\n", 0o600),
        home.key: (job["key"] + "\n", 0o600),
        f"{unitfiles.UNITS}/{home.unit}": (unitfiles.guard_unit(settings, home), 0o644),
    }
    for unit in settings["units"]:
        files[unitfiles.drop_in_path(unit)] = (unitfiles.drop_in(unit, systemd), 0o644)
    return files


def _links(home: Home, sha: str) -> Dict[str, str]:
    wants = f"{unitfiles.UNITS}/{unitfiles.WANTED_BY}.wants/{home.unit}"
    return {home.code + "/current": sha, wants: f"{unitfiles.UNITS}/{home.unit}"}


def _same_key(home: Home, key: str) -> None:
    try:
        with open(home.key, encoding="ascii") as file:
            there = file.read().strip()
    except FileNotFoundError:
        return
    if there != key:
        raise Fault(
            "another-key",
            f"{home.key} is another controller's: its guards wouldn't understand this one",
            "Copy PAIR.guard.key from that controller's mm_state_dir, or take the guard off every host first.",
        )


def _first_register(home: Home, settings: Mapping[str, Any], may_begin: bool) -> Optional[Register]:
    """What the guard of a host that never had one begins with; None where it has, or is to learn it from the others.

    An active host goes on serving: by the word of who installs the guard, until the first grant. `may_begin`: the other
    mail host isn't active. Where it is, this one's markers are of an earlier epoch.
    """
    if settings["place"] == "witness" or register.load(home.state) is not None:
        return None
    marks = [mark for mark in map(marker.look, settings["stores"]) if mark is not None]
    if not marks:
        raise Fault("no-marker", "no store has a marker: is this host the active one?", "Run `mailmirror init` first.")
    if laid.role(settings, home.state) != marker.ACTIVE or not may_begin:
        return None
    words = "it was active when its guard was installed"
    return Register(max(mark.epoch for mark in marks), settings["place"], boot=marker.boot_id(), attested=words)


def _lay_code(home: Home, sha: str, files: Mapping[str, str]) -> bool:
    place = f"{home.code}/{sha}"
    if os.path.isdir(place):
        return False
    new = f"{home.code}/.new"
    shutil.rmtree(new, ignore_errors=True)
    package = f"{new}/orchestrator/agent"
    os.makedirs(package, 0o755)
    replace(f"{new}/orchestrator/__init__.py", b"", 0o644)
    for name, text in files.items():
        if os.path.basename(name) != name or not name.endswith(".py"):
            raise Fault("bad-request", f"the code has an odd name: {name!r:.100}")
        replace(f"{package}/{name}", text.encode(), 0o644)
    os.rename(new, place)
    settle(home.code)
    return True


def _prune(home: Home, sha: str) -> None:
    """The code of earlier versions goes: the guard runs this one by now."""
    for name in os.listdir(home.code):
        if name not in (sha, "current"):
            shutil.rmtree(f"{home.code}/{name}")


def _carry_over(home: Home) -> None:
    """The pair gets a lease, and this guard may be the first to know: what serves goes on until it is granted."""
    try:
        told = guardtalk.ask({"verb": "status"}, home.run)
        if told["serves"]:
            words = "it served when its lease was introduced"
            told = guardtalk.ask({"verb": "attest", "epoch": told["epoch"], "words": words}, home.run)
        if "error" in told:
            raise Fault("guard-down", str(told["error"]), "See `mailmirror-guard status` there, then try again.")
    except guardtalk.Silent as silent:
        raise Fault("guard-down", str(silent), "Start it, then try again: what serves must go on.") from silent


def _run_guard(home: Home, changed: bool) -> Any:
    """Start it, or start it anew when what it runs by is another; the seconds that a restart took."""
    [guard] = units.look([home.unit])
    if guard.active == "active" and not changed:
        return None
    began = time.monotonic()
    words, within = ["systemctl", "restart", home.unit], unlaying.within(laid.settings(home))
    with unlaying.untidied(home):
        done = subprocess.run(words, capture_output=True, text=True, timeout=within, check=False)
    if done.returncode:
        log = subprocess.run(
            ["journalctl", "--no-pager", "-n", "10", "-o", "cat", "-u", home.unit],
            capture_output=True,
            text=True,
            check=False,
        )
        raise Fault("guard-down", f"the guard doesn't start: {log.stdout[-1500:]}", "Mend it; all files are laid down.")
    return time.monotonic() - began if guard.active == "active" else None


ERRANDS = {"look": look, "install": install, "remove": unlaying.remove}


def main(asked: Mapping[str, Any]) -> Dict[str, Any]:
    """One errand, {errand, job, files}: its answer, or {fault: [code, message, remedy]}."""
    os.umask(0o022)
    try:
        return ERRANDS[asked["errand"]]({"files": asked["files"], **asked["job"]})
    except Fault as fault:
        return {"fault": [fault.code, str(fault), fault.remedy]}
