"""A lost place comes home: its store held against the cut, what only it has set aside, and put into the active's.

In this order, each of which may be done again: `look` (nothing is touched; what it finds is to be recorded before the
next), `plan`, `set_aside`, `carry_out`, `let_go`. What is decided stands in `reclaim`; the agents make everything
durable and once.

Invariant: what `look` found is the only base of the steps behind it, since these change ctimes. A file leaves the
returned host's reclaim area only under the digest that the active took. Memory follows the largest account.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from orchestrator.agent.wire import Frame, pack
from orchestrator.errors import AgentFault, TryAgain
from orchestrator.remote.host import Conversation
from orchestrator.replication.flow import PATIENCE
from orchestrator.replication.heads import checked, content
from orchestrator.replication.reclaim import Act, Compared, Facts, Knew, Plan, Spot, Stood, compare, judge

SOME = 500
"""Messages in one request."""
_MESSAGE_ID = re.compile(rb"^message-id:[ \t\r\n]*([^\r\n]{1,250})", re.IGNORECASE | re.MULTILINE)

T = TypeVar("T")
Key = tuple[str, str, str]
"""(account, folder, base)"""


class Store(NamedTuple):
    """A store on a host that is spoken to; `accounts` is the inventory's glob, `other_dovecot` its word."""

    link: Conversation
    path: str
    id: str
    accounts: str | None = None
    other_dovecot: bool = False

    def ask(self, verb: str, head: Mapping[str, Any] | None = None, blob: bytes = b"", deflated: bool = False) -> Frame:
        full = {
            "store": self.path, "store_id": self.id, "accounts": self.accounts, "other_dovecot": self.other_dovecot,
            **(head or {}),
        }  # fmt: skip
        return self.link.request(verb, full, blob, deflated=deflated, timeout=PATIENCE)

    def pages(self, verb: str, what: str, head: Mapping[str, Any], shape: str = "") -> Iterator[tuple[Any, Frame]]:
        """Every page's rows, checked, each with its frame."""
        after: Any = None
        while True:
            frame = self.ask(verb, {**head, "after": after})
            checked(self.link.name, shape or verb, frame.head)
            yield content(self.link.name, what, frame) or [], frame
            after = frame.head["next"]
            if after is None:
                return


class Cut(NamedTuple):
    """A cut, and the store on whose host it stands (the active's, unless the pair has turned since); `at` is when it
    was made, by that host's clock.
    """

    store: Store
    epoch: int
    place: str
    complete: int
    operation: str
    at: float = 0.0


@dataclass(frozen=True)
class Found:
    """What `look` found: to be recorded whole. `keywords`: letter -> word, by the folder's name on the active."""

    compared: tuple[Compared, ...]
    complete: int
    kept: frozenset[tuple[str, str]]
    keywords: Mapping[str, Mapping[str, str]]

    def packed(self) -> dict[str, Any]:
        return {
            "compared": [one.packed() for one in self.compared], "complete": self.complete,
            "kept": sorted(self.kept), "keywords": dict(self.keywords),
        }  # fmt: skip

    @classmethod
    def unpacked(cls, value: Mapping[str, Any]) -> Found:
        kept = frozenset((str(account), str(base)) for account, base in value["kept"])
        compared = tuple(Compared.unpacked(one) for one in value["compared"])
        return cls(compared, int(value["complete"]), kept, value["keywords"])


@dataclass
class Outcome:
    """What carrying a plan out came to: digests by message, and what turned out otherwise."""

    delivered: dict[Key, str] = field(default_factory=dict)
    again: int = 0  # of those: how many the active had by an earlier run
    message_ids: dict[Key, str] = field(default_factory=dict)
    applied: list[Act] = field(default_factory=list)  # flags, moves, copies and folders, durable at the active
    outrun: list[Act] = field(default_factory=list)  # the active changed it meanwhile, and wins
    missing: list[Key] = field(default_factory=list)  # not in the reclaim area


def cuts(store: Store) -> list[Cut]:
    """The cuts that stand at a store's host, oldest epoch first."""
    told = checked(store.link.name, "store.cuts", store.ask("store.cuts").head)["cuts"]
    return [Cut(store, c["epoch"], c["place"], c["source_complete"] or 0, c["operation"], c["at"]) for c in told]


# ---- looking ---------------------------------------------------------------------------------------------------------


