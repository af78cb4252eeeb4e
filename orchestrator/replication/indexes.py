"""Dovecot's index caches carried to the place that becomes active: ahead while the active serves, then the rest.

Invariant: nothing counts as carried but a file that was read whole under the signature that it has at the end, with
Dovecot stopped, and the passive place says that just these stand there, durably. Who raised an error has vouched for
nothing: the agent there drops them before it becomes active.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from orchestrator.agent.wire import pack
from orchestrator.errors import AgentFault, LinkLost
from orchestrator.inventory.model import MIRROR, PRIMARY, Host, Pair
from orchestrator.replication import trouble
from orchestrator.replication.flow import PATIENCE, Flow
from orchestrator.replication.heads import checked, content
from orchestrator.replication.unasked import End

AT_ONCE = 2000
ROUNDS = 4
"""How often those that the passive place lacks are carried once more."""
LARGE = 4 << 20
"""Bytes of a cache (dovecot.index.cache) that isn't carried while users wait: without it Dovecot reads mails anew."""
_SIGNATURE = re.compile(r"[0-9]{1,20}( [0-9]{1,20}){3}")

Key = tuple[str, str]
"""Directory and file name."""


class Standing(NamedTuple):
    """An index at the active place: its directory's mode, uid and gid; `young`, it may change with the same times."""

    directory: tuple[int, int, int]
    size: int
    mtime: int
    signature: str
    young: bool


class Store(NamedTuple):
    """A store's two ends, and what is declared of it."""

    source: End
    sink: End
    accounts: str | None
    owner: str
    other_dovecot: bool


@dataclass
class Carrying:
    """What one operation has carried so far, by the passive place's root: signatures at the active place. `names` are
    what the active calls owners and groups.
    """

    operation: str
    known: dict[str, dict[Key, str]] = field(default_factory=dict)
    names: dict[str, dict[str, str]] = field(default_factory=dict)


def carry(carrying: Carrying, pair: Pair, active: Host, places: Mapping[str, Sequence[Flow]], *, stopped: bool) -> int:
    """Of every store to the other mail host, an archive gets none: ahead, or, `stopped`, the rest. How many were
    carried, or stand there in the end. Raises as a pass does.
    """
    act, count = (settle if stopped else ahead), 0
    for host in (pair.hosts[name] for name in places if pair.hosts[name].place in (PRIMARY, MIRROR)):
        for flow, store in zip(places[host.name], active.stores, strict=True):
            ends = (flow.source, flow.sink, store.accounts, pair.owner, host.other_dovecot)
            try:
                count += act(carrying, Store(*ends))
            except (AgentFault, LinkLost) as error:
                raise trouble.told(error) from error
    return count


def ahead(carrying: Carrying, store: Store) -> int:
    """Carry what stands there now; how many files. Raises AgentFault, LinkLost."""
    known = carrying.known.setdefault(store.sink.path, {})
    found = _listed(carrying, store, stopped=False)
    lacking = {key: each for key, each in found.items() if known.get(key) != each.signature}
    return _carry(carrying, store, lacking, False)


def settle(carrying: Carrying, store: Store) -> int:
    """Carry the rest, with Dovecot stopped at both ends, and have it vouched for; how many stand there.

    Raises AgentFault where one may run, or they don't come to be the same; LinkLost.
    """
    known = carrying.known.setdefault(store.sink.path, {})
    found = _listed(carrying, store, stopped=True)
    for _ in range(ROUNDS):
        lacking = {key: each for key, each in found.items() if known.get(key) != each.signature}
        for key in [key for key, each in lacking.items() if key[1].endswith(".cache") and each.size > LARGE]:
            del lacking[key], found[key]
        _carry(carrying, store, lacking, True)
        if any(known.get(key) != each.signature for key, each in found.items()):
            continue
        missing, settled = _settled(carrying, store, found)
        if not missing:
            return settled
        for key in missing:
            known.pop(key, None)
    raise AgentFault(
        f"The index caches at {store.sink.path} on {store.sink.host} don't come to be those of {store.source.host}.",
        remedy="See who else writes into these stores, and begin anew.",
    )


