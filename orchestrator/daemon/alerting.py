"""A pair's alerts in the daemon: every few seconds what holds, what is due, and whoever is to be told.

What was told is kept in `mm_state_dir` before anything else is done, so that a daemon that starts anew tells nobody
twice and forgets no end.

Invariant: it waits for nobody's mailbox: a channel that hangs delays alerts alone, and one that fails is tried again
while the others are told.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from itertools import groupby
from typing import Any

from orchestrator.alerts import channels, ledger
from orchestrator.alerts.channels import Channel
from orchestrator.alerts.conditions import ASKED, conditions
from orchestrator.alerts.ledger import FIRING, Notice
from orchestrator.daemon.systemd import Sign
from orchestrator.errors import MailmirrorError
from orchestrator.inventory.model import AlertChannel, Pair
from orchestrator.records import alerts as records

log = logging.getLogger(__name__)

EVERY = 5.0
LOOKS, CHANNEL = 60.0, 120.0
"""Seconds within which a look gives its next sign of life: by itself, and for each channel that it may wait for."""
PATIENCE = 60.0
"""Seconds before a channel that failed is tried again."""


class Alerting:
    """Looks from `start` to `stop`. `status` is the pair's, as `status --format json` shows it; `link` makes a link for
    who hears of the question by a channel, or nothing.
    """

    def __init__(
        self, pair: Pair, status: Callable[[], Mapping[str, Any]], *, every: float = EVERY,
        way: Callable[[AlertChannel], Channel] = channels.of, now: Callable[[], float] = time.time,
        link: Callable[[str], str] = lambda _: "",
    ) -> None:  # fmt: skip
        self._pair, self._status, self._every, self._now, self._link = pair, status, every, now, link
        self._ways = {channel.name: way(channel) for channel in pair.alerts}
        self._least = {channel.name: channel.least for channel in pair.alerts}
        self._book = ledger.without(ledger.from_json(records.read(pair.state_dir, pair.name)), self._ways)
        self._not_before: dict[str, float] = {}
        self._stop = threading.Event()
        within = every + LOOKS + (len(pair.alerts) + 1) * CHANNEL
        self._sign = Sign(f"the alerts of {pair.name}", time.monotonic(), within)
        self._thread = threading.Thread(target=self._run, name=f"alerts {pair.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """No further look; returns at once."""
        self._stop.set()

    def sign(self) -> Sign:
        """The thread's last sign of life. From any thread, at once."""
        return self._sign

    def look(self) -> None:
        """One look, and all that is due by it. Raises MailmirrorError where the book can't be kept."""
        now = self._now()
        before = self._book
        self._book = ledger.seen(before, conditions(self._status()), now)
        wanted = [each for each in ledger.due(self._book, self._pair.name, self._least, now) if self._may(each, now)]
        for (channel, _), notices in groupby(sorted(wanted, key=_group), key=_group):
            self._tell(channel, [self._linked(each) for each in notices], now)
        if self._book.keys() != before.keys():
            self._keep()

    def _linked(self, notice: Notice) -> Notice:
        asked = notice.condition.name == ASKED and notice.status == FIRING
        return notice._replace(link=self._link(notice.channel)) if asked else notice

    def _may(self, notice: Notice, now: float) -> bool:
        return now >= self._not_before.get(notice.channel, 0.0)

    def _tell(self, channel: str, notices: list[Notice], now: float) -> None:
        try:
            self._ways[channel].send(notices)
        except MailmirrorError as error:
            self._not_before[channel] = now + PATIENCE
            log.error("%s pair=%s", error, self._pair.name)
            return
        for each in notices:
            log.info("Alert %s %s by %s pair=%s", each.status, each.condition.name, channel, self._pair.name)
        self._book = ledger.told(self._book, notices, now)
        self._keep()

    def _keep(self) -> None:
        records.write(self._pair.state_dir, self._pair.name, ledger.as_json(self._book))

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            self._sign = self._sign._replace(at=time.monotonic())
            try:
                self.look()
            except MailmirrorError as error:
                log.error("What was told can't be kept: %s pair=%s", error, self._pair.name)
            except Exception:  # the last fence: a look that fails must not be the last one
                log.exception("The alerts of %s can't be looked at", self._pair.name)


def _group(notice: Notice) -> tuple[str, str]:
    return notice.channel, notice.status
