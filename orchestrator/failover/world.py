"""What the steps of a journey work on: a pair's hosts by place, its replication, and what leads users to a place.

Invariant: nothing here is remembered from call to call; whoever asks gets what is so now, or an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from orchestrator.replication.homecoming import Store
from orchestrator.traffic.switch import Pointer
from orchestrator.traffic.vip import Vip

Head = Mapping[str, Any]


class Answered(NamedTuple):
    """An agent's answer: its head, and the bytes that came with it."""

    head: Head
    blob: bytes


class Equality(NamedTuple):
    """Whether both places' digests are the same for every account of every store, and what was seen."""

    equal: bool
    said: str


class Copying(Protocol):
    """The pair's replication. Every method raises HostError, AgentFault and Refused as `replication` does."""

    def lag(self) -> float | None:
        """Seconds that the passive place lacks now; None: not known."""

    def carry(self, within: float) -> Equality:
        """One whole pass, and its proof: digests of what was touched."""

    def carry_indexes(self, operation: str, within: float, *, stopped: bool) -> str:
        """Carry the IMAP server's index caches ahead; or, with the servers `stopped` and the places equal, the rest, so
        that the passive place may be served with them by this operation. What was done.
        """

    def let_go(self) -> None:
        """Nobody copies, and no store is open at an agent that answers, so that markers can be turned; nothing is
        copied until `carry` or `follow`.
        """

    def follow(self, within: float) -> Equality:
        """Copy in the direction that the markers say, from a comparison on; equal when the first pass is proven."""

    def adopt(self, within: float) -> Equality:
        """Take what stands at the passive place for a copy: compare and mend it, while the active serves its users."""

    def proof(self, within: float) -> Equality:
        """Whether both are equal at one moment, while the active serves its users."""


class World(Protocol):
    """One pair. Places are primary, mirror and witness."""

    @property
    def copying(self) -> Copying: ...

    def ask(self, place: str, verb: str, head: Head, within: float, blob: bytes = b"") -> Answered:
        """An agent's answer to a verb. Raises HostError where nobody knows, AgentFault where it refused."""

    def has(self, place: str) -> bool:
        """Whether the pair has such a place with a guard."""

    def wall(self) -> float:
        """Seconds since 1970."""

    def host(self, place: str) -> str:
        """The host's name."""

    def address(self, place: str) -> str:
        """Where clients that are led by name find it."""

    def stores(self, place: str) -> Sequence[str]:
        """The roots of a place's stores."""

    def mailstores(self, place: str) -> Sequence[Store]:
        """The same, each with its id and a conversation that stands now. Raises HostError; Refused without a marker."""

    def directory(self) -> Path:
        """Where the controller keeps its records (`mm_state_dir`)."""

    def qresync_after(self) -> float:
        """Seconds for which a failover has QRESYNC not advertised."""

    def leased(self) -> bool:
        """Whether the pair has a lease."""

    def pointers(self) -> Sequence[Pointer[Any]]:
        """The ways that lead users by name, or by the site's own commands."""

    def vip(self) -> Vip | None:
        """The addresses that move; None where there are none."""

    def cut_off(self, place: str, epoch: int, within: float) -> str:
        """Have the fence devices of a host switch it off, level by level; the proof in words, empty without one."""

    def attested(self, place: str, epoch: int) -> str:
        """An operator's statement that still counts, that a host is fenced in this epoch; empty without one."""

    def unready(self, journey: str) -> Sequence[str]:
        """What speaks against this journey now, a sentence each."""

    def outside(self, place: str, within: float) -> str:
        """What an observer elsewhere finds wrong with a place's services; empty when all answer as they should."""
