"""`mailmirror replay`: decide again from what was seen then, and say whether it comes out the same."""

from __future__ import annotations

import json
from typing import Any

import click

from orchestrator.cli import reach, words
from orchestrator.cli.decided import kept_of
from orchestrator.cli.front import Front, style_option
from orchestrator.errors import MailmirrorError, OperatorError
from orchestrator.failover.decide import replay
from orchestrator.failover.facts import as_json
from orchestrator.records.journal import Decision, Journal


@click.command("replay")
@click.argument("what", metavar="OP")
@style_option
@click.pass_obj
def command(front: Front, what: str) -> int:
    """Decide again what led to the operation OP, or the decision of that number, from the facts in the journal.

    It asks no host and changes nothing. Exit code 1: it comes out otherwise now (as it may by another version).
    """
    [(pair, operation)] = kept_of(list(reach.inventory(front).pairs.values()), what)
    with Journal(pair.state_dir) as journal:
        kept = journal.decisions(pair.name, operation) if operation else journal.decisions(pair.name, number=int(what))
    if not kept:
        raise OperatorError(
            f"No decision is kept of {what}: it was begun without the daemon, or by an older version.",
            remedy="`mailmirror history --decisions` shows those that are.",
        )
    told = [_again(each) for each in kept]
    if front.style == "json":
        click.echo(json.dumps(told, indent=2))
    else:
        for each in told:
            click.echo(words.safe(_sentence(each)))
    return 0 if all(each["same"] for each in told) else 1


def _again(kept: Decision) -> dict[str, Any]:
    row: dict[str, Any] = {"number": kept.id, "at": kept.at, "version": kept.version, "then": kept.decision}
    try:
        now: Any = as_json(replay(kept.facts if isinstance(kept.facts, dict) else {}))
    except MailmirrorError as error:
        return {**row, "same": False, "now": None, "why": f"{error} {error.remedy}"}
    then: Any = kept.decision if isinstance(kept.decision, dict) else {}
    differs = sorted(key for key in {*now, *then} if now.get(key) != then.get(key))
    return {**row, "same": not differs, "now": now, "why": ", ".join(differs)}


def _sentence(each: dict[str, Any]) -> str:
    head = f"Decision {each['number']} (version {each['version']})"
    if each["same"]:
        now = each["now"]
        led = f", and starts the {now['playbook']}" if now["playbook"] else ""
        return f"{head} comes out the same: {now['event']}; {now['was']} -> {now['state']}{led}."
    if each["now"] is None:
        return f"{head} can't be decided again: {each['why']}"
    then, now = each["then"], each["now"]
    return f"{head} comes out otherwise, in {each['why']}: {then.get('state')} then, {now['state']} now."
