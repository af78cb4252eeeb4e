"""`mailmirror account retire`: let the deletion of an account through that vanished from the active place."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import reach, words
from orchestrator.cli.front import Front, style_option

if TYPE_CHECKING:
    from orchestrator.web.replicates import Replicates, Told


@click.group()
def command() -> None:
    """Accounts that vanished: a missing account is never deleted on the mirror by itself."""


@command.command()
@click.argument("pair_and_account", nargs=-1, required=True, metavar="[PAIR] ACCOUNT")
@click.option("--dry-run", is_flag=True, help="Say what would be deleted; change nothing.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.option("--timeout", type=click.FloatRange(min=0.1), metavar="SECONDS", help="How long to wait for it.")
@style_option
@click.pass_obj
def retire(front: Front, pair_and_account: tuple[str, ...], dry_run: bool, yes: bool, timeout: float | None) -> int:
    """Delete ACCOUNT of PAIR on the passive places, where it is gone from the active one.

    What is deleted stands in the quarantine for mm_undelete (7 days).
    """
    if len(pair_and_account) > 2:
        raise click.UsageError("retire takes a pair and one account.")
    chosen = reach.changeable(front, pair_and_account[0] if len(pair_and_account) == 2 else None)
    account = reach.as_name(pair_and_account[-1])
    plan = _ask(front, chosen, account, True, timeout)
    if dry_run:
        return words.show("retire", plan, front.style)
    sys.stderr.write(words.retire(plan))
    reach.confirm(f"Delete {words.safe(account)} there?", yes)
    return words.show("retire", _ask(front, chosen, account, False, timeout), front.style)


def _ask(front: Front, pair: Any, account: str, dry_run: bool, timeout: float | None) -> Any:
    def here(session: Replicates, progress: Told) -> Any:
        return {"account": account, "messages": session.retire(account, dry_run=dry_run), "planned": dry_run}

    return reach.on_pair(front, pair, {"verb": "retire", "account": account, "dry_run": dry_run}, here, timeout=timeout)
