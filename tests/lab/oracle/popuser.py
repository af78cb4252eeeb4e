"""One user's POP3 client: remembers UIDLs, downloads what it doesn't have, deletes some.

Invariant: a deletion is acknowledged by the +OK to QUIT, not by the one to DELE (RFC 1939 6); when that was lost, the
deletions are unknown. Reading a message may mark it as seen, as the server likes: that is journaled as unknown.
"""

from __future__ import annotations

import random
import ssl
from dataclasses import dataclass, field

from tests.lab.oracle import letter
from tests.lab.oracle.caches import Trouble, Uidls
from tests.lab.oracle.dialog import Pop
from tests.lab.oracle.journal import Act, Fault, Journal, Login, Outcome, Seen, now
from tests.lab.oracle.resolver import Resolver
from tests.lab.oracle.site import Site, User

SECONDS = 10.0


@dataclass
class PopUser:
    site: Site
    user: User
    journal: Journal
    resolver: Resolver
    tls: ssl.SSLContext | None
    cache: Uidls = field(default_factory=Uidls)
    _known: bool = False

    def session(self, dice: random.Random, read: int = 2, delete: int = 1) -> None:
        """Logs in, compares, reads and deletes a few, and quits. Raises Lost."""
        address, port = self.resolver.service(), self.site.port("pop3")
        pop = Pop(address, port, self.user.address, self.user.password, SECONDS, self.tls, self.site.service_name)
        try:
            self.journal.write(Login(now(), self.user.address, "pop3", pop.link.name))
            numbers = self._compare(pop)
            ours = [number for number, identity in numbers.items() if identity]
            dice.shuffle(ours)
            for number in ours[:read]:
                self._read(pop, number, numbers[number])
            self._delete(pop, {number: numbers[number] for number in ours[:delete]})
        finally:
            pop.close()

    def _compare(self, pop: Pop) -> dict[int, str]:
        """Message number -> id, after the cache was held against what the server says. The first session of a
        connection reads every identity, later ones only what is new.
        """
        uidls = dict(self._uidl(line) for line in pop.text("UIDL"))
        named = {}
        for number, uidl in uidls.items():
            known = self.cache.ids.get(uidl)
            named[uidl] = known if known is not None else self._identity(pop, number)
        for trouble in self.cache.faults(named):
            self._fault(trouble)
        fresh = [uidl for uidl in named if uidl not in self.cache.ids]
        owner = self.user.address
        self.journal.write(*(Seen(now(), owner, "INBOX", 0, 0, named[uidl], uidl) for uidl in fresh))
        self.cache.take(named)
        return {number: named[uidl] for number, uidl in uidls.items()}

    @staticmethod
    def _uidl(line: bytes) -> tuple[int, str]:
        number, _, uidl = line.decode(errors="replace").partition(" ")
        return int(number), uidl

    @staticmethod
    def _identity(pop: Pop, number: int) -> str:
        return letter.identity(b"\n".join(pop.text(f"TOP {number} 0")))

    def _read(self, pop: Pop, number: int, identity: str) -> None:
        self._act("store", "unknown", identity, pop, ("\\seen",))
        message = b"\r\n".join(pop.text(f"RETR {number}"))
        if letter.identity(message) != identity:
            uidl = next((name for name, known in self.cache.ids.items() if known == identity), "")
            text = f"{uidl} was {identity}, is {letter.identity(message)}"
            self._fault(Trouble("uidl reuse", text, 0, identity))
        elif letter.digest(message) != letter.expected(identity):
            self._fault(Trouble("damaged", f"message {number} ({identity})", 0, identity))

    def _fault(self, trouble: Trouble) -> None:
        fault = Fault(now(), self.user.address, "pop3", trouble.kind, trouble.text, id=trouble.id)
        self.journal.write(fault)

    def _delete(self, pop: Pop, numbers: dict[int, str]) -> None:
        outcome: Outcome = "unknown"
        try:
            for number in numbers:
                pop.command(f"DELE {number}")
            pop.command("QUIT")
            outcome = "ok"
        finally:
            for identity in numbers.values():
                self._act("expunge", outcome, identity, pop)

    def _act(self, act: str, outcome: Outcome, identity: str, pop: Pop, flags: tuple[str, ...] = ()) -> None:
        link = pop.link.name
        owner = self.user.address
        self.journal.write(Act(now(), owner, act, outcome, id=identity, folder="INBOX", flags=flags, link=link))
