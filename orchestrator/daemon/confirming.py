"""The links that alerts carry, and their answers: an operator who isn't at a terminal says whether users are moved.

An answer is an order like any other: decided on by the table, kept, and refused by the same rules. A journey that was
begun by one goes on without the browser that asked for it.

Invariant: a link is used up in the same turn in which its order is decided, before anything is done.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from orchestrator.alerts import links
from orchestrator.alerts.links import Link, Seen
from orchestrator.errors import BrokenPromise, MailmirrorError, Refused, StillRunning, UsageError
from orchestrator.inventory.model import Inventory
from orchestrator.records import answers, flags, pairkey
from orchestrator.records.journal import Journal
from orchestrator.web.confirm import PREFIX, SNOOZES, Question

log = logging.getLogger(__name__)

BEGINS = 30.0
"""Seconds for an order to be decided: it may wait for some looks."""


class Decides(Protocol):
    """What this needs of `ordering.Decisions`."""

    def confirm(self, pair: str, journey: str, by: str, reason: str, noted: Callable[[Journal], object]) -> Any: ...
    def note(self, pair: str, noted: Callable[[Journal], object]) -> None: ...
    def sentences(self, pair: str) -> list[str]: ...


class Confirming:
    """See `web.confirm.Confirms`. `status`: a pair's row, as `status --format json` shows it; `event`: what is told."""

    def __init__(
        self, inventory: Inventory, decisions: Decides, status: Callable[[str], dict[str, Any]],
        event: Callable[[str, str, str], None], *, now: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._inventory, self._decisions, self._status = inventory, decisions, status
        self._event, self._now = event, now

    def link(self, pair: str, channel: str) -> str:
        """A fresh link for who hears of the question by that channel; nothing where no page can be reached."""
        url = self._inventory.url
        return f"{url}{PREFIX}{links.signed(self._key(), links.fresh(pair, channel, self._now()))}" if url else ""

    def look(self, text: str) -> Question:
        link = self._read(text)
        row, decided = self._row(link.pair)
        with Journal(self._inventory.state_dir) as journal:
            before = answers.of(journal, link.pair, link.nonce)
        said = "" if before is None else _told(link, before.at, str(before.what.get("what")))
        loss = str(decided.get("loss", ""))
        pair = self._inventory.pairs[link.pair]
        return Question(
            row, pair.primary.name if row.get("active") == pair.mirror.name else pair.mirror.name,
            decided.get("asks") == "failover", loss, self._decisions.sentences(link.pair),
            links.signed_form(self._key(), Seen(link.nonce, loss)), said,
        )  # fmt: skip

    def answer(self, text: str, said: Mapping[str, str]) -> None:
        link = self._read(text)
        seen = links.read_form(self._key(), said.get("form", ""))
        if seen.nonce != link.nonce:
            raise UsageError("This answer is to another question.", remedy="Open the link again, and answer.")
        what = said.get("what", "")
        if what == "snooze":
            self._snooze(link, said.get("seconds", ""))
        elif what == "failover":
            self._fail_over(link, seen, said.get("name", "").strip())
        else:
            raise UsageError(f"{what[:40]!r} is no answer.", remedy="Use the buttons.")

    def _snooze(self, link: Link, seconds: str) -> None:
        if seconds not in [str(each) for _, each in SNOOZES]:
            raise UsageError(f"Nothing can be put off for {seconds[:20]!r} seconds.", remedy="Use the buttons.")

        def noted(journal: Journal) -> None:
            until = self._now() + int(seconds)
            answers.keep(journal, link.pair, link.nonce, link.channel, f"a snooze of {int(seconds) // 60} min")
            flags.snooze(journal, link.pair, until, _by(link))

        self._decisions.note(link.pair, noted)
        self._event(link.pair, "snooze", f"The question is put off for {int(seconds) // 60} min, by {_by(link)}")

    def _fail_over(self, link: Link, seen: Seen, name: str) -> None:
        _, decided = self._row(link.pair)
        if name != link.pair:
            raise UsageError(f"That isn't the name of the pair, {link.pair}.", remedy="Type it as it stands there.")
        if decided.get("asks") != "failover":
            raise Refused("Nothing is asked any more.", remedy="See how it stands now.")
        if decided.get("loss") != seen.loss:
            raise Refused("What could be lost has changed.", remedy="Read it again, and answer.")
        begun: queue.SimpleQueue[MailmirrorError | None] = queue.SimpleQueue()

        def noted(journal: Journal) -> None:
            answers.keep(journal, link.pair, link.nonce, link.channel, "a failover")
            begun.put(None)

        threading.Thread(
            target=self._carry_out, args=(link, noted, begun), name=f"confirmed {link.pair}", daemon=True
        ).start()
        try:
            error = begun.get(timeout=BEGINS)
        except queue.Empty:
            raise StillRunning(f"It wasn't decided within {BEGINS:g} s.", remedy="See how it stands now.") from None
        if error is not None:
            raise error

    def _carry_out(
        self, link: Link, noted: Callable[[Journal], None], begun: queue.SimpleQueue[MailmirrorError | None]
    ) -> None:
        """To its end. What goes wrong is told to who waits, or when nobody does any more, to all who listen."""
        try:
            self._decisions.confirm(link.pair, "failover", _by(link), "confirmed by a link", noted)
        except MailmirrorError as error:
            self._event(link.pair, "journey", f"The failover that was confirmed ended with an error: {error}")
            begun.put(error)
        except Exception as error:  # told like every other, with the traceback in the log
            log.exception("A confirmed failover failed unexpectedly pair=%s", link.pair)
            begun.put(BrokenPromise(f"An unexpected {type(error).__name__}: {error}"))

    def _read(self, text: str) -> Link:
        link = links.read(self._key(), text, self._now())
        if link.pair not in self._inventory.pairs:
            raise UsageError(f"There is no pair {link.pair} any more.", remedy="`mailmirror status` names them.")
        return link

    def _row(self, pair: str) -> tuple[dict[str, Any], Mapping[str, Any]]:
        row = self._status(pair)
        return row, row.get("decision") or {}

    def _key(self) -> bytes:
        return pairkey.of_links(self._inventory.state_dir)


def _by(link: Link) -> str:
    return f"a link sent to {link.channel}"


def _told(link: Link, at: float, what: str) -> str:
    when = time.strftime("%H:%M:%S", time.localtime(at))
    return f"{what[0].upper()}{what[1:]} was ordered at {when}, by {_by(link)}."