def _listed(carrying: Carrying, store: Store, *, stopped: bool) -> dict[Key, Standing]:
    head = {"store": store.source.path, "accounts": store.accounts, "stopped": stopped}
    frame = store.source.link.request("store.indexes", head, timeout=PATIENCE)
    told = checked(store.source.host, "store.indexes", frame.head)
    found: dict[Key, Standing] = {}
    for directory, mode, uid, gid, rows in content(store.source.host, "indexes", frame) or []:
        for name, size, mtime, signature, young in rows:
            if not _SIGNATURE.fullmatch(signature):
                raise AgentFault(f"{store.source.host} answered with a signature that is none: {signature!r:.60}")
            found[directory, name] = Standing((mode, uid, gid), size, mtime, signature, bool(young))
    carrying.names = {"users": told["users"], "groups": told["groups"]}
    return found


def _carry(carrying: Carrying, store: Store, lacking: dict[Key, Standing], stopped: bool) -> int:
    known = carrying.known[store.sink.path]
    count = 0
    for some in _batches(lacking):
        left: dict[Key, int] = dict.fromkeys(some, 0)
        while left:
            for key, whole in _piecewise(carrying, store, lacking, left, stopped):
                count += whole
                if whole and (stopped or not lacking[key].young):
                    known[key] = lacking[key].signature
    return count


def _batches(lacking: dict[Key, Standing]) -> Iterator[list[Key]]:
    keys = iter(lacking)
    while some := list(islice(keys, AT_ONCE)):
        yield some


def _piecewise(
    carrying: Carrying, store: Store, lacking: dict[Key, Standing], left: dict[Key, int], stopped: bool
) -> list[tuple[Key, bool]]:
    """One answer of the one end laid at the other; those that are over, and whether they stand there now."""
    want = [[*key, lacking[key].signature, offset] for key, offset in left.items()]
    asked, deflated = pack(want)
    head = {"store": store.source.path, "stopped": stopped}
    frame = store.source.link.request("store.read_indexes", head, asked, deflated=deflated, timeout=PATIENCE)
    told = checked(store.source.host, "store.read_indexes", frame.head)["pieces"]
    if not 0 < len(told) <= len(want) or sum(piece[0] for piece in told if piece) != len(frame.blob):
        raise AgentFault(f"{store.source.host} answered with pieces of indexes that weren't asked for.")
    over: list[tuple[Key, bool]] = []
    pieces: list[list[Any]] = []
    directories: dict[str, tuple[int, int, int]] = {}
    for key, piece in zip(list(left), told, strict=False):
        if piece is None:
            over.append((key, False))
            continue
        length, mode, uid, gid, last = piece
        directories[key[0]] = lacking[key].directory
        pieces.append([*key, left[key], length, mode, uid, gid, lacking[key].mtime, last])
        left[key] += length
        if last:
            over.append((key, True))
        elif not length:
            raise AgentFault(f"{store.source.host} answered with a piece of an index that is empty.")
    head = {
        "store": store.sink.path, "operation": carrying.operation, "owner": store.owner,
        "other_dovecot": store.other_dovecot, "directories": directories, "pieces": pieces,
        **carrying.names,
    }  # fmt: skip
    store.sink.link.request("store.lay_indexes", head, frame.blob, timeout=PATIENCE)
    for key, _ in over:
        del left[key]
    return over


def _settled(carrying: Carrying, store: Store, wanted: dict[Key, Standing]) -> tuple[list[Key], int]:
    rows: dict[str, list[list[Any]]] = {}
    for (directory, name), each in wanted.items():
        rows.setdefault(directory, []).append([name, each.size, each.mtime])
    blob, deflated = pack([[directory, files] for directory, files in rows.items()])
    head = {
        "store": store.sink.path, "operation": carrying.operation, "accounts": store.accounts,
        "other_dovecot": store.other_dovecot,
    }  # fmt: skip
    frame = store.sink.link.request("store.settle_indexes", head, blob, deflated=deflated, timeout=PATIENCE)
    told = checked(store.sink.host, "store.settle_indexes", frame.head)
    return [(directory, name) for directory, name in told["missing"]], int(told["settled"])
