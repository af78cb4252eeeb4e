"""A pair, mostly with a witness, its clients and its network, in virtual time; nothing has gone wrong yet.

Clients hand letters in at either mail host, whoever answers; Postfix delivers them where it may, or passes them on to
the active place where it only queues.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from orchestrator.agent.lease import NEVER
from orchestrator.agent.marker import ACTIVE, PASSIVE, Marker
from orchestrator.errors import Refused
from orchestrator.failover.playbook import Playbook
from orchestrator.fencing.proof import OFF_FOR
from orchestrator.replication import firewall, roles
from orchestrator.simulate.agents import Agent
from orchestrator.simulate.clockwork import Clockwork
from orchestrator.simulate.guards import PAIR, PLACES, TTL, Guard, settings
from orchestrator.simulate.laws import Laws
from orchestrator.simulate.mailhost import Host
from orchestrator.simulate.network import Network
from orchestrator.simulate.spool import Spool
from orchestrator.simulate.store import Store

MAIL = ("primary", "mirror")


@dataclass
class Site:
    """`active` and `passive` as they are when the journey begins. `device`: a fence device works; `states`: an operator
    states what is so, that a host is off. `cutting`: the operations that count on a cut;
    where there are `rivals` none is watched, for the other controller's thread may write between two of their acts.
    Without a `witness` there is no lease: then a host that was proven or stated to be off stays off for a minute.
    """

    dice: Random
    clockwork: Clockwork
    say: Callable[[str], None]
    laws: Laws = field(default_factory=Laws)
    active: str = "primary"
    passive: str = "mirror"
    device: bool = False
    states: bool = False
    wall_jump: float = 0.0
    desk: str = "desk"
    copies: bool = True
    cutting: set[str] = field(default_factory=set)
    rivals: bool = False
    witness: bool = True
    playbooks: dict[str, Playbook] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.network = Network(self.clockwork, self.dice)
        self.hosts: dict[str, Host] = {}
        self.guards: dict[str, Guard] = {}
        self.agents: dict[str, Agent] = {}
        places, ttl = (PLACES, TTL) if self.witness else (MAIL, 0.0)
        self.settings = {place: settings(place, places, ttl) for place in places}
        self.off_until: dict[str, float] = {}
        self._letters = 0
        self.passes = itertools.count(1)
        for place in places:
            role = ACTIVE if place == self.active else PASSIVE
            store = Store(
                Marker("store" * 6, PAIR, place, role, 1, 1, "", f"{place} 1"), self.laws, lambda: self.clockwork.now
            )
            spool = Spool(place, self.laws)
            speed = self.dice.choice([0.9951, 1.0, 1.0049])
            host = Host(place, self.clockwork, self.dice, self.laws, store, spool, self.say, speed)
            self.hosts[place] = host
            guard = Guard(host, self.settings[place], self.network, self.guards)
            self.agents[place] = Agent(guard, self.cutting)
        self.guards["primary"].told({"verb": "begin", "epoch": 1, "active": "primary", "operation": "begin"})
        self.clockwork.watch = self.watch
        self.clockwork.after(1.0, self._client)
        self.clockwork.after(1.0, self._user)
        self.clockwork.after(1.0, self._copying)
        for place in MAIL:
            self.clockwork.after(1.0, self._delivering(place))

    @property
    def lines(self) -> dict[str, list[str]]:
        return {name: [line.verb for line in each.lines] for name, each in self.playbooks.items()}

    def watch(self) -> None:
        """The law that every event may break."""
        self.laws.answering([place for place in MAIL if self.hosts[place].answers()])

    # ---- clients -----------------------------------------------------------------------------------------------------

    def _client(self) -> None:
        self.clockwork.after(self.dice.uniform(0.1, 0.8), self._client)
        host = self.hosts[self.dice.choice(MAIL)]
        if not host.frozen and host.takes():
            self._letters += 1
            letter = f"letter {self._letters}"
            host.spool.take(letter, self.clockwork.now)
            self.laws.accepted(letter, host.place)

    def _user(self) -> None:
        """At an IMAP server: turns a flag over, or deletes for good."""
        self.clockwork.after(self.dice.uniform(0.2, 1.5), self._user)
        host = self.hosts[self.dice.choice(MAIL)]
        if host.frozen or not host.open or not host.mailboxes or not host.store.mounted or not host.store.letters:
            return
        # Mostly what came lately: that is where the two places differ.
        uid = self.dice.choice(list(host.store.letters)[-self.dice.choice([3, 1000]) :])
        if self.dice.random() < 0.4:
            host.store.expunge(uid)
        else:
            host.store.flag(uid)

    def _delivering(self, place: str) -> Callable[[], None]:
        host = self.hosts[place]
        other = self.hosts[MAIL[1 - MAIL.index(place)]]

        def run() -> None:
            self.clockwork.after(self.dice.uniform(0.3, 1.5), run)
            if not host.up or host.frozen or not host.postfix:
                return
            for queued in host.spool.waiting():
                slow = queued.letter.endswith("7")  # its destination doesn't answer: it waits for long
                if (
                    not host.queues
                    and host.mailboxes
                    and host.store.mounted
                    and self.dice.random() < (0.03 if slow else 0.8)
                ):
                    host.store.deliver(queued.letter)
                    host.spool.out(queued.id)
                elif host.queues and (place, other.place) not in self.network.cut and self._relays(host, other):
                    other.spool.take(queued.letter, self.clockwork.now)
                    if (other.place, place) in self.network.cut:
                        self.laws.doubtful.add(queued.letter)  # whoever gave it heard no answer (RFC 1047)
                    else:
                        host.spool.out(queued.id)

        return run

    @staticmethod
    def _relays(host: Host, other: Host) -> bool:
        return host.register.active == other.place and other.answers() and not other.frozen and other.takes()

    def _copying(self) -> None:
        """Replication goes on beside, as in a daemon, from who is marked as the active."""
        self.clockwork.after(0.7, self._copying)
        active = self._followed() if self.copies else None
        if active is None:
            return
        source = self.hosts[active]
        sink = self.hosts[MAIL[1 - MAIL.index(source.place)]]
        links = [(self.desk, sink.place), (source.place, self.desk), (self.desk, source.place)]
        up = source.up and sink.up and not source.frozen and not sink.frozen
        if not up or any(link in self.network.cut for link in links):
            return
        number = next(self.passes)
        epoch, offer = source.store.marker.epoch, source.store.offered()

        def arrives() -> None:
            roles = sink.store.marker.role, sink.store.marker.epoch
            ours = roles == (PASSIVE, epoch) and self.copies and number > sink.store.passed
            served = sink.register.active == sink.place  # its agent asks the guard before it opens a store as a sink
            if sink.up and not sink.frozen and ours and not served:
                sink.store.passed = number  # a conversation keeps the order
                sink.store.cut = None  # the next offer ends it
                deletes = firewall.permits({"whole": True, **offer}, suspect=False)
                sink.store.copy(offer, deletes=deletes)
                self.clockwork.after(0.05, lambda: sink.store.sync() if sink.up else None)

        self.network.stream(self.desk, sink.place, arrives)

    def _followed(self) -> str | None:
        """Who is copied from, as the markers say; None where they don't let anybody be."""
        claims = [roles.claim(place, self.hosts[place].store.marker.head()) for place in MAIL]
        try:
            found = roles.active_of(PAIR, [claims])
            roles.demand_present(PAIR, [claims])
        except Refused:
            return None
        return found

    # ---- what befalls hosts ------------------------------------------------------------------------------------------

    def power_cut(self, place: str) -> None:
        if self.hosts[place].up:
            self.say(f"{place}: its power is cut")
            self.guards[place].ends()
            self.hosts[place].power_cut()

    def counts_as_off(self, place: str) -> None:
        """Somebody relies on it from now on, for as long as such a word counts (`proof.OFF_FOR`)."""
        if not self.witness:
            self.off_until[place] = self.clockwork.now + OFF_FOR

    def boots(self, place: str) -> None:
        left = self.off_until.get(place, 0.0) - self.clockwork.now
        if left > 0:
            self.clockwork.after(left + 0.1, lambda: self.boots(place))
        elif not self.hosts[place].up:
            self.say(f"{place}: it boots")
            self.hosts[place].boots()
            self.guard_starts(place)

    def guard_starts(self, place: str) -> None:
        """Its guard, anew."""
        if self.hosts[place].up:
            self.guards[place].ends()
            Guard(self.hosts[place], self.settings[place], self.network, self.guards)

    @property
    def serving(self) -> list[str]:
        return [place for place in MAIL if self.hosts[place].answers() and self.hosts[place].clock() >= NEVER]
