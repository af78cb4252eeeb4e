"""`mailmirror history`: a pair's journeys, the newest last, how each ended and why; its drills; or its decisions.

Invariant: it reads the journal and asks nobody.
"""

from __future__ import annotations

import json
import time
from typing import Any

import click

from orchestrator.cli import reach, words
from orchestrator.cli.front import Front, style_option
from orchestrator.inventory.model import Pair
from orchestrator.records import history, papers
from orchestrator.records.journal import Decision, Journal

MOST = 50


@click.command("history")
@reach.pair_argument
@click.option(
    "--decisions", is_flag=True, help="Show the last 50 decisions: each change of state, and what was held back."
)
@click.option("--drills", is_flag=True, help="Show the last 50 drills, and how long the users waited in each.")
@style_option
@click.pass_obj
def command(front: Front, pair: str | None, decisions: bool, drills: bool) -> int:
    """Show the last 50 operations of PAIR, or of all pairs."""
    if decisions:
        return _show_decisions(front, pair)
    if drills:
        return _show_drills(front, pair)
    told = [row for chosen in reach.readable(front, pair) for row in _rows(chosen)]
    if front.style == "json":
        click.echo(json.dumps(told, indent=2))
        return 0
    head = ("PAIR", "OPERATION", "BEGAN", "JOURNEY", "STATE", "BY", "REASON", "SAID")
    keys = ("pair", "operation", "at", "journey", "state", "by", "reason", "said")
    rows = [tuple(words.safe(row[key] or "-") for key in keys) for row in told]
    click.echo(words.table(head, rows), nl=False)
    return 0


def _rows(pair: Pair) -> list[dict[str, Any]]:
    if not (pair.state_dir / "journal.sqlite").exists():
        return []
    with Journal(pair.state_dir) as journal:
        found = journal.operations(pair.name)[-MOST:]
        cuts = {each.id: _cuts(journal, each.id) for each in found if each.opening.journey == "rejoin"}
    return [
        {
            "pair": pair.name, "operation": each.id, "journey": each.opening.journey, "from": each.opening.active,
            "to": each.opening.passive, "epoch": each.opening.leads, "by": each.opening.by,
            "part_of": each.opening.part_of,
            "reason": each.opening.reason, "began": each.began, "ended": each.ended, "state": str(each.state),
            "said": each.said, "report": _report(pair, each.id), "cuts": cuts.get(each.id, []),
            "at": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each.began)),
        }
        for each in found
    ]  # fmt: skip


def _show_drills(front: Front, pair: str | None) -> int:
    told = [row for chosen in reach.readable(front, pair) for row in _drills(chosen)]
    if front.style == "json":
        click.echo(json.dumps(told, indent=2))
        return 0
    rows = [
        (
            each["pair"], each["id"], each["time"], each["state"], words.safe(each["by"]),
            ", ".join(f"{part['journey']} {part['away']} s" for part in each["parts"] if part["away"]) or "-",
        )
        for each in told
    ]  # fmt: skip
    click.echo(words.table(("PAIR", "DRILL", "AT", "STATE", "BY", "USERS WAITED"), rows), nl=False)
    return 0


def _drills(pair: Pair) -> list[dict[str, Any]]:
    if not (pair.state_dir / "journal.sqlite").exists():
        return []
    with Journal(pair.state_dir) as journal:
        found = history.drills(journal, pair.name)[-MOST:]
    return [
        {"pair": pair.name, **each, "time": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each["at"]))}
        for each in found
    ]


def _show_decisions(front: Front, pair: str | None) -> int:
    told = [row for chosen in reach.readable(front, pair) for row in _decisions(chosen)]
    if front.style == "json":
        click.echo(json.dumps(told, indent=2))
        return 0
    rows = [
        (each["pair"], str(each["number"]), each["time"], each["was"], each["state"], each["does"] or "-", each["why"])
        for each in told
    ]
    head = ("PAIR", "NUMBER", "AT", "WAS", "IS", "DOES", "WHY")
    click.echo(words.table(head, rows), nl=False)
    return 0


def _decisions(pair: Pair) -> list[dict[str, Any]]:
    if not (pair.state_dir / "journal.sqlite").exists():
        return []
    with Journal(pair.state_dir) as journal:
        found = journal.decisions(pair.name, newest=MOST)
    return [_decision(each) for each in found]


def _decision(kept: Decision) -> dict[str, Any]:
    told: Any = kept.decision if isinstance(kept.decision, dict) else {}
    held = list(told.get("suppressed_by") or ())
    does = told.get("playbook") or ("restart" if told.get("restart") else "")
    would = told.get("would") or ""
    return {
        "pair": kept.pair, "number": kept.id, "at": kept.at, "operation": kept.operation, "was": told.get("was"),
        "state": told.get("state"), "event": told.get("event"), "playbook": told.get("playbook") or "",
        "restart": bool(told.get("restart")), "by": told.get("by") or "", "would": would, "held_back": held,
        "does": does or (f"would {'fail over' if would == 'failover' else would}" if would else ""),
        "why": " ".join(held) or told.get("why") or "", "evidence": list(told.get("evidence") or ()),
        "time": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(kept.at)),
    }  # fmt: skip


def _report(pair: Pair, operation: str) -> str | None:
    """Where its report by message is; None where there is none."""
    path = papers.path_of(pair.state_dir, pair.name, operation, "report")
    return str(path) if path.exists() else None


def _cuts(journal: Journal, operation: str) -> list[Any]:
    """By which cuts a returned host was compared, a store each: what was changed there after one is at risk."""
    known: Any = journal.notes(operation).get("found")
    return [each for each in known["cuts"] if each] if isinstance(known, dict) else []
