"""`mailmirror config check|schema|show`: what the inventory says, and whether it can be used.

Invariant: reads the inventory and nothing else; connects to no host, changes nothing, prints no secret.
"""

from __future__ import annotations

import json
from collections.abc import Sequence, Sized
from dataclasses import asdict

import click

from orchestrator.cli import reach
from orchestrator.inventory.find import locate
from orchestrator.inventory.load import Reading, read
from orchestrator.inventory.schema import json_schema
from orchestrator.inventory.settings import Setting, settings


@click.group("config")
def command() -> None:
    """Check or show the inventory."""


@command.command("check")
@click.pass_context
def check(context: click.Context) -> None:
    """Say what is wrong with the inventory, all at once (exit 78), and what this version doesn't use."""
    reading = _read(context)
    inventory = reading.inventory
    hosts = {name for pair in inventory.pairs.values() for name in pair.hosts}
    click.echo(f"{inventory.path}: {_count(inventory.pairs, 'pair')}, {_count(hosts, 'host')}: no problems")
    for pair in inventory.pairs.values():
        if pair.not_used:
            click.echo(f"{pair.name}: not used by this version: {', '.join(pair.not_used)}")


@command.command("schema")
def schema() -> None:
    """Print a JSON Schema of the inventory, for editors."""
    click.echo(json.dumps(json_schema(), indent=2))


@command.command("show")
@reach.pair_argument
@click.option("--format", "style", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.pass_context
def show(context: click.Context, pair: str | None, style: str) -> None:
    """Print every value in effect and where it comes from: default, all, pair or host."""
    reading = _read(context)
    if pair is not None and pair not in reading.inventory.pairs:
        raise click.UsageError(f"The inventory has no pair {pair}; it has {', '.join(reading.inventory.pairs)}.")
    chosen = [setting for setting in settings(reading) if pair in (None, setting.pair)]
    if style == "json":
        click.echo(json.dumps([asdict(setting) for setting in chosen], indent=2, ensure_ascii=False))
        return
    for line in _table(chosen):
        click.echo(line)


def _read(context: click.Context) -> Reading:
    front = context.find_root().obj
    explicit: str | None = getattr(front, "inventory_path", None)
    return read(locate(explicit))


def _count(things: Sized, noun: str) -> str:
    number = len(things)
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _table(chosen: Sequence[Setting]) -> list[str]:
    """Settings in paragraphs, one for a pair's own and one for each host; key, value and origin in columns."""
    key_width = max(len(setting.key) for setting in chosen)
    value_width = min(60, max(len(setting.value) for setting in chosen))
    lines: list[str] = []
    heading = ""
    for setting in chosen:
        now = f"{setting.pair} / {setting.host}" if setting.host else setting.pair
        if now != heading:
            lines += ["", now] if lines else [now]
            heading = now
        origin = f"{setting.origin}, line {setting.line}" if setting.line else setting.origin
        lines.append(f"  {setting.key:{key_width}}  {setting.value:{value_width}}  {origin}")
    return lines
