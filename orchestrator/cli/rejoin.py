"""`mailmirror rejoin`: a lost host comes home as the passive place, and what it never handed over is delivered.

Invariant: a dry run changes nothing, on no host.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from orchestrator.cli import reach, travel, words
from orchestrator.cli.front import Front, journey_options
from orchestrator.failover import reporting
from orchestrator.inventory.model import Pair
from orchestrator.records import papers

SHOWN = 200
"""Lines of a plan that are printed; --format json has them all."""


@click.command("rejoin")
@reach.pair_argument
@click.option("--dry-run", is_flag=True, help="Print what it would bring home, by message; change nothing.")
@click.option(
    "--ctimes",
    type=click.Choice(["trust", "void"]),
    help="What ctimes on the returned host are good for, where most are alike: they count, or they say nothing.",
)
@journey_options
@click.pass_obj
def command(front: Front, pair: str | None, dry_run: bool, ctimes: str | None, yes: bool, reason: str) -> int:
    """Bring the lost host of PAIR home: deliver what only it has at the active place, then make it a copy again.

    Its own expunges are listed, never applied. Exit 7 when it is stuck: `mailmirror history` says why.
    """
    chosen = reach.changeable(front, pair)
    if dry_run:
        told = travel.plan(front, chosen, "rejoin", ctimes or "count")
        if front.style == "json":
            click.echo(json.dumps(told, indent=2))
        else:
            click.echo(travel.planned(chosen, "rejoin", told))
            click.echo(_survey(chosen, told["survey"]), nl=False)
        return 0
    if not yes:
        survey = travel.plan(front, chosen, "rejoin", ctimes or "count")["survey"]
        sys.stderr.write(_numbers(chosen, survey))
    reach.confirm(f"Begin the rejoin of {chosen.name}?", yes)
    ended = travel.carried_out(front, chosen, "rejoin", reason, {"ctimes": ctimes} if ctimes else {})
    path = papers.path_of(chosen.state_dir, chosen.name, ended["operation"], reporting.REPORT)
    report = papers.read(path) if path.exists() else None
    if front.style == "json":
        return travel.ended(front, {**ended, "report_path": str(path) if report else None, "report": report})
    code = travel.ended(front, ended)
    if report is not None:
        rows = [f"  {count:>9,}  {_COUNTS[name]}\n" for name, count in report["counts"].items()]
        click.echo("".join(rows) + f"By message: {path}\n", nl=False)
    return code


_COUNTS = {
    "delivered": "delivered as new: they had never left the host",
    "applied": "of its own changes applied (flags, places, folders)",
    "outrun": "of its own changes not applied: the active had changed the same meanwhile",
    "at_risk": "expunges and changes after the cut: at risk, listed, not applied",
    "aside": "left in its reclaim area for a person",
    "listed": "only listed",
}


def _numbers(pair: Pair, survey: dict[str, Any]) -> str:
    """What the plan comes to."""
    told = f"{pair.name}: {reporting.sentence(survey['counts'])}\n{pair.name}: {survey['queue']}\n"
    if survey["no_account"]:
        told += f"{pair.name}: accounts that have to be made at the active first: {', '.join(survey['no_account'])}\n"
    if survey["asks"]:
        told += (
            f"{pair.name}: {survey['share']:.0%} of the files have later ctimes than was acknowledged: it would stop"
            " and ask for --ctimes trust or void\n"
        )
    return told


def _survey(pair: Pair, survey: dict[str, Any]) -> str:
    lines = [line for store in survey["stores"] for line in store["lines"]]
    rows = [
        tuple(
            words.safe(str(each))
            for each in (line["kind"], line["account"], line["folder"], line["base"], line["told"])
        )
        for line in lines[:SHOWN]
    ]
    table = words.table(("KIND", "ACCOUNT", "FOLDER", "MESSAGE", "SEEN"), rows) if rows else ""
    more = f"... and {len(lines) - SHOWN:,} more: --format json has them all\n" if len(lines) > SHOWN else ""
    return _numbers(pair, survey) + table + more
