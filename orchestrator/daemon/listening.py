"""One host of a pair, asked every second what its guard says and of which epoch its stores are.

It has a thread and a conversation of its own, so a host that hangs delays nobody who decides: what it said last is
there at once, and for a few seconds only.

Invariant: `latest` never waits, and never gives a word that is older than it counts.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.errors import AgentFault, HostError, MailmirrorError, StillRunning
from orchestrator.failover import gathered
from orchestrator.failover.gathered import Heard
from orchestrator.inventory.model import MIRROR, PRIMARY, Host
from orchestrator.remote.host import Conversation

log = logging.getLogger(__name__)

EVERY = 1.0
WITHIN = 2.0
"""Seconds for one answer: a guard's word is older afterwards than a decision should rest on."""
COUNTS = 4.0
"""Seconds for which an answer counts, from when it was asked for."""
RARELY = 3.0
"""Seconds between two questions to a host that has no guard."""

Open = Callable[[Host], Conversation]


class Listening:
    """Asks from `start` to `stop`. `pair` is the pair's name: a witness may have guards of several."""

    def __init__(self, pair: str, host: Host, open_link: Open, *, every: float = EVERY) -> None:
        self.host = host
        self._pair, self._open, self._every = pair, open_link, every
        self._stop = threading.Event()
        self._link: Conversation | None = None
        self._last: Heard | None = None
        self._thread = threading.Thread(target=self._run, name=f"guard of {host.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """No further question; returns at once."""
        self._stop.set()

    def latest(self) -> Heard | None:
        """What it said last, while that counts; None else, also while an answer is overdue."""
        last = self._last
        return last if last is not None and time.monotonic() - last.began <= COUNTS else None

    def request(self, verb: str, head: Mapping[str, Any], within: float) -> Mapping[str, Any]:
        """An order to the host, on the caller's thread. Raises HostError, StillRunning."""
        return self._linked().request(verb, dict(head), timeout=within).head

    def _run(self) -> None:
        wait = 0.0
        while not self._stop.wait(wait):
            began = time.monotonic()
            try:
                self._last = self._asked(began)
            except (HostError, StillRunning) as error:
                self._last = Heard(began, why=str(error))
            except MailmirrorError as error:
                self._last = Heard(began, why=f"{error} {error.remedy}")
            except Exception:  # the last fence: an answer that nobody foresaw must not end the asking
                log.exception("%s can't be asked what its guard says pair=%s", self.host.name, self._pair)
                self._last = None
            alone = self._last is not None and self._last.alive and self._last.word is None
            wait = RARELY if alone else max(0.1, self._every - (time.monotonic() - began))
        link = self._link
        if link is not None:
            link.close()

    def _asked(self, began: float) -> Heard:
        link = self._linked()
        guard: Mapping[str, Any] | None = None
        why = ""
        try:
            guard = link.request("guard", {"pair": self._pair, "order": {"verb": "status"}}, timeout=WITHIN).head
        except AgentFault as fault:
            why = f"{fault} {fault.remedy}"
        stores = self.host.stores if self.host.place in (PRIMARY, MIRROR) else ()
        return gathered.heard(began, guard, [self._marker(link, store.root) for store in stores], why)

    def _marker(self, link: Conversation, root: str) -> Mapping[str, Any] | None:
        try:
            found = link.request("store.look", {"store": root}, timeout=WITHIN).head.get("marker")
        except AgentFault as fault:
            log.debug("%s: %s", self.host.name, fault)
            return None
        return found if isinstance(found, Mapping) else None

    def _linked(self) -> Conversation:
        link = self._link
        if link is None or link.lost.is_set():
            link = self._link = self._open(self.host)
        return link
