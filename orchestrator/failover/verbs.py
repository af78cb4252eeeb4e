"""The closed list of what a step of a playbook may be, and the order that keeps a journey safe. Pure.

Only names and shapes stand here, so that a playbook can be judged before anything is asked of a host; `failover/steps`
has a function of the same name for each. `run` is a site's own command.

Invariant: a site's playbook may add commands and change times; it can't leave out, repeat or reorder what `JOURNEYS`
names, nor move the point of no return.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

Value = str | float | bool | tuple[str, ...]
Parameters = Mapping[str, Value]


class Kind(Enum):
    """What a parameter may be; the value says how messages call it."""

    DURATION = "a duration"
    PLACE = "active or passive"
    HOST = "active, passive or a host"
    WORDS = "a list of words"
    FLAG = "true or false"
    WAY = "anew or adopt"


class Verb(NamedTuple):
    """`takes` parameters, of which `needs` must be said. `undoes`: it can be undone, until the point of no return.
    `repeatable`: to do it once more is harmless.
    """

    what: str
    takes: Mapping[str, Kind] = MappingProxyType({})
    needs: tuple[str, ...] = ()
    undoes: bool = False
    repeatable: bool = True


RUN = "run"
VERBS: Mapping[str, Verb] = {
    RUN: Verb(
        "a command of the site's own; `check` exits with 0 when it is done, with 1 when it isn't",
        {"at": Kind.HOST, "command": Kind.WORDS, "check": Kind.WORDS, "undo": Kind.WORDS, "repeatable": Kind.FLAG},
        ("at", "command"),
        repeatable=False,
    ),
    "ready": Verb("every check that this journey rests on is green, looked at now"),
    "presync": Verb(
        "passes of replication, until what the passive place lacks is no older than `lag`",
        {"lag": Kind.DURATION},
        ("lag",),
    ),
    "withhold": Verb("the new active's IMAP server advertises no more than its modseqs can keep", undoes=True),
    "quiesce": Verb(
        "the active's guard is told that its services stop for a while; when `ends_after` is over without a tombstone, "
        "it starts everything again by itself",
        {"ends_after": Kind.DURATION},
        ("ends_after",),
        undoes=True,
    ),
    "drain": Verb(
        "new sessions are turned away; those that are there may end within `cap`",
        {"cap": Kind.DURATION},
        ("cap",),
        undoes=True,
    ),
    "stop_services": Verb("the mail services are stopped, and no process is left that writes", undoes=True),
    "final_pass": Verb("the last pass of replication, index caches included, finds nothing more to carry"),
    "prove_equal": Verb("both places' digests are the same, for every account"),
    "carry_queue": Verb(
        "the queue of `source` stands held at the other host, letter by letter",
        {"source": Kind.PLACE},
        ("source",),
        undoes=True,
    ),
    "tombstone": Verb("the active's guard gives its epoch up for good", undoes=True),
    "refuse": Verb("the granters refuse the active's lease", undoes=True),
    "fence": Verb("the active can't serve: proven, by a stop, a lease that ran out, a device or a statement"),
    "salvage": Verb("what the fenced active still hands over, where it answers: changes and queue", undoes=True),
    "cut": Verb(
        "what the passive place has is frozen: nothing of the old epoch is written there any more", undoes=True
    ),
    "advance": Verb("the next epoch stands in the registers of the witness and of the new active", undoes=True),
    "turn_stores": Verb("the stores' markers name the new active and its epoch"),
    "serve": Verb("the new active's guard has opened its gate, and its services answer"),
    "point_clients": Verb("names and addresses lead to the new active, as every server shows"),
    "verify_outside": Verb("a letter sent in from outside is read back"),
    "release_queue": Verb(
        "the letters that were carried to `at` are let go, by their list", {"at": Kind.PLACE}, ("at",)
    ),
    "sweep": Verb("each folder's modseqs go on above all that were before"),
    "follow_back": Verb("replication runs the other way, and the lease is armed again"),
    "hold_queue": Verb("the returned host's queue is held before Postfix can start"),
    "compare": Verb("each difference of the returned store is in the journal, with its ctime"),
    "set_aside": Verb("divergent files of the returned store are linked aside"),
    "reclaim": Verb("what only the returned host has is delivered at the active, once"),
    "reseed": Verb("the passive store is a copy of the active's again", {"how": Kind.WAY}, ("how",)),
}


class Journey(NamedTuple):
    """`order`: these verbs stand in it once, in this order; those in `may` can be left out. `point` is the verb that
    carries the point of no return, or nothing; `parts` are the journeys that it consists of.
    """

    order: tuple[str, ...] = ()
    may: frozenset[str] = frozenset()
    point: str = ""
    parts: tuple[str, ...] = ()


_MOVE = ("advance", "turn_stores", "serve", "point_clients", "verify_outside", "release_queue")
_PLANNED = (
    "ready",
    "presync",
    "withhold",
    "quiesce",
    "drain",
    "stop_services",
    "final_pass",
    "prove_equal",
    "carry_queue",
)
_SWITCHOVER = Journey((*_PLANNED, "tombstone", *_MOVE, "follow_back"), frozenset({"presync"}), "tombstone")
_CLEARING = ("hold_queue", "compare", "set_aside", "reclaim", "carry_queue", "release_queue")
JOURNEYS: Mapping[str, Journey] = {
    "switchover": _SWITCHOVER,
    "failback": _SWITCHOVER,
    "failover": Journey(
        ("refuse", "fence", "salvage", "cut", "withhold", *_MOVE, "sweep"),
        frozenset({"salvage", "release_queue", "sweep"}),
        "advance",
    ),
    "rejoin": Journey((*_CLEARING, "reseed", "prove_equal")),
    "seed": Journey(("reseed", "prove_equal")),
    "drill": Journey(parts=("switchover", "failback")),
}


@dataclass(frozen=True)
class Line:
    """A step. `within` in seconds, for it and, once more, for its undo; `undo` says whether it is undone on the way
    back; `point` that from there on the journey only goes forward.
    """

    number: int
    verb: str
    why: str
    within: float
    parameters: Parameters
    undo: bool
    repeatable: bool
    point: bool


STATES = (
    "PROTECTED", "EXPOSED", "SUSPECT", "DOWN", "BLOCKED", "MOVING", "ALONE", "SERVING_ARCHIVE", "HALTED", "SPLIT_BRAIN",
)  # fmt: skip
"""The words of design 9 that a header may name."""


def order_broken(journey: str, verbs: Sequence[str]) -> list[tuple[int | None, str]]:
    """What is wrong with the verbs of a playbook as a whole: (index of the step or None, what)."""
    order, may, _, _ = JOURNEYS[journey]
    found: list[tuple[int | None, str]] = []
    reached = 0
    for at, verb in enumerate(verbs):
        if verb == RUN:
            continue
        if verb not in order:
            found.append((at, f"{verb} doesn't belong into a {journey}"))
        elif verb in verbs[:at]:
            found.append((at, f"{verb} stands there already"))
        elif order.index(verb) < reached:
            found.append((at, f"{verb} must come before {order[reached]}"))
        else:
            reached = order.index(verb)
    missing = [verb for verb in order if verb not in verbs and verb not in may]
    return found + [(None, f"the step {verb} is missing") for verb in missing]
