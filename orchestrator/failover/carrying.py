"""Letters carried from one host's queue to the other's: pieces read at one end and laid at the other, by explicit list.

Invariant: what is read is handed on as it is; what was carried is what the receiver says. It ends also with hosts that
answer nonsense: a letter that doesn't get on is given up after `TRIES`. Nothing is remembered here: after a crash the
plan is made anew (`queueplan`) of what both ends say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from orchestrator.errors import AgentFault
from orchestrator.failover.queueplan import Laid, Letter, ledger, letters

Ask = Callable[[dict[str, Any], bytes], tuple[dict[str, Any], bytes]]
"""A host's verb `queue`: head and bytes of a request, those of its answer. Raises what the conversation does."""
TRIES = 5
"""How often a letter may be begun anew."""


class Ends(NamedTuple):
    """Who gives, under which name the receiver's ledger has it, and who takes; of which instance of Postfix."""

    gives: Ask
    takes: Ask
    source: str
    instance: str = ""


class Carried(NamedTuple):
    """Ids by what became of them: `known` ones the receiver has let go before, or has with another content; `remains`
    are remainders of a former journey at the receiver, which are to be dropped there first.
    """

    laid: list[str]
    known: list[str]
    remains: list[str]


def looked(ends: Ends) -> tuple[list[Letter], list[Laid]]:
    """The sender's queue and the receiver's ledger, whole. Raises AgentFault for answers that can't be understood."""
    found: list[Letter] = []
    rows: list[Laid] = []
    try:
        while True:
            after = found[-1].id if found else ""
            told, _ = ends.gives({"do": "list", "instance": ends.instance, "after": after}, b"")
            found += (fresh := letters(told))
            if not told["more"] or not fresh:
                break
        while True:
            told, _ = ends.takes({"do": "laid", "instance": ends.instance, "after": len(rows)}, b"")
            rows += (laid := ledger(told))
            if not told["more"] or not laid:
                return found, rows
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise _nonsense(f"a list of letters that can't be understood: {error!r:.200}") from error


def carried(ends: Ends, wanted: Sequence[str], operation: str, epoch: int) -> Carried:
    """Read and lay these letters, which are on hold by this operation. Raises AgentFault, and what `Ask` does."""
    left, tries = dict.fromkeys(wanted, 0), dict.fromkeys(wanted, TRIES)
    whole = Carried([], [], [])
    while left:
        want = [[queue_id, offset] for queue_id, offset in left.items()]
        answer, blob = ends.gives({"do": "read", "instance": ends.instance, "want": want[:1000]}, b"")
        whose = {"instance": ends.instance, "source": ends.source, "operation": operation, "epoch": epoch}
        told, _ = ends.takes({"do": "lay", "pieces": answer.get("pieces"), **whose}, blob)
        try:
            _count(answer["pieces"], told, left, tries)
            for name, ids in (("laid", whole.laid), ("known", whole.known), ("remains", whole.remains)):
                ids += told[name]
        except (KeyError, TypeError) as error:
            raise _nonsense(f"pieces that can't be understood: {error!r:.200}") from error
    return whole


def _count(
    pieces: list[dict[str, Any]], told: dict[str, list[str]], left: dict[str, int], tries: dict[str, int]
) -> None:
    """Where each letter goes on; those that are done are left out."""
    before = dict(left)
    for piece in pieces:
        left[piece["id"]] = piece["offset"] + piece["length"]
    for queue_id in told["again"]:
        left[queue_id] = 0
        tries[queue_id] -= 1
        if not tries[queue_id]:
            raise _nonsense(f"letter {queue_id} can't be laid: it has to be begun anew each time")
    for queue_id in (*told["laid"], *told["known"], *told["remains"]):
        del left[queue_id]
    if left == before:
        raise _nonsense("no letter gets on")


def _nonsense(what: str) -> AgentFault:
    return AgentFault(what, remedy="Have the agents of both mail hosts brought up to date: `mailmirror agent update`.")
