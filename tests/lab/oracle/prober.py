"""One prober a protocol: a new session every 50 ms, each with a deadline for all of it, and a list of when it worked.

Invariant: an attempt begins on every tick, whatever became of those before it, up to `MOST_AT_ONCE`; so a server that
hangs hides no recovery. A success is a session that did what a user needs (6.6 of the reference on failover: logged in
*and* opened the INBOX; a recipient accepted), noted at the moment of the last answer. A prober that didn't get the
processor in time leaves ticks out, which the verdict sees as its own sleep. Runs as a process of its own, so that the
outside client's threads don't hold it up: `python -m tests.lab.oracle.prober --site … --out …`.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import json
import signal
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.lab.oracle.dialog import EHLO
from tests.lab.oracle.imapwords import quoted
from tests.lab.oracle.intervals import Span
from tests.lab.oracle.journal import now
from tests.lab.oracle.resolver import NoName, Resolver
from tests.lab.oracle.site import Site, User, load
from tests.lab.oracle.verdict import Probes
from tests.lab.oracle.wire import trusting

PERIOD = 0.05
DEADLINE = 1.5
MOST_AT_ONCE = 40
PROTOCOLS = ("smtp", "submission", "imap", "pop3")


class NotServed(Exception):
    """The server answered, but not what a user needs."""


@dataclass
class Session:
    """One connection's two ends, in lines."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def says(self, *good: bytes) -> bytes:
        """The next line, which must begin so; lines of a longer reply are read to their end. Raises NotServed."""
        while True:
            line = await self.reader.readline()
            if not line.startswith(good):
                raise NotServed(line[:80].decode(errors="replace").strip() or "the server closed the connection")
            if line[3:4] != b"-":
                return line

    async def tagged(self, tag: bytes) -> None:
        """Lines up to the tag's, which must be OK."""
        while True:
            line = await self.reader.readline()
            if line.startswith(tag + b" OK"):
                return
            if not line.startswith(b"*"):
                raise NotServed(line[:80].decode(errors="replace").strip() or "the server closed the connection")

    def send(self, words: str) -> None:
        self.writer.write(words.encode() + b"\r\n")

    async def start_tls(self, tls: ssl.SSLContext, name: str) -> None:
        await self.writer.start_tls(tls, server_hostname=name)


