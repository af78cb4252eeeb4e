"""What the daemon tells systemd: that it is ready, reloads, stops, how it stands in one line, and that it is alive.

It is alive as long as each of its workers gives a sign in time. A worker that hangs ends the feeding of the watchdog,
and systemd starts the daemon anew; mail and roles don't hang on it. Sources: sd_notify(3), systemd.service(5).

Invariant: whoever calls is never hindered by systemd; where nobody asked to be told (no $NOTIFY_SOCKET), nothing is.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from orchestrator.agent.hearing import notify

log = logging.getLogger(__name__)

LONGEST_LINE = 200  # characters of STATUS=


class Sign(NamedTuple):
    """A worker's last sign of life (CLOCK_MONOTONIC, seconds), and within how many seconds the next one is due."""

    worker: str
    at: float
    within: float


def overdue(signs: Iterable[Sign], now: float) -> list[str]:
    """The workers whose next sign is due, each with how long it has been silent. Pure."""
    return [
        f"{sign.worker} gave no sign for {now - sign.at:.0f} s (at most {sign.within:g} s)"
        for sign in signs
        if now - sign.at > sign.within
    ]


def line(links: Mapping[str, str], silent: Iterable[str]) -> str:
    """How the daemon stands, for `systemctl status`: each pair's link by its name, or who is silent. Pure."""
    told = "; ".join(silent) or ", ".join(f"{pair} {link}" for pair, link in links.items())
    return " ".join(told.split())[:LONGEST_LINE]


class Systemd:
    """The daemon's side of the protocol."""

    def __init__(self) -> None:
        self._line = ""
        self._silent: list[str] = []
        wanted = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        usec = os.environ.get("WATCHDOG_USEC", "") if wanted else ""
        self._every = int(usec) / 4e6 if usec.isdecimal() else 0.0  # seconds; 0: nobody waits for it
        self._fed = 0.0

    def ready(self) -> None:
        """The desk answers and each pair's first look was begun; also the end of a reload."""
        self._tell("READY=1")

    def reloading(self) -> None:
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        self._tell("STOPPING=1\nSTATUS=Stopping; mail and roles stay as they are")

    def tick(self, signs: Iterable[Sign], links: Mapping[str, str]) -> None:
        """With each turn of the control loop: feeds the watchdog unless a worker is overdue, and tells what is new."""
        now = time.monotonic()
        silent = overdue(signs, now)
        if bool(silent) != bool(self._silent):
            if silent:
                log.error("A worker hangs, so the watchdog isn't fed any more: %s", "; ".join(silent))
            else:
                log.info("Every worker gives signs again")
        self._silent = silent
        told = line(links, silent)
        if told != self._line:
            self._line = told
            self._tell(f"STATUS={told}")
        if self._every and not silent and now - self._fed >= self._every:
            self._fed = now
            self._tell("WATCHDOG=1")

    def _tell(self, word: str) -> None:
        try:
            notify(word)
        except OSError as error:  # systemd restarts whoever it doesn't hear; there is nothing else to be done here
            log.warning("systemd can't be told %s: %s", word.partition("\n")[0], error)
