"""docs/states.md, made from the table: `python -m orchestrator.failover.drawing > docs/states.md`.

Invariant: it says nothing that the table doesn't; a test compares it with the file.
"""

from __future__ import annotations

import sys

from orchestrator.failover.states import ELSEWHERE, FIRST, ORDERS, STARTING, TABLE, Event, State

HEAD = """# States of a pair

Made from `orchestrator/failover/states.py` by `python -m orchestrator.failover.drawing`: change it there.

A pair is in one of ten states. An event moves it as its state's table says, or leaves it where it is, for the reason
that is given. Paused, in cooldown, in tilt and queueing are flags: they hold back what would be done unasked, and never
an order. Which step a journey is at stands in the journal.
"""
EVERYWHERE = (Event.BOTH_CLAIM, Event.JOURNEY_OPEN)
"""Left out of the diagram: they lead to the same state from nearly everywhere."""


def document() -> str:
    """The whole file."""
    meanings = "".join(f"| {state} | {row.meaning} |\n" for state, row in TABLE.items())
    tables = "\n".join(_of(state) for state in State)
    return f"{HEAD}\n| state | means |\n|---|---|\n{meanings}\n{_diagram()}\n{tables}\n{_events()}"


def _diagram() -> str:
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {FIRST}"]
    for state, row in TABLE.items():
        for target in State:
            moves = {event: move for event, move in row.moves.items() if move.state is target is not state}
            named = [_short(event) for event in moves if event not in STARTING and event not in EVERYWHERE]
            named += ["an order"] * any(event in STARTING for event in moves)
            lines += [f"    {state} --> {target}: {', '.join(named)}"] * bool(named)
    left_out = "; ".join(f"{_short(event)} to {TABLE[FIRST].moves[event].state}" for event in EVERYWHERE)
    return "\n".join([*lines, "```", "", f"Not drawn, since nearly every state has it: {left_out}.\n"])


def _of(state: State) -> str:
    row = TABLE[state]
    lines = [f"## {state}", "", row.meaning, "", "| event | leads to | why |", "|---|---|---|"]
    for event, move in row.moves.items():
        if event not in STARTING:
            where = "stays" if move.state is state else move.state.value
            where += f" with the playbook `{move.playbook}`" if move.playbook else ""
            lines.append(f"| {_short(event)} | {where} | {move.why} |")
    started = [_short(event) for event in Event if event in STARTING and event in row.moves]
    lines += ["", f"- Orders that start their playbook, and lead to MOVING: {', '.join(started) or 'none'}."]
    lines += [f"- Any other order: stays. {row.orders}", f"- Anything else that a journey says: stays. {row.journeys}"]
    return "\n".join([*lines, f"- Anything else that is seen: stays. {row.facts}", ""])


def _short(event: Event) -> str:
    return f"`{event.value}`" if event in ORDERS else event.name.lower().replace("_", " ")


def _events() -> str:
    """Every event that isn't an order in words, and why a state stays at it where its own table leaves it out."""
    lines = ["## Events", "", "| event | is | where a state's table leaves it out, it stays because |", "|---|---|---|"]
    for event in (each for each in Event if each not in ORDERS or each in ELSEWHERE):
        is_ = "an order" if event in ORDERS else event.value
        lines.append(f"| {_short(event)} | {is_} | {ELSEWHERE.get(event, 'as the state says')} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.stdout.write(document())