@dataclass
class Prober:
    """`run` until it is cancelled; `out` gets a line an attempt: [protocol, begun, succeeded or null, why not]."""

    site: Site
    protocol: str
    out: IO[str]
    tls: ssl.SSLContext
    encrypt: bool = False
    period: float = PERIOD
    _running: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._resolver = Resolver(self.site)
        self._users: Iterator[User] = itertools.cycle(self.site.users)
        self._dialog: Callable[[Session, User], Awaitable[None]] = {
            "smtp": self._smtp,
            "submission": self._submission,
            "imap": self._imap,
            "pop3": self._pop3,
            "lmtp": self._lmtp,
        }[self.protocol]

    async def run(self) -> None:
        tick = asyncio.get_running_loop().time()
        while True:
            if len(self._running) < MOST_AT_ONCE:
                task = asyncio.create_task(self._attempt(next(self._users)))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
            clock = asyncio.get_running_loop().time()
            tick = max(tick + self.period, clock)  # ticks that were missed aren't made up for
            await asyncio.sleep(tick - clock)

    async def _attempt(self, user: User) -> None:
        begun, succeeded, why = now(), None, ""
        try:
            async with asyncio.timeout(DEADLINE):
                for address in await self._addresses():
                    why = await self._session(address, user)
                    if not why:
                        succeeded = now()
                        break
        except TimeoutError:
            why = "the deadline passed"
        except NoName as error:
            why = str(error)
        self.out.write(json.dumps([self.protocol, begun, succeeded, why]) + "\n")
        self.out.flush()

    async def _addresses(self) -> list[str]:
        """Where a client would go now: all exchangers in order for SMTP, else the service."""
        loop = asyncio.get_running_loop()
        if self.protocol == "smtp":
            exchanges = await loop.run_in_executor(None, self._resolver.exchanges)
            return [exchange.address for exchange in sorted(exchanges, key=lambda one: one.preference)]
        return [await loop.run_in_executor(None, self._resolver.service)]

    async def _session(self, address: str, user: User) -> str:
        """Why it failed; empty for a success."""
        try:
            reader, writer = await asyncio.open_connection(address, self.site.port(self.protocol))
        except OSError as error:
            return str(error)
        try:
            await self._dialog(Session(reader, writer), user)
        except (OSError, NotServed) as error:
            return str(error) or type(error).__name__
        finally:
            writer.close()
        return ""

    async def _smtp(self, to: Session, user: User, hello: str = "EHLO") -> None:
        await to.says(b"220")
        to.send(f"{hello} {EHLO}")
        await to.says(b"250")
        to.send("MAIL FROM:<>")
        await to.says(b"250")
        to.send(f"RCPT TO:<{user.address}>")
        await to.says(b"250")
        to.send("QUIT")

    async def _lmtp(self, to: Session, user: User) -> None:
        await self._smtp(to, user, "LHLO")

    async def _submission(self, to: Session, user: User) -> None:
        await to.says(b"220")
        to.send(f"EHLO {EHLO}")
        await to.says(b"250")
        to.send("STARTTLS")
        await to.says(b"220")
        await to.start_tls(self.tls, self.site.service_name)
        to.send(f"EHLO {EHLO}")
        await to.says(b"250")
        to.send("AUTH PLAIN " + base64.b64encode(f"\0{user.address}\0{user.password}".encode()).decode())
        await to.says(b"235")
        to.send("QUIT")

    async def _imap(self, to: Session, user: User) -> None:
        await to.says(b"* OK")
        if self.encrypt:
            to.send("a STARTTLS")
            await to.tagged(b"a")
            await to.start_tls(self.tls, self.site.service_name)
        to.send(f"b LOGIN {quoted(user.address)} {quoted(user.password)}")
        await to.tagged(b"b")
        to.send("c EXAMINE INBOX")
        await to.tagged(b"c")
        to.send("d LOGOUT")

    async def _pop3(self, to: Session, user: User) -> None:
        await to.says(b"+OK")
        if self.encrypt:
            to.send("STLS")
            await to.says(b"+OK")
            await to.start_tls(self.tls, self.site.service_name)
        for words in (f"USER {user.address}", f"PASS {user.password}", "STAT"):
            to.send(words)
            await to.says(b"+OK")
        to.send("QUIT")


def read(path: str | Path, watch: Span, period: float = PERIOD) -> dict[str, Probes]:
    """What the probers wrote, by protocol, of the time that is looked at."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                protocol, begun, succeeded, _ = json.loads(line)
                starts, ends = found.setdefault(protocol, ([], []))
                if watch.start <= begun <= watch.end:
                    starts.append(begun)
                    ends += [succeeded] if succeeded is not None else []
    return {protocol: Probes(tuple(starts), tuple(ends), watch, period) for protocol, (starts, ends) in found.items()}


def protocols(site: Site) -> list[str]:
    return [*PROTOCOLS, *(["lmtp"] if site.speaks("lmtp") else [])]


async def _all(site: Site, out: IO[str], encrypt: bool, period: float) -> None:
    """Until SIGTERM or SIGINT. The probers begin one after the other, so that they don't all knock at once."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    tls = trusting(site.ca)
    names = protocols(site)
    tasks = []
    for name in names:
        tasks.append(asyncio.create_task(Prober(site, name, out, tls, encrypt, period).run()))
        await asyncio.sleep(period / len(names))
    await stop.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="prober", description=__doc__, allow_abbrev=False)
    parser.add_argument("--site", required=True)
    parser.add_argument("--out", required=True, help="a file that gets a line an attempt")
    parser.add_argument("--tls", action="store_true", help="STARTTLS for IMAP and POP3 too")
    parser.add_argument("--period", type=float, default=PERIOD)
    options = parser.parse_args(words)
    with open(options.out, "a", encoding="utf-8") as out:
        asyncio.run(_all(load(options.site), out, options.tls, options.period))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
