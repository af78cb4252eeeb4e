"""What the verbs share that read decisions from the journal: which one is meant, and its values."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.errors import BrokenPromise, OperatorError
from orchestrator.failover.facts import Decision, from_json
from orchestrator.inventory.model import Pair
from orchestrator.records import database
from orchestrator.records.journal import Decision as Kept
from orchestrator.records.journal import Journal


def kept_of(pairs: Sequence[Pair], what: str) -> list[tuple[Pair, str]]:
    """The pair of an operation's id with that id, or of a decision's number with an empty one. Raises OperatorError."""
    for pair in pairs:
        if not database.path_of(pair.state_dir).exists():
            continue
        with Journal(pair.state_dir) as journal:
            if what.isdecimal() and journal.decisions(pair.name, number=int(what)):
                return [(pair, "")]
            if any(each.id == what for each in journal.operations(pair.name)):
                return [(pair, what)]
    raise OperatorError(
        f"There is neither a pair, nor an operation, nor a decision {what[:60]}.",
        remedy="See `mailmirror history`, and `mailmirror history --decisions` for their numbers.",
    )


def decision_of(kept: Kept) -> Decision:
    """Raises BrokenPromise where it can't be read."""
    if not isinstance(kept.decision, dict):
        raise BrokenPromise(f"Decision {kept.id} isn't one.", remedy="The journal was changed or damaged.")
    return from_json(Decision, kept.decision)
