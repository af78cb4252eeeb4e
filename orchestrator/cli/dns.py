"""`mailmirror dns show|test`: where users are sent, as the name servers and the site's own commands say, and whether a
change would be taken.

Invariant: neither changes anything. `test` sends the real update with a demand that no zone meets.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Any

import click

from orchestrator.cli import reach, words
from orchestrator.cli.front import Front, style_option
from orchestrator.errors import UsageError
from orchestrator.inventory.model import Pair
from orchestrator.traffic import lifetime
from orchestrator.traffic.declared import commands_of, key_of, zone_of
from orchestrator.traffic.dns import Zone
from orchestrator.traffic.pointing import MX, agree

Row = dict[str, Any]


@click.group("dns")
def command() -> None:
    """See the names that follow the active place, and try whether they may be changed."""


@command.command("show")
@reach.pair_argument
@style_option
@click.pass_obj
def show(front: Front, pair: str | None) -> int:
    """Where users are sent, as every authoritative server says, for how long resolvers may keep it, and in which epoch;
    what the commands of mm_exec say; exit 1 when servers disagree or don't answer, or a command can't tell.
    """
    told: list[Row] = []
    for chosen in _with_traffic(front, pair):
        row: Row = {"pair": chosen.name, "agree": True}
        if zone := zone_of(chosen):
            row |= {"zone": zone.origin, **_servers(zone)}
            row["watched"] = [asdict(sight) for sight in zone.watched()]
        told.append(row | _by_command(chosen))
    _put(front, told, "".join(map(_shown, told)))
    return 0 if all(map(_is_well, told)) else 1


@command.command("test")
@reach.pair_argument
@style_option
@click.pass_obj
def test(front: Front, pair: str | None) -> int:
    """Try the key on the real change, without effect, and ask every server and command; exit 1 if one isn't well."""
    told: list[Row] = []
    for chosen in _with_traffic(front, pair):
        row: Row = {"pair": chosen.name, "agree": True, "may": "yes"}
        if chosen.dns and (zone := zone_of(chosen, key_of(chosen))):
            row |= {"zone": zone.origin, "key": zone.key.name, "may": zone.rights(), **_servers(zone)}
        told.append(row | _by_command(chosen))
    _put(front, told, "".join(map(_tested, told)))
    return 0 if all(each["may"] == "yes" and _is_well(each) for each in told) else 1


def _with_traffic(front: Front, pair: str | None) -> list[Pair]:
    found = [chosen for chosen in reach.readable(front, pair) if chosen.dns or chosen.exec]
    if not found:
        raise UsageError("No name follows the active place here.", remedy="Say mm_dns or mm_exec in the inventory.")
    return found


def _servers(zone: Zone) -> Row:
    seen = zone.seen()
    clock = time.time()
    first = seen[0]
    held: Row | None = None
    if not first.trouble:
        counted = lifetime.is_counted_on(first, zone.ttl, clock)
        held = {**asdict(lifetime.held(first)), "wanted": zone.ttl, "counted_on": counted}
    return {"agree": agree(seen), "servers": [asdict(sight) for sight in seen], "held": held}


def _by_command(pair: Pair) -> Row:
    commands = commands_of(pair)
    return {} if commands is None else {"exec": {"command": commands.name, **asdict(commands.seen())}}


def _is_well(told: Row) -> bool:
    return bool(told["agree"]) and not told.get("exec", {}).get("trouble")


# --- as text --------------------------------------------------------------------------


def _put(front: Front, told: list[Row], text: str) -> None:
    click.echo(json.dumps(told, indent=2) if front.style == "json" else text, nl=front.style == "json")


def _shown(told: Row) -> str:
    text = ""
    if "zone" in told:
        text += f"{told['pair']}: {told['zone']}\n{_table(told['servers'])}{_held(told['held'])}"
        if told["watched"]:
            text += f"Resolvers, which may remember:\n{_table(told['watched'])}"
    return text + _exec(told)


def _exec(told: Row) -> str:
    if "exec" not in told:
        return ""
    seen = told["exec"]
    epoch = "no epoch yet" if seen["epoch"] is None else f"epoch {seen['epoch']}"
    where = f"UNKNOWN: {words.safe(seen['trouble'])}" if seen["trouble"] else f"the {seen['place']}, {epoch}"
    return f"{told['pair']}: {words.safe(seen['command'])} says: {where}\n"


def _table(servers: list[Row]) -> str:
    rows = []
    for server in servers:
        mark = server["mark"]
        epoch = "-" if mark is None else f"{mark['epoch']}, {mark['active']}"
        serial = str(server["serial"])
        if server["trouble"]:
            rows.append((server["server"], "-", "-", server["trouble"], "-", "-"))
        for name, addresses in server["addresses"].items():
            shown = ", ".join(addresses) or "none"
            rows.append((server["server"], serial, name, shown, f"{server['ttls'][name]} s", epoch))
        if MX in server["ttls"]:
            shown = ", ".join(f"{preference} {host}" for preference, host in server["mx"]) or "none"
            rows.append((server["server"], serial, "MX", shown, f"{server['ttls'][MX]} s", epoch))
    return words.table(("SERVER", "SERIAL", "NAME", "ADDRESSES", "TTL", "EPOCH"), rows)


def _held(held: Row | None) -> str:
    """For how long resolvers keep what stands there now."""
    if held is None:
        return ""
    in_force = f"Resolvers keep answers for {held['ttl']} s"
    if held["ttl"] > held["wanted"]:
        return f"{in_force}; a move wants {held['wanted']} s, which is to be lowered ahead of it.\n"
    if not held["lowered"]:
        return f"{in_force}; since when isn't known.\n"
    if held["since"] is None:
        return f"{in_force}, lowered; not every name server was seen to show it yet, so older answers may live on.\n"
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(held["since"]))
    return f"{in_force}, lowered; it {'counts since' if held['counted_on'] else 'can be counted on from'} {when}.\n"


def _tested(told: Row) -> str:
    text = ""
    if "zone" in told:
        agreed = "agree" if told["agree"] else "do not agree, or not all answer: `mailmirror dns show`"
        tried = "may change the names (tried; nothing was changed)"
        may = tried if told["may"] == "yes" else f"rights are {told['may']}"
        servers = words.counted(len(told["servers"]), "name server")
        text = f"{told['pair']}: the key {words.safe(told['key'])} {may}; {servers} of {told['zone']} {agreed}.\n"
    return text + _exec(told)
