"""What the verbs of journeys share: the plan shown, the order given here or to the daemon, and its progress told.

Invariant: a journey runs in one process, which holds the pair's lock: the daemon where one runs, else this one.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import reach, words
from orchestrator.cli.front import Front
from orchestrator.records.lock import Held, Lock

if TYPE_CHECKING:
    from orchestrator.inventory.model import Pair

JOURNEYS = ("switchover", "failover", "failback", "rejoin", "drill")
EXITS = {"done": 0, "rolled back": 1, "aborted": 1, "partly done": 7, "stuck": 7, "open": 7}


def show_plan(front: Front, pair: Pair, journey: str) -> None:
    """Print each step with what is there now."""
    told = plan(front, pair, journey)
    click.echo(json.dumps(told, indent=2) if front.style == "json" else planned(pair, journey, told))


def plan(front: Front, pair: Pair, journey: str, survey: str = "") -> dict[str, Any]:
    """Each step with what is there now, as JSON: looked at here or by the daemon; of a rejoin, with `survey` (what
    ctimes are good for) also what it would bring home.
    """
    try:
        with Lock(pair.state_dir, pair.name, "plan"):
            means = _means(front, pair)
            told: dict[str, Any] = (
                _drill().planned(means) if journey == "drill" else _journeys().planned(means, journey, survey)
            )
    except Held as held:
        asked = {"verb": "plan", "pair": pair.name, "journey": journey, "survey": survey}
        told = reach.ask_daemon(pair, asked, held)
    return told


def planned(pair: Pair, journey: str, told: dict[str, Any]) -> str:
    """The same as a table, or where it has parts as a table each."""
    if "parts" in told:
        return "\n\n".join(planned(pair, part["journey"], part) for part in told["parts"])
    head = f"{pair.name}: {journey} from the {told['active']} to the {told['passive']}, epoch {told['epoch']}\n"
    rows = [(str(step["number"]), step["verb"], step["now"], step["said"]) for step in told["steps"]]
    table = words.table(("STEP", "WHAT", "NOW", "SEEN"), [tuple(map(words.safe, row)) for row in rows])
    return (head + table).rstrip("\n")


def go(front: Front, pair: Pair, journey: str, *, yes: bool, reason: str) -> int:
    """Ask, and carry it out; the exit code."""
    show_plan_on_stderr(pair, journey)
    reach.confirm(f"Begin the {journey} of {pair.name}?", yes)
    return order(front, pair, journey, reason)


def order(front: Front, pair: Pair, journey: str, reason: str) -> int:
    """Carry it out, here or in the daemon; the exit code."""
    return ended(front, carried_out(front, pair, journey, reason, {}))


def carried_out(front: Front, pair: Pair, journey: str, reason: str, said: dict[str, str]) -> dict[str, Any]:
    """How it ended, as JSON. `said`: what the order says beside, for the journey's steps."""
    by = reach.by()
    told: dict[str, Any]
    try:
        with Lock(pair.state_dir, pair.name, journey):
            means = _means(front, pair)
            if journey == "drill":
                told = _drill().told(means, by=by, reason=reason, progress=_progress)
            else:
                told = _journeys().told(means, journey, by=by, reason=reason, progress=_progress, said=said)
            _keep(pair, told)
        reach.tell_daemon(pair)
    except Held as held:
        asked: dict[str, Any] = {"verb": "journey", "pair": pair.name, "journey": journey, "reason": reason, **said}
        told = reach.ask_daemon(pair, asked, held, _progress)
    return told


def word(front: Front, pair: Pair, what: str, name: str, reason: str) -> int:
    """An operator's word on an operation, here or in the daemon; the exit code."""
    try:
        with Lock(pair.state_dir, pair.name, f"op {what}"):
            ordered = _journeys().Word(what, name, reach.by(), reason)
            told = _journeys().ordered(_means(front, pair), ordered, progress=_progress)
        reach.tell_daemon(pair)
    except Held as held:
        asked = {"verb": "op", "pair": pair.name, "what": what, "id": name, "reason": reason}
        told = reach.ask_daemon(pair, asked, held, _progress)
    code = ended(front, told)
    return 0 if (what, told["state"]) in (("abort", "aborted"), ("rollback", "rolled back")) else code


def _keep(pair: Pair, told: dict[str, Any]) -> None:
    """Where the roles have moved: `status` says so, though nothing was copied the other way yet."""
    active = pair.at(told["active"])
    if told["state"] in ("done", "partly done") and active is not None:
        other = pair.mirror if active is pair.primary else pair.primary
        reach.keep_roles(pair, active, other, told["epoch"])


def ended(front: Front, told: dict[str, Any]) -> int:
    """Print how it ended; the exit code."""
    if front.style == "json":
        click.echo(json.dumps(told, indent=2))
    else:
        what = f"{told['journey']} {told['operation']}"
        click.echo(f"{what}: {told['state']} after {told['seconds']:.1f} s: {told['why']}")
        for part in told.get("parts", ()):
            waited = "" if part["away"] is None else f", the users waited {part['away']:.1f} s"
            click.echo(f"  {part['journey']} {part['operation']}: {part['state']}{waited}")
    return EXITS[told["state"]]


def show_plan_on_stderr(pair: Pair, journey: str) -> None:
    sys.stderr.write(f"{pair.name}: {journey}; `mailmirror plan {journey}` shows its steps.\n")


def _progress(told: dict[str, Any]) -> None:
    sys.stderr.write(f"{told['seconds']:7.2f} s  {words.safe(told['text'])}\n")


def _journeys() -> Any:
    """Loaded late: the conductor and its world are more than most verbs need."""
    return importlib.import_module("orchestrator.failover.journeys")


def _drill() -> Any:
    return importlib.import_module("orchestrator.failover.drill")


def _means(front: Front, pair: Pair) -> Any:
    connect = front.connect or importlib.import_module("orchestrator.daemon.connecting").connect
    return _journeys().Means(pair, lambda: connect(pair), lambda: None)