def look(returned: Store, cut: Cut) -> Found:
    """Hold the returned host's store against the cut. Nothing is touched. Raises AgentFault, LinkLost."""
    here = _folders(returned, live=False)
    known = _cut_folders(cut)
    compared: list[Compared] = []
    keywords: dict[str, Mapping[str, str]] = {}
    for account in sorted(here.keys() | known.keys()):
        ours, theirs = here.get(account, {}), known.get(account, {})
        if {path: facts[:2] for path, facts in ours.items()} == theirs:
            continue
        stood, words, moving = _messages(returned, list(ours), live=False)
        if moving:
            raise TryAgain(f"{returned.link.name}: {moving[0]} changes while it is read: its mail services aren't shut")
        one = compare(account, stood, _knew(cut, account), {p: f[2] for p, f in ours.items()}, theirs.keys())
        compared.append(one)
        keywords.update((one.renamed.get(path, path), each) for path, each in words.items() if each)
    kept = frozenset(_kept(cut, {one.account for one in compared}))
    return Found(tuple(compared), cut.complete, kept, keywords)


def _folders(store: Store, live: bool) -> dict[str, dict[str, tuple[int, str, int]]]:
    """Account -> folder -> (messages, digest, ctime of the directory)."""
    found: dict[str, dict[str, tuple[int, str, int]]] = defaultdict(dict)
    for rows, _ in store.pages("store.differences", "standing folders", {"live": live}):
        for path, account, count, digest, _validity, ctime, _still in rows:
            found[account][path] = (count, digest, ctime)
    return found


def _messages(store: Store, paths: list[str], live: bool) -> tuple[list[Stood], dict[str, Any], list[str]]:
    stood: list[Stood] = []
    words: dict[str, Any] = {}
    moving: list[str] = []
    if paths:
        head = {"paths": paths, "live": live}
        pages = store.pages("store.differences", "standing messages", head, "store.differences messages")
        for rows, frame in pages:
            stood += [Stood(*row) for row in rows]
            words.update(frame.head["keywords"])
            moving += frame.head["moving"]
    return stood, words, moving


def _cut_folders(cut: Cut) -> dict[str, dict[str, tuple[int, str]]]:
    found: dict[str, dict[str, tuple[int, str]]] = defaultdict(dict)
    for rows, _ in _cut_pages(cut, "folders", {}):
        for path, account, count, digest, _validity in rows:
            found[account][path] = (count, digest)
    return found


def _knew(cut: Cut, account: str) -> Iterator[Knew]:
    for rows, _ in _cut_pages(cut, "placements", {"accounts": [account]}):
        yield from (Knew(*row) for row in rows)


def _kept(cut: Cut, accounts: set[str]) -> Iterator[tuple[str, str]]:
    for rows, _ in _cut_pages(cut, "kept", {}):
        yield from ((account, name.partition(":")[0]) for account, _path, name, _at in rows if account in accounts)


def _cut_pages(cut: Cut, what: str, head: Mapping[str, Any]) -> Iterator[tuple[Any, Frame]]:
    full = {"cut": [cut.epoch, cut.place], "what": what, **head}
    return cut.store.pages("store.cut_rows", f"cut {what}", full)


# ---- planning --------------------------------------------------------------------------------------------------------


def plan(found: Found, active: Store, ctimes: str) -> Plan:
    """What is to be done, by the active's present state; nothing is touched. Raises TryAgain where that won't hold
    still."""
    folders = _folders(active, live=True)
    spots: dict[tuple[str, str], list[Spot]] = defaultdict(list)
    for one in found.compared:
        wanted = {difference.base for difference in one.differences}
        stood, _, moving = _messages(active, list(folders.get(one.account, {})), live=True)
        if moving:
            raise TryAgain(f"{active.link.name}: {moving[0]} changes all the time: no listing of it held still")
        for each in stood:
            if each.base in wanted:
                spots[one.account, each.base].append(each.spot)
    known = {account: frozenset(paths) for account, paths in folders.items()}
    return judge(found.compared, Facts(found.complete, found.kept, ctimes), spots, known)


def absent(active: Store, planned: Plan) -> list[str]:
    """Accounts that are to get something and don't stand at the active: only a person makes accounts."""
    wanted = {act.account for act in planned.acts}
    return sorted(wanted - _folders(active, live=True).keys()) if wanted else []


# ---- acting ----------------------------------------------------------------------------------------------------------


