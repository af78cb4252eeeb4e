"""`mailmirror ack`: let deletions through that the firewall holds back, by the id that `status` shows; end a cooldown,
or say that a split brain was looked at.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import reach, words
from orchestrator.cli.front import Front, order_options
from orchestrator.errors import Refused, TryAgain, UsageError

if TYPE_CHECKING:
    from orchestrator.inventory.model import Pair
    from orchestrator.web.replicates import Replicates, Told

NAMED = ("cooldown", "split-brain")


@click.command()
@click.argument("pair_and_id", nargs=-1, required=True, metavar="[PAIR] ID", shell_complete=reach.offers(*NAMED))
@click.option("--dry-run", is_flag=True, help="Show them; release nothing.")
@click.option("--accept-loss", is_flag=True, help="They are meant: let them delete. PAIR has to be typed too.")
@order_options
@click.pass_obj
def command(
    front: Front,
    pair_and_id: tuple[str, ...],
    dry_run: bool,
    accept_loss: bool,
    yes: bool,
    reason: str,
    timeout: float | None,
) -> int:
    """Let the waiting deletions ID of PAIR through to the passive places.

    `ack cooldown` ends the time after a failover in which no other one follows unasked; `ack split-brain` says that
    somebody has looked at both places: then orders are taken again, and nothing is done unasked until `resume`.

    What they delete stands in the quarantine for mm_undelete (7 days). ID stands for just the deletions that `status`
    shows with it; when there are more by now, nothing is released.
    """
    if len(pair_and_id) > 2:
        raise UsageError("ack takes a pair and one id.", remedy="Release one id after the other.")
    typed = pair_and_id[0] if len(pair_and_id) == 2 else None
    chosen, waiting = reach.changeable(front, typed), pair_and_id[-1]
    if waiting in NAMED:
        return _acknowledge(front, chosen, waiting, dry_run, yes, reason)
    held = _held(_statuses(front, chosen, timeout), waiting)
    if dry_run:
        sys.stdout.write(held)
        return 0
    sys.stderr.write(held)
    reach.confirm_loss(chosen, typed, accept_loss, f"ack {chosen.name} {waiting} --accept-loss")

    def here(session: Replicates, progress: Told) -> Any:
        return {"id": waiting, "released": session.release(waiting)}

    told = reach.on_pair(front, chosen, {"verb": "release", "id": waiting}, here, timeout=timeout, reason=reason)
    return words.show("release", told, front.style)


def _acknowledge(front: Front, pair: Pair, what: str, dry_run: bool, yes: bool, reason: str) -> int:
    """Only the daemon decides, so it has to run."""
    if dry_run:
        sys.stdout.write(f"{pair.name}: would acknowledge the {what}.\n")
        return 0
    reach.confirm(f"Acknowledge the {what} of {pair.name}?", yes)
    nobody = TryAgain("No daemon runs.", remedy="Start it: `mailmirror run`. Without one nothing is done unasked.")
    told = reach.ask_daemon(pair, {"verb": "acknowledge", "pair": pair.name, "what": what, "reason": reason}, nobody)
    if front.style == "json":
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
    else:
        sys.stdout.write(words.safe(f"{pair.name}: {told['state']}: {told['why']}") + "\n")
    return 0


def _statuses(front: Front, pair: Any, timeout: float | None) -> list[Any]:
    def here(session: Replicates, progress: Told) -> Any:
        return {"pairs": [asdict(session.look())]}

    told = reach.on_pair(front, pair, {"verb": "status"}, here, timeout=timeout)
    return list(told["pairs"])


def _held(statuses: list[Any], waiting: str) -> str:
    """What waits under that id, in words. Raises Refused when it isn't what waits now."""
    known = [(passive["host"], held) for s in statuses for passive in s["passives"] for held in passive["waiting"]]
    found = [(host, held) for host, held in known if held["id"] == waiting]
    if not found:
        now = "; ".join(f"{held['id']}: {_said(host, held)}" for host, held in known)
        raise Refused(
            f"No deletions wait under the id {waiting}. {f'What waits now is {now}.' if now else 'Nothing waits now.'}",
            remedy="An id stands for just the deletions that were shown with it; look at these before you let them go.",
        )
    return "".join(f"{_said(host, held)}: {words.safe(held['reason'])}\n" for host, held in found)


def _said(host: str, held: Any) -> str:
    return f"{words.counted(held['count'], 'deletion')} of {words.safe(held['account'])} on {host}"
