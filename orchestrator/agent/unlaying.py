"""Takes the guard of one pair off a host, with all that it did there.

Invariant: a host that is active goes on serving when its guard is taken away: the gate is opened, its addresses stay. A
passive one doesn't begin to: its mail services are stopped before nothing keeps them from the mirror's stores any more.
Whether a unit starts at the next boot is never changed, but told.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from typing import Any, Dict, Iterator, List, Mapping

from . import address, advertised, laid, marker, posture, unitfiles, units
from .homes import Home
from .posture import replace, settle
from .serve import Fault

TABLES = "mailmirror"
"""How the names of the gate's nftables tables begin."""
READY_WITHIN = 30.0


def must_be_root() -> None:
    """Raises Fault("not-root")."""
    if os.geteuid() != 0:
        raise Fault(
            "not-root", "the guard can only be laid down and taken away by root", "Log in as root, or use sudo."
        )


def within(settings: Mapping[str, Any]) -> float:
    """How long the guard may take to end, and to be ready again: a granter lets the active have a grant first."""
    return READY_WITHIN + float(settings.get("ttl", 0))


def remove(job: Mapping[str, Any]) -> Dict[str, Any]:
    """`job`: {pair, even_active: bool, markers: bool}. Idempotent; other pairs' guards on this host are left alone.

    Returns {removed (paths), stopped (units), told (lines)}. Raises Fault: not-root, active (this host is the active
    one and `even_active` isn't said), still-running, guard-up, and what `posture` and `advertised` do.
    """
    must_be_root()
    home = laid.found(job["pair"])
    if home is None:
        return {"removed": [], "stopped": [], "told": []}
    settings = laid.settings(home)
    role = laid.role(settings, home.state) if settings else ""
    serves = role in (marker.ACTIVE, "unknown")
    if serves and not job["even_active"]:
        what = "is the active one" if role == marker.ACTIVE else "may be the active one: nothing here says"
        raise Fault("active", f"this host {what}", "Say its name with --active to take the guard off all the same.")
    drop_ins = [path for path in laid.ledger(home)["paths"] if path.endswith(unitfiles.DROP_IN)]
    held = posture.is_held(home.state)
    stopped: List[str] = []
    told: List[str] = []
    if [path for path in drop_ins if laid.unlink(path)]:
        units.reload()  # before the guard is stopped: what is started meanwhile would start it again
    _stop_guard(home, settings, keep_addresses=serves)
    if held or role == marker.PASSIVE:
        stopped = [unit.name for unit in units.look(settings.get("units", ())) if unit.there and not unit.stopped]
        if (proof := units.stop(stopped)).state != posture.DONE:
            raise Fault("still-running", "; ".join(proof.why), "Stop them by hand, then try again.")
    if drop_ins:
        _open_gate()
    told += posture.release(home.state)
    advertised.lift(home.state)
    told += [f"{name} stays masked" for name in units.unmask(settings.get("units", ()))]
    told += _starts_at_boot(settings) if role == marker.PASSIVE else []
    if job["markers"]:
        told += _remove_markers(settings.get("stores", ()))
    removed = laid.take_away(home, next(iter(laid.others(job["pair"]).values()), None))
    shutil.rmtree(_untidied_at(home), ignore_errors=True)  # an installer that was killed may have left it
    units.reload()
    laid.forget(home)
    return {"removed": removed, "stopped": stopped, "told": told}


def _starts_at_boot(settings: Mapping[str, Any]) -> List[str]:
    """What nothing keeps down any more after the next boot of a passive host."""
    names = [unit.name for unit in units.look(settings["units"]) if unit.there and unit.enabled == "enabled"]
    if not names:
        return []
    return [f"nothing keeps {', '.join(names)} down after a reboot: disable what isn't to serve here (systemctl)"]


def _stop_guard(home: Home, settings: Mapping[str, Any], keep_addresses: bool) -> None:
    """Stop it, and let what it does at its end not take the users' address from a host that goes on serving."""
    [guard] = units.look([home.unit])
    stood = [(plain, where) for plain, where in settings.get("addresses", ()) if _stands(plain, where)]
    with untidied(home) if guard.there and keep_addresses else contextlib.nullcontext():
        if guard.there and (proof := units.stop([home.unit], within(settings))).state != posture.DONE:
            raise Fault("guard-up", "; ".join(proof.why), "Stop it by hand: systemctl stop " + home.unit)
    for plain, where in stood:
        if keep_addresses and not _stands(plain, where):
            address.add(plain, where, quick=True)
        elif not keep_addresses:
            address.remove(plain, where)


@contextlib.contextmanager
def untidied(home: Home) -> Iterator[None]:
    """Meanwhile the guard's end leaves the addresses where they are; the next one decides, or nobody minds them."""
    directory = _untidied_at(home)
    os.makedirs(directory, 0o755, exist_ok=True)
    replace(f"{directory}/mailmirror-untidied.conf", b"[Service]\nExecStopPost=\n", 0o644)
    units.reload()
    try:
        yield
    finally:
        shutil.rmtree(directory)
        units.reload()


def _untidied_at(home: Home) -> str:
    return f"/run/systemd/system/{home.unit}.d"


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
        if os.path.isfile(path) and not os.path.islink(path) and laid.unlink(path):
            settle(os.path.dirname(path))
            told.append(f"{store} has no marker any more: it is no pair's store")
    return told
