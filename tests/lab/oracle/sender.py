"""The outside world that sends mail: through the MX as a real sender does, and as the site's users by submission.

Invariant: every 250 after data is journaled with the connection that it came on, and so is every message whose last
dot was sent and whose reply never came (`unknown`; it is tried again, as RFC 1047 says a sender must). A 5xx after the
dot is final; everything before the dot may be tried at the next exchanger.
"""

from __future__ import annotations

import random
import ssl
import threading
from dataclasses import dataclass, field

from tests.lab.oracle import letter as letters
from tests.lab.oracle.dialog import Smtp
from tests.lab.oracle.journal import Journal, Login, Outcome, Sent, now
from tests.lab.oracle.resolver import NoName, Resolver
from tests.lab.oracle.site import Site
from tests.lab.oracle.spool import End, Letter, Spool, in_order, verdict
from tests.lab.oracle.wire import Lost

SECONDS = 5.0
OUTSIDE = "sender@client.test"
_OUTCOMES: dict[End, Outcome] = {"accepted": "ok", "refused": "no", "lost": "unknown", "later": "no"}


@dataclass
class Sender:
    """Any thread may `post`; as many threads as wanted `work` until `stop` is set."""

    site: Site
    journal: Journal
    resolver: Resolver
    seed: int
    tls: ssl.SSLContext
    counts: dict[str, int] = field(default_factory=lambda: {"accepted": 0, "refused": 0, "lost": 0, "later": 0})
    _turn: threading.Condition = field(default_factory=threading.Condition)
    _last: dict[str, str] = field(default_factory=dict)  # of letters that were tried and not taken: what was said
    _passwords: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._dice = random.Random(f"sender {self.seed}")
        self._spool = Spool(self._dice)
        self._passwords = {user.address: user.password for user in self.site.users}

    def post(self, letter: Letter) -> None:
        with self._turn:
            self._spool.add(letter, now())
            self._turn.notify()

    @property
    def waiting(self) -> int:
        """Letters that no server has taken yet."""
        with self._turn:
            return self._spool.waiting

    @property
    def untaken(self) -> tuple[str, ...]:
        """What each of those last heard."""
        with self._turn:
            return tuple(
                f"{letter.id} by {letter.via}: {self._last.get(letter.id, 'not tried')}" for letter in self._spool
            )

    def work(self, stop: threading.Event) -> None:
        """Tries what is due until `stop` is set; a thread's body."""
        while not stop.is_set():
            with self._turn:
                letter = self._spool.take(now())
                if letter is None:
                    due = self._spool.next
                    self._turn.wait(0.1 if due is None else min(0.1, max(0.001, due - now())))
                    continue
            end = self._attempt(letter)
            with self._turn:
                self.counts[end] += 1
                self._spool.ended(letter, end, now())

    def _attempt(self, letter: Letter) -> End:
        try:
            if letter.via == "submission":
                return self._submit(letter, self.resolver.service())
            with self._turn:
                order = in_order(self.resolver.exchanges(), self._dice)
        except NoName:
            return "later"
        for exchange in order:
            end = self._hand_over(letter, exchange.address, self.site.port("smtp"))
            if end != "later":
                return end
        return "later"

    def _submit(self, letter: Letter, address: str) -> End:
        return self._hand_over(letter, address, self.site.port("submission"))

    def _hand_over(self, letter: Letter, address: str, port: int) -> End:
        code, text, dot_sent = 0, "", False
        try:
            session = Smtp(address, port, SECONDS)
        except Lost as lost:
            self._last[letter.id] = str(lost)
            return "later"
        try:
            sender = OUTSIDE
            if letter.via == "submission":
                sender = letter.account
                code, text = self._login(session, letter)
            if letter.via == "mx" or code == 235:
                code, text = session.envelope(sender, letter.account)
            if code == 354:
                code, dot_sent = 0, True
                code, text = session.content(letters.compose(letter.id, sender, letter.account))
        except Lost as lost:
            code, text = 0, str(lost)
        finally:
            session.close()
        end = verdict(code, dot_sent=dot_sent)
        self._last[letter.id] = f"{code} {text}"
        if dot_sent:
            said = f"{code} {text}"[:200]
            outcome = _OUTCOMES[end]
            self.journal.write(Sent(now(), letter.id, letter.account, letter.via, outcome, said, session.link.name))
        return end

    def _login(self, session: Smtp, letter: Letter) -> tuple[int, str]:
        session.start_tls(self.tls, self.site.service_name)
        code, text = session.login(letter.account, self._passwords[letter.account])
        if code == 235:
            self.journal.write(Login(now(), letter.account, "submission", session.link.name))
        return code, text
