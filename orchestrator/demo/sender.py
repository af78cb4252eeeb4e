"""A mail server elsewhere that sends letters to the site: it looks the exchangers up, tries them in order, comes again.

Invariant: a letter counts as sent only when somebody said 250 to it; until then it is tried again, at whoever the name
server names then.
"""

from __future__ import annotations

import smtplib
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType

from orchestrator.demo import names
from orchestrator.demo.letters import Letter
from orchestrator.errors import HostUnreachable, StillRunning

OPTIONS = ("BODY=8BITMIME", "SMTPUTF8")
AGAIN = 0.1  # seconds until a letter that nobody took is tried again; real senders take minutes
PATIENCE = 5.0  # seconds for one exchanger's answer
TRIED_FOR = 30.0  # seconds until a letter that nobody takes is said to be that


class Sender(AbstractContextManager["Sender"]):
    """`domain` is asked for at the name server on `dns_port`; its exchangers listen at `smtp_port`. Not thread-safe."""

    def __init__(self, dns_port: int, domain: str, smtp_port: int) -> None:
        self._dns_port, self._domain, self._smtp_port = dns_port, domain, smtp_port
        self._smtp: smtplib.SMTP | None = None
        self.refused = 0  # tries that nobody took
        self.longest = 0.0  # seconds that a letter had to wait

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def send(self, user: str, letter: Letter, within: float = TRIED_FOR) -> None:
        """Until somebody takes it. Errors: StillRunning."""
        began = time.monotonic()
        while not self.tries(user, letter):
            self.refused += 1
            if time.monotonic() - began > within:
                raise StillRunning(f"nobody took a letter to {user} within {within:g} s")
            time.sleep(AGAIN)
        self.longest = max(self.longest, time.monotonic() - began)

    def tries(self, user: str, letter: Letter) -> bool:
        """Whether somebody took it."""
        try:
            self._connection().sendmail("zoe@example.net", f"{user}@{self._domain}", letter.raw, OPTIONS)
        except (OSError, HostUnreachable):  # what smtplib raises is one too
            self._leave()
            return False
        return True

    def _connection(self) -> smtplib.SMTP:
        """Raises OSError, HostUnreachable."""
        if self._smtp is not None:
            return self._smtp
        why: OSError = OSError(f"{self._domain} has no mail exchanger")
        for address in names.exchangers(self._dns_port, self._domain):
            try:
                self._smtp = smtplib.SMTP(address, self._smtp_port, timeout=PATIENCE)
            except OSError as error:
                why = error
            else:
                return self._smtp
        raise why

    def _leave(self) -> None:
        if self._smtp is not None:
            self._smtp.close()
        self._smtp = None


class Stream:
    """Sends `write()`'s letters, so many a second, from a thread of its own, until `stop`."""

    def __init__(self, sender: Sender, write: Callable[[], tuple[str, Letter]], per_second: float) -> None:
        self.sent = 0
        self._sender, self._write, self._pause = sender, write, 1 / per_second
        self._ending = threading.Event()
        self._failed: StillRunning | None = None
        self._thread = threading.Thread(target=self._run, name="stream", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """The letter that is under way is the last one. Errors: StillRunning when one was never taken."""
        self._ending.set()
        self._thread.join()
        if self._failed is not None:
            raise self._failed

    def _run(self) -> None:
        try:
            while not self._ending.is_set():
                self._sender.send(*self._write())
                self.sent += 1
                self._ending.wait(self._pause)
        except StillRunning as error:
            self._failed = error
