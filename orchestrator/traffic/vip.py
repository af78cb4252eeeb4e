"""Moving addresses from host to host: seen, released, taken up under a proof, and proven.

The hosts' agents do the work (`agent.address`); what may be done is decided in `holding`.

Invariant: `take` acts on nothing but a plan, which `holding.planned` gives only under proofs; it returns only when the
new holder has every address and no host that can be asked has one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.errors import AgentFault, HostError, HostUnreachable, MailmirrorError, Refused, StillRunning
from orchestrator.remote.host import Conversation
from orchestrator.traffic.holding import Plan, Released, Sight, Stand, plain

Head = dict[str, Any]
SECONDS = 10.0
"""For one answer of a host."""


@dataclass(frozen=True)
class End:
    """A mail host: `ask` has its agent's answer to the verb `address`, and raises HostError."""

    host: str
    interface: str
    ask: Callable[[Head], Mapping[str, Any]]


def asking(conversation: Conversation, timeout: float = SECONDS) -> Callable[[Head], Mapping[str, Any]]:
    """How an End asks by a conversation."""
    return lambda head: conversation.request("address", head, timeout=timeout).head


def unreachable(error: MailmirrorError) -> Callable[[Head], Mapping[str, Any]]:
    """How an End asks where no conversation could be begun."""

    def ask(_: Head) -> Mapping[str, Any]:
        raise HostError(str(error), remedy=error.remedy)

    return ask


class Vip:
    """The moving addresses (with prefix) of one pair, and its mail hosts."""

    def __init__(self, addresses: Sequence[str], ends: Sequence[End]) -> None:
        self.addresses = tuple(addresses)
        self._ends = {end.host: end for end in ends}

    def seen(self, *, probing: Sequence[str] = (), quick: bool = False) -> list[Sight]:
        """What each host says; those named in `probing` also ask the link who else has the addresses, which takes
        them 1 s, 0.3 s where `quick`.
        """
        return [self._sight(end, end.host in probing, quick) for end in self._ends.values()]

    def release(self, host: str, epoch: int) -> Released:
        """Have a host let go; the proof that it did. Safe to repeat. Raises HostError, and Refused where it didn't."""
        end = self._ends[host]
        self._ask(end, "remove")
        sight = self._sight(end, False, True)
        if sight.unseen or sight.stands:
            stands = ", ".join(stand.address for stand in sight.stands)
            raise Refused(f"{host} was to let go, and that isn't proven: {sight.unseen or stands}.")
        return Released(host, epoch, time.time())

    def take(self, plan: Plan) -> list[Sight]:
        """Take the addresses up, announce them once, and prove it; what every host says by then. Raises HostError
        (AgentFault with code `taken` where somebody answers for one), and Refused where it isn't proven.
        """
        if not plan.proofs:
            raise Refused("Nothing proves that the old holder let go.", remedy="Plan it by `holding.planned`.")
        self._ask(
            self._ends[plan.host], "add", quick=plan.quick, addresses=list(plan.addresses), despite=list(plan.despite)
        )
        seen = self.seen()
        for sight in seen:
            self._as_planned(sight, plan)
        return seen

    def _as_planned(self, sight: Sight, plan: Plan) -> None:
        """Raises where a host isn't what it ought to be after a move; one that was proven shut may be silent."""
        if sight.unseen and sight.host == plan.host:
            raise HostUnreachable(
                f"After the move {sight.host} can't be asked: {sight.unseen}.",
                remedy="It may hold the addresses, or not: see `mailmirror vip show`.",
            )
        for address in () if sight.unseen else self.addresses:
            if sight.holds(address) != (sight.host == plan.host):
                stands = "doesn't hold" if sight.host == plan.host else "holds"
                raise Refused(
                    f"After the move {sight.host} {stands} {plain(address)}.",
                    remedy="Two hosts may answer, or none: see `mailmirror vip show` at once.",
                )

    def announce(self, host: str) -> None:
        """Tell the link again where the addresses are. Raises HostError."""
        self._ask(self._ends[host], "announce")

    def _ask(self, end: End, action: str, **more: Any) -> Mapping[str, Any]:
        head = {"action": action, "interface": end.interface, "addresses": list(self.addresses), **more}
        return end.ask(head)

    def _sight(self, end: End, probing: bool, quick: bool) -> Sight:
        try:
            said = self._ask(end, "show")
            sight = Sight(
                end.host, end.interface, str(said["mac"]), tuple(map(_stand, said["stands"])),
                bool(said["may_change"] and said["may_send"]), str(said["trouble"]),
            )  # fmt: skip
            return self._probed(end, sight, quick) if probing and not sight.trouble else sight
        except (HostError, StillRunning) as error:
            return Sight(end.host, end.interface, unseen=str(error))
        except (KeyError, TypeError, ValueError) as error:
            return Sight(end.host, end.interface, unseen=f"its answer can't be understood: {error!r:.100}")

    def _probed(self, end: End, sight: Sight, quick: bool) -> Sight:
        try:
            claims = dict(self._ask(end, "probe", quick=quick)["claims"])
        except AgentFault as error:
            return replace(sight, trouble=str(error))
        heard = {plain(address): None if claim is None else str(claim[0]) for address, claim in claims.items()}
        return replace(sight, claims=heard)


def _stand(told: Sequence[Any]) -> Stand:
    address, prefix, interface, usable, flags = told
    return Stand(str(address), int(prefix), str(interface), bool(usable), tuple(map(str, flags)))