def set_aside(returned: Store, planned: Plan, found: Found, operation: str, epoch: int) -> list[Key]:
    """Link what has to be delivered, and what a person has to look at, into the returned host's reclaim area; what
    wasn't there (any more)."""
    others = {(line.account, line.base) for line in planned.lines if line.kind == "other"}
    rows = [(act.account, act.stood) for act in planned.acts if act.stood is not None]
    for one in found.compared:
        for each in one.differences:
            rows += [(one.account, stood) for stood in each.here if (one.account, each.base) in others]
    missing: list[Key] = []
    for some in _portions(rows):
        accounts = {(stood.folder, stood.base): account for account, stood in some}
        blob, deflated = pack([[s.folder, s.sub, s.base, s.info, s.inode] for _, s in some])
        frame = returned.ask("store.aside", {"operation": operation, "epoch": epoch}, blob, deflated)
        told = checked(returned.link.name, "store.aside", frame.head)
        for folder, base in (*told["missing"], *told["changed"]):
            missing.append((accounts[folder, base], folder, base))
    return missing


def carry_out(
    returned: Store, active: Store, planned: Plan, found: Found, operation: str, epoch: int,
) -> Outcome:  # fmt: skip
    """Do what was planned, at the active. Done again it does nothing twice."""
    outcome = Outcome()
    to_apply = [act for act in planned.acts if act.what != "deliver"]
    for some in _portions(to_apply):
        acts = [_packed(act) for act in some]
        blob, deflated = pack({"acts": acts, "keywords": dict(found.keywords)})
        frame = active.ask("store.apply", {"operation": operation, "epoch": epoch}, blob, deflated)
        words = checked(active.link.name, "store.apply", frame.head)["words"]
        outcome.outrun += [act for act, word in zip(some, words, strict=True) if word != "done"]
        outcome.applied += [act for act, word in zip(some, words, strict=True) if word == "done"]
    for act in planned.acts:
        if act.what == "deliver":
            try:
                _deliver(returned, active, act, found, {"operation": operation, "epoch": epoch}, outcome)
            except AgentFault as fault:
                if fault.code != "not-aside":
                    raise
                outcome.missing.append((act.account, act.there.folder, act.base))
    return outcome


def _packed(act: Act) -> list[Any]:
    if act.what == "folder":
        return ["folder", act.account, act.there.folder]
    return [act.what, act.account, act.base, list(act.here or ()), list(act.there)]


def _deliver(
    returned: Store, active: Store, act: Act, found: Found, words: Mapping[str, Any], outcome: Outcome
) -> None:
    stood = act.stood
    if stood is None:
        raise ValueError(f"a delivery of nothing: {act}")
    key = (act.account, stood.folder, act.base)
    digest, offset = "", 0
    while True:
        piece = returned.ask(
            "store.read_aside", {**words, "folder": stood.folder, "base": act.base, "offset": offset}
        )  # fmt: skip
        told = checked(returned.link.name, "store.read_aside", piece.head)
        digest = digest or str(told["sha256"])
        if offset == 0 and (match := _MESSAGE_ID.search(bytes(piece.blob)[: 64 << 10])):
            outcome.message_ids[key] = match[1].decode("ascii", "replace").strip()
        head = {
            **words, "folder": act.there.folder, "account": act.account, "base": act.base, "sub": act.there.sub,
            "info": act.there.info, "keywords": dict(found.keywords.get(act.there.folder, {})), "size": told["size"],
            "mtime": told["mtime"], "sha256": digest, "offset": offset,
        }  # fmt: skip
        answer = active.ask("store.deliver", head, bytes(piece.blob)).head
        if "done" in answer:
            outcome.delivered[key] = digest
            outcome.again += not answer.get("new")
            return
        if int(answer["have"]) <= offset and offset:
            raise AgentFault(f"{active.link.name}: it doesn't take {act.there.folder}/{act.base}", code="garbled")
        offset = int(answer["have"])


# ---- the end ---------------------------------------------------------------------------------------------------------


def let_go(returned: Store, outcome: Outcome, operation: str, epoch: int) -> int:
    """Remove from the reclaim area what the active took, under its digest; how many entries are left there."""
    left = 0
    rows = [[folder, base, digest] for (_, folder, base), digest in outcome.delivered.items()]
    for some in [*_portions(rows)] or [[]]:
        blob, deflated = pack(some)
        frame = returned.ask("store.drop_aside", {"operation": operation, "epoch": epoch}, blob, deflated)
        left = int(checked(returned.link.name, "store.drop_aside", frame.head)["left"])
    return left


def forget(cut: Cut, operation: str) -> None:
    """Drop a cut: the rejoin that needed it has ended."""
    cut.store.ask("store.drop_cut", {"cut": [cut.epoch, cut.place], "operation": operation})


def _portions(rows: Sequence[T]) -> Iterable[Sequence[T]]:
    return (rows[at : at + SOME] for at in range(0, len(rows), SOME))
