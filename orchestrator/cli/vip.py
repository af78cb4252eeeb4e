"""`mailmirror vip show|test`: which host has the moving addresses, and whether they could move.

Who is active is what the stores' markers say. Invariant: neither verb changes anything. `test` asks the link from every
mail host who has the addresses, which teaches nobody anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Any

import click

from orchestrator.cli import reach, words
from orchestrator.cli.front import Front, style_option
from orchestrator.errors import AgentFault, HostError, NotPermitted, Refused, UsageError
from orchestrator.inventory.model import MIRROR, PRIMARY, Host, Pair, Vip
from orchestrator.remote.host import Conversation
from orchestrator.remote.opening import open_conversation
from orchestrator.traffic import holding
from orchestrator.traffic import vip as moving
from orchestrator.traffic.holding import Sight, plain

Row = dict[str, Any]
SECONDS = 10.0


@click.group("vip")
def command() -> None:
    """See the addresses that move with the active place, and try whether they could."""


@command.command("show")
@reach.pair_argument
@style_option
@click.pass_obj
def show(front: Front, pair: str | None) -> int:
    """Which host has which address, and which ought to; exit 1 when that isn't the same."""
    told = [_told(chosen, addresses, False) for chosen, addresses in _with_addresses(front, pair)]
    _put(front, told, "".join(map(_shown, told)))
    return 0 if not any(each["problems"] for each in told) else 1


@command.command("test")
@reach.pair_argument
@style_option
@click.pass_obj
def test(front: Front, pair: str | None) -> int:
    """Try all of a move but the move: interfaces, rights, and who answers for the addresses; exit 1 when one fails."""
    told = [_told(chosen, addresses, True) for chosen, addresses in _with_addresses(front, pair)]
    _put(front, told, "".join(map(_tested, told)))
    return 0 if not any(each["problems"] for each in told) else 1


def _told(pair: Pair, vip: Vip, trying: bool) -> Row:
    """What stands, what ought to, and what is wrong with it."""
    with _ends(pair, vip) as (ends, active):
        hosts = [end.host for end in ends]
        seen = moving.Vip(vip.addresses, ends).seen(probing=hosts if trying else ())
    if active:
        problems = (holding.unready if trying else holding.unlike)(seen, active, vip.addresses)
    else:
        problems = ["Not just one marker says that its place is active: who ought to have them isn't known."]
        problems += [f"{sight.host}: {why}" for sight in seen if (why := sight.unseen or sight.trouble)]
    rows = [{**asdict(sight), "place": pair.hosts[sight.host].place} for sight in seen]
    return {
        "pair": pair.name, "addresses": list(vip.addresses), "active": active, "hosts": rows, "problems": problems,
    }  # fmt: skip


@contextmanager
def _ends(pair: Pair, vip: Vip) -> Iterator[tuple[list[moving.End], str]]:
    """The mail hosts, and which of them is active ("": not known)."""
    with ExitStack() as stack:
        ends, active = [], []
        for host in (pair.at(PRIMARY), pair.at(MIRROR)):
            if host is None:
                continue
            interface = host.vip_interface or vip.interface
            try:
                conversation = open_conversation(host)
                stack.callback(conversation.close)
                active += [host.name] if _is_active(host, conversation) else []
                ends.append(moving.End(host.name, interface, moving.asking(conversation)))
            except (HostError, NotPermitted, Refused) as error:
                ends.append(moving.End(host.name, interface, moving.unreachable(error)))
        yield ends, active[0] if len(active) == 1 else ""


def _is_active(host: Host, conversation: Conversation) -> bool:
    """Whether its first store's marker says so; False where it can't be read."""
    try:
        said = conversation.request("store.look", {"store": host.stores[0].root}, timeout=SECONDS).head
    except AgentFault:
        return False
    marker = said.get("marker")
    return isinstance(marker, dict) and marker.get("role") == "active"


def _put(front: Front, told: list[Row], text: str) -> None:
    click.echo(json.dumps(told, indent=2) if front.style == "json" else text, nl=front.style == "json")


def _shown(told: Row) -> str:
    rows = []
    for host in told["hosts"]:
        role = "unknown" if not told["active"] else "active" if host["host"] == told["active"] else "passive"
        link = "-" if host["unseen"] else host["mac"] or "no link"
        for address in told["addresses"]:
            rows.append((host["host"], host["place"], role, host["interface"], link, address, _stands(host, address)))
    table = words.table(("HOST", "PLACE", "ROLE", "INTERFACE", "MAC", "ADDRESS", "STANDS"), rows)
    return f"{told['pair']}\n{table}{_problems(told)}"


def _stands(host: Row, address: str) -> str:
    if host["unseen"]:
        return "unknown"
    found = [
        f"{'yes' if usable else 'unusable'} ({', '.join([f'/{prefix}', interface, *flags])})"
        for stood, prefix, interface, usable, flags in host["stands"]
        if stood == plain(address)
    ]
    return "; ".join(found) or "no"


def _tested(told: Row) -> str:
    text = ""
    for host in told["hosts"]:
        for address, mac in host["claims"].items():
            whose = "nobody else" if mac is None else _whose(told, mac)
            text += f"{told['pair']}: asked from {host['host']}, {whose} answers for {address}.\n"
    if not told["problems"]:
        addresses = words.counted(len(told["addresses"]), "address", "addresses")
        text += f"{told['pair']}: {addresses} could move (tried; nothing was changed).\n"
    return text + _problems(told)


def _whose(told: Row, mac: str) -> str:
    return holding.whose(mac, [Sight(host["host"], host["interface"], host["mac"]) for host in told["hosts"]])


def _problems(told: Row) -> str:
    return "".join(f"{told['pair']}: {words.safe(problem)}\n" for problem in told["problems"])


def _with_addresses(front: Front, pair: str | None) -> list[tuple[Pair, Vip]]:
    found = [(chosen, chosen.vip) for chosen in reach.readable(front, pair) if chosen.vip is not None]
    if not found:
        raise UsageError("No address moves with the active place here.", remedy="Say mm_vip in the inventory.")
    return found
