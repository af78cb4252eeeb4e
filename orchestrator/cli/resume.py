"""`mailmirror resume`: a pause ends, and what was held may be decided again."""

from __future__ import annotations

import getpass
import json
import time
from typing import Any

import click

from orchestrator.cli import reach, words
from orchestrator.cli.front import Front, style_option
from orchestrator.errors import NothingToDo, TryAgain
from orchestrator.records import flags
from orchestrator.records.journal import Journal

NOBODY = TryAgain("No daemon runs.")


@click.command("resume")
@reach.pair_argument
@click.option("--reason", default="", metavar="TEXT", help="Why: kept in the journal.")
@style_option
@click.pass_obj
def command(front: Front, pair: str | None, reason: str) -> int:
    """End the pause of PAIR; a pair that is HALTED is decided for again.

    A journey that is stuck is another thing: see `mailmirror op`. Exit code 3: it isn't paused.
    """
    chosen = reach.changeable(front, pair)
    request = {"verb": "resume", "pair": chosen.name, "reason": reason}
    try:
        told: Any = reach.ask_daemon(chosen, request, NOBODY)
    except TryAgain as error:
        if error is not NOBODY:
            raise
        with Journal(chosen.state_dir) as journal:
            if flags.paused(journal, chosen.name, time.time()) is None:
                raise NothingToDo(
                    f"{chosen.name} isn't paused.", remedy="A pair that is HALTED is resumed by the daemon: start it."
                ) from None
            flags.resume(journal, chosen.name, getpass.getuser(), reason)
        told = {"pair": chosen.name, "state": "", "why": "The pause has ended; no daemon runs."}
    if front.style == "json":
        click.echo(json.dumps(told, indent=2))
    else:
        click.echo(words.safe(" ".join(filter(None, (f"{chosen.name}:", told["state"], told["why"])))))
    return 0
