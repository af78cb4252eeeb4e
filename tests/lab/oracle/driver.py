"""The whole outside world at work: senders and one person for each account, paced by the plan.

Invariant: all threads have ended when `stop` returns, all caches are in the journal, and letters that nobody has taken
are counted, not forgotten. It judges nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.lab.oracle import plan
from tests.lab.oracle.journal import Began, Journal, now
from tests.lab.oracle.mailbox import Mailbox
from tests.lab.oracle.person import Person
from tests.lab.oracle.popuser import PopUser
from tests.lab.oracle.resolver import Resolver
from tests.lab.oracle.sender import Sender
from tests.lab.oracle.site import Site
from tests.lab.oracle.spool import Letter
from tests.lab.oracle.wire import trusting

SENDERS = 4
ENCRYPTED = 3  # every third account speaks IMAP and POP3 behind STARTTLS; the witness can read the others


@dataclass(frozen=True)
class Done:
    """What came of it: operations done, left out by people who were behind; what letters that were never taken last
    heard; refusals' words.
    """

    done: int
    left_out: int
    untaken: tuple[str, ...]
    refusals: tuple[str, ...]


@dataclass
class Driver:
    """`start`, then `stop`, once; between them it works by itself. `clear`: may some accounts speak without TLS?"""

    site: Site
    journal: Journal
    seed: int
    rate: float
    clear: bool = True
    _stop_plan: threading.Event = field(default_factory=threading.Event)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        resolver = Resolver(self.site)
        tls = trusting(self.site.ca)
        self.sender = Sender(self.site, self.journal, resolver, self.seed, tls)
        self.people = []
        for number, user in enumerate(self.site.users):
            chosen = tls if number % ENCRYPTED == 0 or not self.clear else None
            mailbox = Mailbox(self.site, user, self.journal, resolver, chosen)
            pop = PopUser(self.site, user, self.journal, resolver, chosen)
            self.people.append(Person(mailbox, pop, self.seed))

    def start(self) -> None:
        self.journal.write(Began(now(), time.time(), self.seed, self.rate))
        bodies: list[Callable[[threading.Event], None]] = [person.work for person in self.people]
        bodies += [self.sender.work] * SENDERS
        self._threads = [threading.Thread(target=body, args=(self._stop,), daemon=True) for body in bodies]
        self._threads.append(threading.Thread(target=self._pace, daemon=True))
        for thread in self._threads:
            thread.start()

    def _pace(self) -> None:
        began = time.monotonic()
        for step in plan.steps(self.seed, self.rate, len(self.people)):
            if self._stop_plan.wait(max(0.0, began + step.at - time.monotonic())):
                return
            person = self.people[step.account]
            if step.operation in plan.SENT:
                via = "mx" if step.operation == "receive" else "submission"
                self.sender.post(Letter(plan.identity(self.seed, step), person.mailbox.user.address, via))
            else:
                person.ask(step)

    def stop(self, patience: float) -> Done:
        """No new operations; waits up to `patience` seconds for the senders' queue, then ends everything."""
        self._stop_plan.set()
        until = time.monotonic() + patience
        while self.sender.waiting and time.monotonic() < until:
            self._stop_plan.wait(0.05)
            time.sleep(0.05)
        self._stop.set()
        for thread in self._threads:
            thread.join()
        done = sum(person.done for person in self.people) + self.sender.counts["accepted"]
        left_out = sum(person.left_out for person in self.people)
        refusals = tuple(words for person in self.people for words in person.refusals)
        return Done(done, left_out, self.sender.untaken, refusals)
