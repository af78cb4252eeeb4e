"""`mailmirror ack`: let deletions through that the firewall holds back, by the id that `status` shows."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import reach, words
from orchestrator.cli.front import Front, style_option
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.web.replicates import Replicates, Told


@click.command()
@click.argument("pair_and_id", nargs=-1, required=True, metavar="[PAIR] ID")
@click.option("--dry-run", is_flag=True, help="Show them; release nothing.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.option("--timeout", type=click.FloatRange(min=0.1), metavar="SECONDS", help="How long to wait for it.")
@style_option
@click.pass_obj
def command(front: Front, pair_and_id: tuple[str, ...], dry_run: bool, yes: bool, timeout: float | None) -> int:
    """Let the waiting deletions ID of PAIR through to the passive places.

    What they delete stands in the quarantine for mm_undelete (7 days).
    """
    if len(pair_and_id) > 2:
        raise UsageError("ack takes a pair and one id.", remedy="Release one id after the other.")
    chosen = reach.changeable(front, pair_and_id[0] if len(pair_and_id) == 2 else None)
    waiting = pair_and_id[-1]
    held = _held(_statuses(front, chosen, timeout), waiting)
    if dry_run:
        sys.stdout.write(held)
        return 0
    sys.stderr.write(held)
    reach.confirm("Let them through?", yes)

    def here(session: Replicates, progress: Told) -> Any:
        return {"id": waiting, "released": session.release(waiting)}

    told = reach.on_pair(front, chosen, {"verb": "release", "id": waiting}, here, timeout=timeout)
    return words.show("release", told, front.style)


def _statuses(front: Front, pair: Any, timeout: float | None) -> list[Any]:
    def here(session: Replicates, progress: Told) -> Any:
        return {"pairs": [asdict(session.status())]}

    told = reach.on_pair(front, pair, {"verb": "status"}, here, timeout=timeout)
    return list(told["pairs"])


def _held(statuses: list[Any], waiting: str) -> str:
    """What waits under that id, in words. Raises UsageError when nothing does."""
    known = [(passive["host"], held) for s in statuses for passive in s["passives"] for held in passive["waiting"]]
    found = [(host, held) for host, held in known if held["id"] == waiting]
    if not found:
        ids = ", ".join(held["id"] for _, held in known) or "none"
        raise UsageError(
            f"No deletions wait under the id {waiting}; there are {ids}.", remedy="See `mailmirror status`."
        )
    return "".join(
        f"{words.counted(held['count'], 'deletion')} of {words.safe(held['account'])} on {host}: "
        f"{words.safe(held['reason'])}\n"
        for host, held in found
    )
