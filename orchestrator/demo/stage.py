"""What every act works with: the site, the product, the pen that writes letters, the story, and what was counted.

Invariant: the counts here come from what the demo itself did, so that they can be held against what the product says.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from orchestrator.demo import interrupts, names, watch
from orchestrator.demo.host import Host
from orchestrator.demo.letters import Letter, Writer
from orchestrator.demo.mailbox import INBOX, Account, Folder
from orchestrator.demo.product import Following, Mailmirror
from orchestrator.demo.sender import Sender, Stream
from orchestrator.demo.site import DOMAIN, PAIR, USERS, Site
from orchestrator.demo.story import Story
from orchestrator.errors import StillRunning


@dataclass
class Stage:
    site: Site
    product: Mailmirror
    story: Story
    writer: Writer
    chance: random.Random
    sent: int = 0  # letters that somebody took
    expunged: int = 0
    kinds: set[str] = field(default_factory=set)
    following: Following | None = None

    @property
    def active(self) -> Host:
        """The mail host to which the name server sends users."""
        first, other = self.site.mail_hosts
        return first if names.ask(self.site.dns_port, DOMAIN).addresses == (first.address,) else other

    def account(self, user: str) -> Account:
        """A user's mail where the site's own mail server works now."""
        return Account(self.active.store / DOMAIN / user)

    def inbox(self, user: str) -> Folder:
        return self.account(user).folder(INBOX)

    def send(self, letters: list[tuple[str, Letter]], per_second: float = 0.0) -> list[watch.Delivery]:
        """Send each letter (for user, or user+Folder), evenly paced if asked; returns their deliveries."""
        began = time.monotonic()
        known = len(watch.deliveries(self.site.ledger))
        with self.sender() as sender:
            for n, (user, letter) in enumerate(letters):
                if per_second:
                    time.sleep(max(0.0, began + n / per_second - time.monotonic()))
                sender.send(user, letter)
                self.kinds.add(letter.kind)
        self.sent += len(letters)
        return watch.deliveries(self.site.ledger)[known:]

    def sender(self) -> Sender:
        """A mail server elsewhere, which goes by what the name server says."""
        return Sender(self.site.dns_port, DOMAIN, self.site.smtp_port)

    @contextmanager
    def stream(self, per_second: float) -> Iterator[Sender]:
        """Letters to the users in turn for as long as this lasts. Errors: StillRunning when one was never taken."""
        with self.sender() as sender:
            stream = Stream(sender, lambda: self.letters(1)[0], per_second)
            try:
                yield sender
            finally:
                stream.stop()
                self.sent += stream.sent

    def letters(self, count: int, folder: str = "") -> list[tuple[str, Letter]]:
        """As many letters, to the users in turn."""
        suffix = f"+{folder}" if folder else ""
        return [(USERS[n % len(USERS)] + suffix, self.writer.write()) for n in range(count)]

    def status(self) -> dict[str, object]:
        """What `mailmirror status` says of the pair, decoded."""
        told = self.product.tell("status", PAIR)
        pairs = told.get("pairs") if isinstance(told, dict) else None
        if not isinstance(pairs, list) or len(pairs) != 1 or not isinstance(pairs[0], dict):
            raise StillRunning(f"`mailmirror status --format json` told something else than one pair: {told!r}")
        return pairs[0]

    def until_link(self, wanted: set[str], within: float) -> float:
        """Seconds until `status` calls the link one of `wanted`. Errors: StillRunning with what it says instead."""
        began = time.monotonic()
        last = ""
        while True:
            if self.following is not None:
                self.following.check()
            last = str(self.status().get("link"))
            if last in wanted:
                return time.monotonic() - began
            if time.monotonic() - began > within:
                raise StillRunning(f"the link is {last!r} after {within:g} s, not {' or '.join(sorted(wanted))}")
            time.sleep(0.1)

    def until_equal(self, within: float) -> float:
        return watch.until_equal(self.site.primary.store, self.site.mirror.store, within)

    @contextmanager
    def live(self) -> Iterator[Following]:
        """`mailmirror run` beside us for as long as this lasts."""
        with ExitStack() as leaving:
            with interrupts.held():
                self.following = self.product.follow()
                leaving.callback(self.following.stop)
            yield self.following
        self.following = None
