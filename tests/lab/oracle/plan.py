"""Who does what next: a seeded stream of operations over all accounts, at a steady rate. Pure.

Invariant: the same seed, rate and accounts give the same stream. What an operation meets (which message, which folder)
is chosen when it runs, from what its client then knows, by dice that are seeded likewise.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

WEIGHTS: dict[str, int] = {
    "receive": 16,  # by SMTP through the MX
    "submit": 8,
    "append": 6,
    "read": 16,
    "flag": 16,
    "keyword": 6,
    "move": 10,
    "copy and expunge": 2,
    "expunge": 10,
    "create": 1,
    "rename": 1,
    "delete": 1,
    "pop": 3,
    "reconnect": 4,
}
SENT = ("receive", "submit")
FLAGS = ("\\Seen", "\\Answered", "\\Flagged", "\\Draft")
KEYWORDS = ("$Label1", "Work", "Later", "$Forwarded", "Project.X")


@dataclass(frozen=True)
class Step:
    """`at`: seconds after the beginning; `account`: its index; `number`: counts the steps."""

    number: int
    at: float
    account: int
    operation: str


def steps(seed: int, rate: float, accounts: int) -> Iterator[Step]:
    """Without end."""
    dice = random.Random(f"plan {seed}")
    names, weights = list(WEIGHTS), list(WEIGHTS.values())
    number = 0
    while True:
        yield Step(number, number / rate, dice.randrange(accounts), dice.choices(names, weights)[0])
        number += 1


def identity(seed: int, step: Step) -> str:
    """Of the message that a step makes; no two steps, and no two seeds, share one."""
    return f"s{seed}-{step.number}-{step.operation.split()[0]}"


def folder_to_use(folders: Sequence[str], selected: str, dice: random.Random) -> str:
    """Mostly where the user is; else the INBOX as often as all the others together."""
    if selected in folders and dice.random() < 0.6:
        return selected
    others = [folder for folder in folders if folder != "INBOX"]
    return dice.choice(others) if others and dice.random() < 0.5 else "INBOX"
