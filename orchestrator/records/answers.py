"""What was answered by the links that alerts carry, by nonce: events in the journal.

Invariant: an answer is durable before it is carried out, so that a link is good once, whatever dies in between.
"""

from __future__ import annotations

from orchestrator.errors import Refused
from orchestrator.records.journal import Event, Journal

ANSWERED = "answered"


def keep(journal: Journal, pair: str, nonce: str, channel: str, what: str) -> None:
    """Use the link up: `what` was answered. Raises Refused where it was used before."""
    before = of(journal, pair, nonce)
    if before is not None:
        raise Refused(
            f"This link was used for {before.what.get('what')} already.", remedy="Each is good once: take a newer one."
        )
    journal.event(pair, ANSWERED, {"nonce": nonce, "channel": channel, "what": what})


def of(journal: Journal, pair: str, nonce: str) -> Event | None:
    """What was answered by that link; None for nothing yet."""
    return next((each for each in journal.events(pair, ANSWERED) if each.what.get("nonce") == nonce), None)
