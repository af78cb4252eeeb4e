"""`mailmirror account retire`: let the deletion of an account through that vanished from the active place."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import reach, words
from orchestrator.cli.front import Front, order_options

if TYPE_CHECKING:
    from orchestrator.web.replicates import Replicates, Told


@click.group()
def command() -> None:
    """Accounts that vanished: a missing account is never deleted on the mirror by itself."""


@command.command()
@click.argument("pair_and_account", nargs=-1, required=True, metavar="[PAIR] ACCOUNT", shell_complete=reach.offers())
@click.option("--dry-run", is_flag=True, help="Say what would be deleted; change nothing.")
@click.option("--accept-loss", is_flag=True, help="It is meant: let it be deleted. PAIR has to be typed too.")
@order_options
@click.pass_obj
def retire(
    front: Front,
    pair_and_account: tuple[str, ...],
    dry_run: bool,
    accept_loss: bool,
    yes: bool,
    reason: str,
    timeout: float | None,
) -> int:
    """Delete ACCOUNT of PAIR on the passive places, where it is gone from the active one.

    What is deleted stands in the quarantine for mm_undelete (7 days).
    """
    if len(pair_and_account) > 2:
        raise click.UsageError("retire takes a pair and one account.")
    typed = pair_and_account[0] if len(pair_and_account) == 2 else None
    chosen, account = reach.changeable(front, typed), reach.as_name(pair_and_account[-1])
    plan = _ask(front, chosen, account, True, timeout, "")
    if dry_run:
        return words.show("retire", plan, front.style)
    sys.stderr.write(words.retire(plan))
    again = f"account retire {chosen.name} {words.shell_word(pair_and_account[-1])} --accept-loss"
    reach.confirm_loss(chosen, typed, accept_loss, again)
    return words.show("retire", _ask(front, chosen, account, False, timeout, reason), front.style)


def _ask(front: Front, pair: Any, account: str, dry_run: bool, timeout: float | None, reason: str) -> Any:
    def here(session: Replicates, progress: Told) -> Any:
        return {"account": account, "messages": session.retire(account, dry_run=dry_run), "planned": dry_run}

    request = {"verb": "retire", "account": account, "dry_run": dry_run}
    return reach.on_pair(front, pair, request, here, timeout=timeout, reason=reason)
