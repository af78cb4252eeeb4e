"""`mailmirror pause`: for a while nothing is done unasked, and the active place serves without an end."""

from __future__ import annotations

import getpass
import json
import time
from typing import Any

import click

from orchestrator.cli import reach, words
from orchestrator.cli.front import Front, style_option
from orchestrator.errors import TryAgain, UsageError
from orchestrator.inventory import quantities
from orchestrator.records import flags
from orchestrator.records.journal import Journal

NOBODY = TryAgain("No daemon runs.")


@click.command("pause")
@reach.pair_argument
@click.option("--for", "length", required=True, metavar="DURATION", help="For how long: 2h, 30m; at most 7d.")
@click.option("--reason", required=True, metavar="TEXT", help="Why: whoever is called meanwhile reads it.")
@style_option
@click.pass_obj
def command(front: Front, pair: str | None, length: str, reason: str) -> int:
    """Do nothing unasked for PAIR until the time is over, or `mailmirror resume`. Orders are obeyed as ever.

    Where there is a lease its granters give the active place a grant without an end first, so that it serves on though
    a guard, the witness or the network is worked on; meanwhile nobody can be promoted by the lease's end. A pause that
    is on gets the new end and reason.
    """
    chosen = reach.changeable(front, pair)
    try:
        seconds = quantities.duration(length)
    except quantities.Wrong as wrong:
        raise UsageError(f"--for: {wrong.what}.", remedy=f"{wrong.hint}.") from wrong
    request = {"verb": "pause", "pair": chosen.name, "seconds": seconds, "reason": reason}
    try:
        told: Any = reach.ask_daemon(chosen, request, NOBODY)
        told["daemon"] = True
    except TryAgain as error:
        if error is not NOBODY:
            raise
        with Journal(chosen.state_dir) as journal:
            made = flags.pause(journal, chosen.name, seconds, getpass.getuser(), reason)
        told = {"pair": chosen.name, "until": made.until, "by": made.by, "why": made.why, "daemon": False}
    if front.style == "json":
        click.echo(json.dumps(told, indent=2))
        return 0
    until = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(told["until"]))
    click.echo(words.safe(f"{chosen.name} is paused until {until}: {told['why']}"))
    if not told["daemon"]:
        click.echo("No daemon runs: the grants without an end are given once one does.")
    return 0
