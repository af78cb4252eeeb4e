"""`mailmirror failover`: the passive place takes over without the help of the active one, once that is fenced.

Invariant: nothing is begun before it was told what may be lost, and the pair's name was typed for it.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import reach, status, travel, words
from orchestrator.cli.front import Front, journey_options

if TYPE_CHECKING:
    from orchestrator.inventory.model import Pair

JOURNEY = "failover"


@click.command(JOURNEY)
@reach.pair_argument
@click.option("--dry-run", is_flag=True, help="Print the plan with each step's present proof; change nothing.")
@click.option("--accept-loss", is_flag=True, help="What is named may be missing. PAIR has to be typed too.")
@click.option(
    "--attest-fenced", default="", metavar="TEXT", help="State, on the record, that the active host can't serve: how."
)
@journey_options
@click.pass_obj
def command(
    front: Front, pair: str | None, dry_run: bool, accept_loss: bool, attest_fenced: str, yes: bool, reason: str
) -> int:
    """Make the passive place of PAIR active, though the active one may be lost.

    Nobody is promoted before it is proven that the active one can't serve: it stopped by itself, its lease has run
    out, a fence device says that it is off, or you state it. Without a proof all is rolled back (exit 1).
    """
    del yes  # it never covers loss
    chosen = reach.changeable(front, pair)
    if dry_run:
        travel.show_plan(front, chosen, JOURNEY)
        return 0
    told = travel.plan(front, chosen, JOURNEY)
    sys.stderr.write(travel.planned(chosen, JOURNEY, told) + "\n" + at_risk(chosen, told) + "\n")
    reach.confirm_loss(chosen, pair, accept_loss, f"failover {chosen.name} --accept-loss")
    if attest_fenced:
        _attest(chosen, told, attest_fenced)
    return travel.order(front, chosen, JOURNEY, reason)


def at_risk(pair: Pair, told: dict[str, Any]) -> str:
    """What may be missing afterwards, by the last contact with the active, in a sentence."""
    old, new = _host(pair, told["active"]), _host(pair, told["passive"])
    [known] = status.look([pair])["pairs"]
    copy = next((each for each in known["passives"] if each["host"] == new), None)
    if copy is None or not known["taken_at"] or known["active"] != old:
        what, when = f"nobody knows how much {new} lacks", "never seen"
    else:
        lag = copy["lag_seconds"]
        behind = "" if not copy["pending"] or lag is None else f", the oldest {words.span(lag)} old"
        what = f"{new} lacked {words.counted(copy['pending'], 'change')}{behind}"
        when = f"last seen {words.span(max(0.0, time.time() - known['taken_at']))} ago"
    return (
        f"At risk: {what} ({when}), and whatever {old} has taken since. A rejoin brings it back, if its disk can be "
        "read again."
    )


def _attest(pair: Pair, told: dict[str, Any], text: str) -> None:
    attest = importlib.import_module("orchestrator.fencing.attest")  # late, as every verb's own needs
    host, epoch = _host(pair, told["active"]), int(told["epoch"])
    said = attest.state(pair, host, epoch, epoch, text, uid=os.getuid(), pid=os.getpid())
    sys.stderr.write(f"Recorded: {words.safe(said.by)} states that {said.host} can't serve in epoch {epoch}.\n")


def _host(pair: Pair, place: str) -> str:
    found = pair.at(place)
    return found.name if found is not None else place
