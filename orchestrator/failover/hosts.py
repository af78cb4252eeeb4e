"""The world of a journey, for real: the pair's agents over their conversations, its devices, name servers and checks.

Conversations are opened when they are needed first, and anew after one was lost. Invariant: a host that doesn't answer
costs its own questions and no other's, and every answer is what the host says now.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.errors import HostError, HostUnreachable, NotPermitted, OperatorError, Refused
from orchestrator.failover.world import Answered, Copying, Head
from orchestrator.fencing import attest, device, levels, proof
from orchestrator.health.asked import PROBES, Task, seats
from orchestrator.inventory import secret
from orchestrator.inventory.model import WITNESS, Host, Pair
from orchestrator.readiness import asking
from orchestrator.readiness.check import Check, State
from orchestrator.readiness.checks import checks
from orchestrator.readiness.gather import gather
from orchestrator.records import fences
from orchestrator.remote.host import Conversation
from orchestrator.remote.opening import open_conversation
from orchestrator.replication.homecoming import Store
from orchestrator.traffic import declared
from orchestrator.traffic.switch import Pointer
from orchestrator.traffic.vip import End, Vip

ALLOW = ("replication", "services")
PLANNED = frozenset(("guards", "gate", "disk", "address", "dns", "command", "queueing"))
"""The checks that a journey with both hosts at hand rests on."""

LOOK = 10.0
"""Seconds for a look at a marker."""
PATIENCE = 4.0
"""Seconds that anybody waits for a conversation to begin. It goes on beginning: a slow host is heard by who asks next.
"""

Open = Callable[[Host], Conversation]


def opened(host: Host) -> Conversation:
    """A conversation for all that a journey asks."""
    return open_conversation(host, stores=[store.root for store in host.stores], allow=ALLOW)


class _Opening:
    """A conversation that is being begun beside, so that a host which is away costs nobody more than they can spare."""

    def __init__(self, open_link: Open, host: Host) -> None:
        self._host, self._began = host, time.monotonic()
        self._found: Future[Conversation] = Future()
        self._unwanted = False
        threading.Thread(target=self._run, args=(open_link,), name=f"open {host.name}", daemon=True).start()

    def _run(self, open_link: Open) -> None:
        try:
            link = open_link(self._host)
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            self._found.set_exception(error)
            return
        self._found.set_result(link)
        if self._unwanted:
            link.close()

    @property
    def over(self) -> bool:
        """Whether it failed, or its conversation is lost."""
        if not self._found.done():
            return False
        return self._found.exception() is not None or self._found.result().lost.is_set()

    def wait(self, within: float) -> Conversation:
        """The conversation, if it stands within so many seconds of the beginning. Raises what opening raised."""
        try:
            return self._found.result(max(0.05, self._began + within - time.monotonic()))
        except TimeoutError as error:
            raise HostUnreachable(f"{self._host.name} hasn't answered for {within:.0f} s.") from error

    def close(self) -> None:
        self._unwanted = True
        if self._found.done() and self._found.exception() is None:
            self._found.result().close()


class Hosts:
    """See `world.World`. Thread-safe; `close` ends the conversations."""

    def __init__(self, pair: Pair, copying: Copying, *, open_link: Open = opened) -> None:
        self.copying = copying
        self._pair, self._open = pair, open_link
        self._links: dict[str, _Opening] = {}
        self._turn = threading.Lock()

    def close(self) -> None:
        with self._turn:
            links, self._links = list(self._links.values()), {}
        for link in links:
            link.close()

    def ask(self, place: str, verb: str, head: Head, within: float, blob: bytes = b"") -> Answered:
        named = {"pair": self._pair.name} if verb == "guard" else {}  # a witness may have guards of several pairs
        ends = time.monotonic() + within
        link = self._link(place, min(within, PATIENCE))
        left = max(0.1, ends - time.monotonic())
        answer = link.request(verb, {**head, **named}, blob, timeout=left)
        return Answered(answer.head, bytes(answer.blob))

    def _link(self, place: str, within: float) -> Conversation:
        with self._turn:
            opening = self._links.get(place)
            if opening is None or opening.over:
                opening = self._links[place] = _Opening(self._open, self._at(place))
        return opening.wait(within)

    def _at(self, place: str) -> Host:
        host = self._pair.at(place)
        if host is None:
            raise HostError(f"The pair {self._pair.name} has no {place}.", remedy="Say it in the inventory.")
        return host

    # ---- what is declared --------------------------------------------------------------------------------------------

    def wall(self) -> float:
        return time.time()

    def has(self, place: str) -> bool:
        return self._pair.at(place) is not None

    def host(self, place: str) -> str:
        return self._at(place).name

    def address(self, place: str) -> str:
        return self._at(place).address

    def stores(self, place: str) -> Sequence[str]:
        return [store.root for store in self._at(place).stores]

    def mailstores(self, place: str) -> Sequence[Store]:
        host, link = self._at(place), self._link(place, LOOK)
        found = []
        for store in host.stores:
            marker = link.request("store.look", {"store": store.root}, timeout=LOOK).head["marker"]
            if marker is None:
                raise Refused(
                    f"{store.root} on {host.name} has no marker: nobody can say what it has of its own.",
                    remedy="Mount its file system; where the disk is a new one, `mailmirror seed` copies everything.",
                )
            found.append(Store(link, store.root, str(marker["store"]), store.accounts, host.other_dovecot))
        return found

    def directory(self) -> Path:
        return self._pair.state_dir

    def qresync_after(self) -> float:
        return self._pair.qresync_after

    def leased(self) -> bool:
        return self._pair.lease is not None and self._pair.at(WITNESS) is not None

    def pointers(self) -> Sequence[Pointer[Any]]:
        ways: list[Pointer[Any]] = []
        if self._pair.dns is not None:
            zone = declared.zone_of(self._pair, declared.key_of(self._pair))
            ways += [zone] if zone else []
        commands = declared.commands_of(self._pair)
        return [*ways, commands] if commands else ways

    def vip(self) -> Vip | None:
        said = self._pair.vip
        if said is None:
            return None
        ends = [
            End(host.name, host.vip_interface or said.interface, partial(self._of_addresses, host.place))
            for host in (self._pair.primary, self._pair.mirror)
        ]
        return Vip(said.addresses, ends)

    def _of_addresses(self, place: str, head: Mapping[str, Any]) -> Mapping[str, Any]:
        return self.ask(place, "address", head, asking.SECONDS).head

    # ---- fences ------------------------------------------------------------------------------------------------------

    def cut_off(self, place: str, epoch: int, within: float) -> str:
        host = self._at(place)
        ends = device.boottime() + within
        tested = fences.tests(self._pair.state_dir, self._pair.name)
        for outcomes, proven in levels.each(levels.devices(host), device.State.OFF):
            found = levels.off_proof(host.name, epoch, outcomes, tested, by="the controller", clock=levels.boot_id())
            case = proof.Case(host.name, epoch, "", device.boottime(), levels.boot_id(), time.time())
            if proven and not proof.why_not(found, case):
                return proof.words(found)
            if device.boottime() > ends:
                break
        return ""

    def attested(self, place: str, epoch: int) -> str:
        said = attest.latest(self._pair.state_dir, self._pair.name, self.host(place), epoch)
        if said is None:
            return ""
        case = proof.Case(said.host, epoch, "", device.boottime(), levels.boot_id(), time.time())
        return "" if proof.why_not(said, case) else proof.words(said)

    # ---- checks ------------------------------------------------------------------------------------------------------

    def unready(self, journey: str) -> Sequence[str]:
        del journey
        found = checks(gather(self._pair, {}, "it isn't asked here"))
        if all(check.name != "guards" for check in found):
            return ["guards: This pair only replicates: say mm_services, and lay guards down."]
        bad = (State.RED, State.UNKNOWN)
        return [_sentence(check) for check in found if check.name in PLANNED and check.state in bad]

    def outside(self, place: str, within: float) -> str:
        host = self._at(place)
        wrong: list[str] = []
        away: HostError | None = None
        for looker, task in self._lookers(host):
            if looker.name == host.name and (wrong or away is None):
                continue  # somebody else could look, and that counts
            ours = looker.name in self._pair.hosts
            try:
                link = self._link(looker.place, min(within, PATIENCE)) if ours else self._open(looker)
            except HostError as error:  # the lost place is one of those who could look
                away = away or error
                continue
            try:
                seen = asking.looked(link, task.head, task.services)
            finally:
                if not ours:
                    link.close()
            wrong = [f"{each.service} of {host.name}: {each.how} {each.why}" for each in seen if each.how]
            if not wrong:
                return ""
        if not wrong and away is not None:
            raise away
        return "; ".join(wrong) or f"nobody but {host.name} itself can look, or no services are said"

    def _lookers(self, host: Host) -> list[tuple[Host, Task]]:
        """Who can look at that mail host from another one, and at what. Where nobody can, the other mail host: it is no
        observer while it serves, but all that a pair without a witness has. Where that one is dead too, itself.
        """
        seen_from = seats(self._pair, host.name, self._password())
        found = [(seat.host, task) for seat in seen_from for task in seat.tasks if self._is_of(task, host)]
        lookers = {looker.name: (looker, task) for looker, task in found if looker.name != host.name}
        other = self._pair.primary if host is self._pair.mirror else self._pair.mirror
        if found and not lookers:
            return [(other, found[0][1]), found[0]]
        return list(lookers.values())

    @staticmethod
    def _is_of(task: Task, host: Host) -> bool:
        return task.kind == PROBES and task.place == host.place

    def _password(self) -> str:
        if self._pair.canary is None:
            return ""
        try:
            return secret.read(self._pair.canary.password)
        except (OperatorError, NotPermitted, Refused):
            return ""


def _sentence(check: Check) -> str:
    return f"{check.name}: {check.found}"
