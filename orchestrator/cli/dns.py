"""`mailmirror dns show|test`: what the name servers say of the moving names, and whether they would take a change.

Invariant: neither changes anything. `test` sends the real change with a demand that no zone meets.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from orchestrator.cli import reach, words
from orchestrator.cli.front import Front, style_option
from orchestrator.errors import UsageError
from orchestrator.inventory import secret
from orchestrator.inventory.model import Dns, Pair
from orchestrator.traffic import tsig
from orchestrator.traffic.dns import Key, Zone
from orchestrator.traffic.pointing import agree

Row = dict[str, Any]


@click.group("dns")
def command() -> None:
    """See the names that follow the active place, and try whether they may be changed."""


@command.command("show")
@click.argument("pair", required=False)
@style_option
@click.pass_obj
def show(front: Front, pair: str | None) -> int:
    """What every authoritative server says of the names, and of the epoch beside them; exit 1 when they disagree."""
    told: list[Row] = []
    for chosen, names in _with_names(front, pair):
        told.append({"pair": chosen.name, "zone": names.zone, **_servers(_zone(names, Key("", "hmac-sha256", b"")))})
    _put(front, told, "".join(f"{each['pair']}: {each['zone']}\n{_table(each['servers'])}" for each in told))
    return 0 if all(each["agree"] for each in told) else 1


@command.command("test")
@click.argument("pair", required=False)
@style_option
@click.pass_obj
def test(front: Front, pair: str | None) -> int:
    """Try the key on the real change, without effect, and ask every server; exit 1 when a change wouldn't be proven."""
    told: list[Row] = []
    for chosen, names in _with_names(front, pair):
        key = tsig.parse(secret.read(names.tsig), f"mm_dns: tsig ({names.tsig.kind} {names.tsig.where})")
        zone = _zone(names, key)
        may = zone.rights()
        told.append({"pair": chosen.name, "zone": names.zone, "key": key.name, "may": may, **_servers(zone)})
    _put(front, told, "".join(map(_tested, told)))
    return 0 if all(each["may"] == "yes" and each["agree"] for each in told) else 1


def _put(front: Front, told: list[Row], text: str) -> None:
    click.echo(json.dumps(told, indent=2) if front.style == "json" else text, nl=front.style == "json")


def _table(servers: list[Row]) -> str:
    rows = []
    for server in servers:
        mark = server["mark"]
        epoch = "-" if mark is None else f"{mark['epoch']}, {mark['active']}"
        if server["trouble"]:
            rows.append((server["server"], "-", "-", server["trouble"], "-", "-"))
        for name, addresses in server["addresses"].items():
            shown = ", ".join(addresses) or "none"
            rows.append((server["server"], str(server["serial"]), name, shown, f"{server['ttls'][name]} s", epoch))
    return words.table(("SERVER", "SERIAL", "NAME", "ADDRESSES", "TTL", "EPOCH"), rows)


def _tested(told: Row) -> str:
    agreed = "agree" if told["agree"] else "do not agree, or not all answer: `mailmirror dns show`"
    may = "may change the names (tried; nothing was changed)" if told["may"] == "yes" else f"rights are {told['may']}"
    servers = words.counted(len(told["servers"]), "name server")
    return f"{told['pair']}: the key {words.safe(told['key'])} {may}; {servers} of {told['zone']} {agreed}.\n"


def _with_names(front: Front, pair: str | None) -> list[tuple[Pair, Dns]]:
    found = [(chosen, chosen.dns) for chosen in reach.readable(front, pair) if chosen.dns is not None]
    if not found:
        raise UsageError("No name follows the active place here.", remedy="Say mm_dns in the inventory.")
    return found


def _zone(names: Dns, key: Key) -> Zone:
    return Zone(names.server, names.zone, names.names, key)


def _servers(zone: Zone) -> Row:
    seen = zone.seen()
    return {"agree": agree(seen), "servers": [asdict(sight) for sight in seen]}
