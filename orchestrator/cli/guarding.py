"""The guard's part of `mailmirror agent install|update|remove`: what would be done, asked, done, and told.

Invariant: a host that is active, or may be, loses its guard only when its name was typed for it; --yes isn't enough.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import click

from orchestrator.errors import Refused
from orchestrator.records import pairkey

if TYPE_CHECKING:
    from orchestrator.inventory.model import Host, Pair


def has_one(pair: Pair, host: Host) -> bool:
    """Whether the host of this pair gets a guard."""
    return bool(importlib.import_module("orchestrator.remote.guarded").has_guard(pair, host))


def plan(pair: Pair, host: Host) -> str:
    """What laying it down means, in a sentence or two."""
    units = importlib.import_module("orchestrator.remote.guarded").units(pair)
    gated = f", and a boot gate on {', '.join(units)}" if host.place != "witness" else ""
    lease = f" The lease is {pair.lease:g} s." if pair.lease is not None else " There is no lease."
    return f"The guard: a unit of its own, UDP port {pair.guard_port}{gated}. What runs goes on running.{lease}"


def lay(pair: Pair, host: Host, timeout: float | None) -> dict[str, Any]:
    """Lay it down, or bring it up to date. Raises as `remote.guarding.install`."""
    guarding = importlib.import_module("orchestrator.remote.guarding")
    key = pairkey.key(pair.state_dir, pair.name)
    done: dict[str, Any] = guarding.install(pair, host, key, timeout or guarding.WITHIN)
    return done


def laid(host: Host, done: dict[str, Any]) -> str:
    """What came of it, in words."""
    restarted = done["restarted"]
    again = f"; it was started anew, in {restarted:.1f} s" if restarted is not None else ""
    state = f"brought up to {done['version']}{again}" if done["changed"] else f"{done['version']} stood there already"
    return f"{host.name}: the guard: {state}.\n" + "".join(f"{host.name}: {line}.\n" for line in done["told"])


def look(pair: Pair, host: Host, timeout: float | None) -> dict[str, Any]:
    """What is there. Raises as `remote.guarding.look`."""
    guarding = importlib.import_module("orchestrator.remote.guarding")
    found: dict[str, Any] = guarding.look(pair, host, timeout or guarding.WITHIN)
    return found


def loss(host: Host, found: dict[str, Any], markers: bool) -> str:
    """What taking it away means, in a sentence or two."""
    if not found["installed"]:
        return "There is no guard."
    said = f"The guard goes, with the boot gate, its state and its key; the place is {found['role']}."
    if found["held"]:
        said += " Its Postfix only queues: the mail services are stopped, and stay so, before its values are put back."
    return said + (" The stores lose their markers." if markers else "")


def demand_name(host: Host, found: dict[str, Any], typed: str | None) -> bool:
    """Whether the host is active, or may be, and its name was typed for it. Raises Refused, click.Abort."""
    if not found["installed"] or found["role"] not in ("active", "unknown"):
        return False
    if typed is None and sys.stdin.isatty():
        sys.stderr.write(f"{host.name} {_is(found)}: nothing will keep a second one from serving beside it.\n")
        typed = click.prompt("To go on, type the host's name", default="", show_default=False, err=True)
        if typed != host.name:
            raise click.Abort
    if typed != host.name:
        raise Refused(
            f"{host.name} {_is(found)}: without its guard nothing keeps a second one from serving beside it.",
            remedy=f"If it is meant, say --active {host.name}; mail goes on being served.",
        )
    return True


def _is(found: dict[str, Any]) -> str:
    return "is the active place" if found["role"] == "active" else "may be the active place"


def take(pair: Pair, host: Host, even_active: bool, markers: bool, timeout: float | None) -> dict[str, Any]:
    """Take it away. Raises as `remote.guarding.remove`."""
    guarding = importlib.import_module("orchestrator.remote.guarding")
    done: dict[str, Any] = guarding.remove(pair, host, even_active, markers, timeout or guarding.WITHIN)
    return done


def taken(host: Host, done: dict[str, Any]) -> str:
    """What came of it, in words."""
    lines = [f"the guard is gone, {len(done['removed'])} files with it" if done["removed"] else "there was no guard"]
    if done["stopped"]:
        lines.append(f"{', '.join(done['stopped'])} is stopped: start it only when this host is to deliver mail")
    return "".join(f"{host.name}: {line}.\n" for line in [*lines, *done["told"]])
