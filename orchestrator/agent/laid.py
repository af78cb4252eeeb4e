"""What was laid down for a guard, and what it says it is: its ledger of files, and files made and unmade durably.

The ledger lies with the guard's register and is written before the first file, so that all can be taken away again,
also after an installation that was cut off. It is the last file that goes.

Invariant: of two guards on a host none takes away what the other one needs, and who goes last leaves nothing.
"""

from __future__ import annotations

import json
import os
import shutil
from typing import Any, Dict, List, Mapping, Optional

from . import homes, marker, register
from .homes import PLAIN, Home
from .posture import replace, settle
from .settings import pair_of

COMMAND = "/usr/local/sbin/mailmirror-guard"
"""The program of the guard that was laid last."""
LEDGER = "laid.json"
_NEW = ".mailmirror-new"


# --- which guard is where ---------------------------------------------------------------------------------------------


def others(pair: str) -> Dict[str, Home]:
    """The guards of other pairs on this host, half-laid ones included."""
    pairs = f"{homes.STATE}/{homes.PAIRS}"
    found = [PLAIN, *map(Home, sorted(os.listdir(pairs)) if os.path.isdir(pairs) else ())]
    return {owner: home for home in found if is_laid(home) and (owner := owner_of(home)) not in ("", pair)}


def found(pair: str) -> Optional[Home]:
    """Where the guard of this pair was laid, or an installation of it was cut off; None where it never was."""
    if is_laid(Home(pair)):
        return Home(pair)
    return PLAIN if is_laid(PLAIN) and owner_of(PLAIN) in ("", pair) else None


def is_laid(home: Home) -> bool:
    ledger = os.path.join(home.state, LEDGER)
    return os.path.exists(ledger) or os.path.exists(ledger + _NEW)  # its first word, cut off


def owner_of(home: Home) -> str:
    """The pair for which it was laid: the ledger says so, or where an earlier version wrote that, the settings."""
    return str(ledger(home).get("pair") or pair_of(home))


def settings(home: Home) -> Dict[str, Any]:
    """Its guard.json; empty where there is none."""
    try:
        with open(home.settings, encoding="utf-8") as file:
            return dict(json.load(file))
    except (FileNotFoundError, ValueError):
        return {}


def role(told: Mapping[str, Any], state: str) -> str:
    """What this host is: by its guard's register, which is the authority, else by the stores' markers, of which one
    that is active makes it active. `unknown` where neither can be read. `told` are its settings.
    """
    if told.get("place") == "witness":
        return "witness"
    try:
        known = register.load(state)
    except register.Damaged:
        return "unknown"
    if known is not None and known.epoch:
        return marker.ACTIVE if known.active == told.get("place") else marker.PASSIVE
    roles = {mark.role if mark else "unknown" for mark in map(marker.look, told.get("stores", ()))}
    return marker.ACTIVE if marker.ACTIVE in roles else roles.pop() if len(roles) == 1 else "unknown"


# --- the ledger -------------------------------------------------------------------------------------------------------


def ledger(home: Home) -> Dict[str, Any]:
    """{pair, paths, directories}."""
    try:
        with open(os.path.join(home.state, LEDGER), encoding="utf-8") as file:
            return dict(json.load(file))
    except FileNotFoundError:
        return {"paths": [], "directories": []}


def intend(home: Home, pair: str, paths: List[str]) -> List[str]:
    """Have the ledger name all that is about to be laid; returns what an earlier version laid and this one doesn't."""
    before = ledger(home)
    missing = set()
    for path in (*paths, home.code + "/x", home.state):
        directory = os.path.dirname(path)
        while not os.path.isdir(directory):
            missing.add(directory)
            directory = os.path.dirname(directory)
    os.makedirs(home.state, 0o700, exist_ok=True)
    directories = sorted({*before["directories"], *missing})
    _keep(home, {"pair": pair, "paths": sorted({*before["paths"], *paths}), "directories": directories})
    return [path for path in before["paths"] if path not in paths]


def _keep(home: Home, what: Mapping[str, Any]) -> None:
    replace(os.path.join(home.state, LEDGER), json.dumps(what, indent=1).encode(), 0o600)


def take_away(home: Home, heir: Optional[Home]) -> List[str]:
    """Every file and directory that the ledger names; returns the files. `heir`: another guard on this host, which
    keeps the command and takes over the directories that both need.
    """
    mine = ledger(home)
    if heir is not None:
        theirs = ledger(heir)
        _keep(heir, {**theirs, "directories": sorted({*theirs["directories"], *mine["directories"]})})
        link(COMMAND, heir.program)
    paths = [path for path in mine["paths"] if heir is None or path != COMMAND]
    removed = [path for path in paths if unlink(path)]
    for path in paths:
        unlink(path + _NEW)  # of an installation that was cut off
    shutil.rmtree(home.code, ignore_errors=True)
    for directory in sorted(mine["directories"], key=len, reverse=True):
        _drop(directory)
    return removed


def forget(home: Home) -> None:
    """All that the guard kept goes, but for what further guards of this host keep below it; the ledger goes last."""
    names = set(os.listdir(home.state)) - {"lost+found", homes.PAIRS}
    for name in sorted(names, key=lambda name: name == LEDGER):
        path = os.path.join(home.state, name)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    for directory in (home.state, f"{homes.STATE}/{homes.PAIRS}", homes.STATE):
        _drop(directory)


def _drop(directory: str) -> None:
    """An empty directory goes; one that is a file system of its own stays."""
    if os.path.isdir(directory) and not os.path.ismount(directory) and not os.listdir(directory):
        os.rmdir(directory)


# --- files ------------------------------------------------------------------------------------------------------------


def write(path: str, content: str, mode: int) -> bool:
    """Whether it had to be written: another content or mode stood there, or none."""
    try:
        with open(path, encoding="utf-8") as file:
            if file.read() == content and os.fstat(file.fileno()).st_mode & 0o7777 == mode:
                return False
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    replace(path, content.encode(), mode)
    return True


def link(path: str, target: str) -> bool:
    """Whether the symbolic link had to be made, or made anew."""
    if os.path.islink(path) and os.readlink(path) == target:
        return False
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    new = path + _NEW
    unlink(new)
    os.symlink(target, new)
    os.rename(new, path)
    settle(os.path.dirname(path))
    return True


def unlink(path: str) -> bool:
    """Whether there was one."""
    if not os.path.lexists(path):
        return False
    os.unlink(path)
    return True
