"""What a lost place that returns has of its own, and what becomes of it: cut x its listing x the active. Pure.

`compare` finds the differences between what the returned host's disk shows and what the cut knows. They are to be
recorded, ctimes and all, before anything touches that disk (links raise ctimes); every later step, and every rerun,
judges the record. `judge` turns them into acts for the active and lines for the report.

A difference is the returned host's own change only if its inode's ctime is later than what was acknowledged of that
placement (`Knew.changed`), or, where nothing was, later than `complete`, up to which nothing was missing: a power cut
brings unlinks and renames back. Both are the returned host's own clock.

Invariant: a message that is neither in the cut nor in quarantine is delivered, unless it is proven to be older than
`complete`. Nothing is ever expunged; a change of what the active has changed since isn't applied, but listed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, NamedTuple

ALIKE_FROM = 20
"""Below so many placements nobody can say that most ctimes are alike."""
ALIKE_SHARE = 0.5

COUNT, TRUST, VOID = "count", "trust", "void"
"""What ctimes are good for: they count, but not where most are alike; they count whatever; they say nothing."""

MOST_LINES = 100_000


class Spot(NamedTuple):
    """Where a message stands: folder, 0 for new or 1 for cur, the flags part with its colon."""

    folder: str
    sub: int
    info: str


class Stood(NamedTuple):
    """A message on the returned host, as its listing tells; times in ns."""

    folder: str
    base: str
    sub: int
    info: str
    inode: int
    size: int
    mtime: int
    ctime: int
    uid: int

    @property
    def spot(self) -> Spot:
        return Spot(self.folder, self.sub, self.info)


class Knew(NamedTuple):
    """A placement in the cut; `changed` is its ctime at the source when it was acknowledged (0: not known)."""

    folder: str
    base: str
    sub: int
    info: str
    inode: int
    size: int
    mtime: int
    changed: int

    @property
    def spot(self) -> Spot:
        return Spot(self.folder, self.sub, self.info)


class Difference(NamedTuple):
    """A message that stands otherwise than the cut has it: where it stands (by the folders' names here), and where it
    stood."""

    account: str
    base: str
    here: tuple[Stood, ...]
    known: tuple[Knew, ...]

    def packed(self) -> list[Any]:
        """For the journal."""
        return [self.account, self.base, [list(one) for one in self.here], [list(one) for one in self.known]]

    @classmethod
    def unpacked(cls, value: Sequence[Any]) -> Difference:
        account, base, here, known = value
        return cls(account, base, tuple(Stood(*one) for one in here), tuple(Knew(*one) for one in known))


@dataclass(frozen=True)
class Compared:
    """One account's comparison, to be recorded. `renamed`: folder here -> folder in the cut; `made`: folders that only
    stand here, each with its directory's ctime."""

    account: str
    differences: tuple[Difference, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    made: tuple[tuple[str, int], ...] = ()
    same: int = 0
    restless: int = 0  # of the same: how many have a later ctime than was acknowledged

    def packed(self) -> dict[str, Any]:
        """For the journal."""
        return {
            "account": self.account, "differences": [one.packed() for one in self.differences],
            "renamed": dict(self.renamed), "made": [list(one) for one in self.made], "same": self.same,
            "restless": self.restless,
        }  # fmt: skip

    @classmethod
    def unpacked(cls, value: Mapping[str, Any]) -> Compared:
        differences = tuple(Difference.unpacked(one) for one in value["differences"])
        made = tuple((str(path), int(ctime)) for path, ctime in value["made"])
        return cls(value["account"], differences, value["renamed"], made, value["same"], value["restless"])


class Act(NamedTuple):
    """What is to be done at the active. "deliver": `stood` is read from the reclaim area and put to `there`; "move"
    (flags too) and "copy" from exactly `here` to `there`; "folder" makes one. Folders of `here` and `there` have the
    names that the active knows."""

    what: str
    account: str
    base: str
    there: Spot
    here: Spot | None = None
    stood: Stood | None = None

    @classmethod
    def unpacked(cls, value: Sequence[Any]) -> Act:
        """From the plan's record."""
        what, account, base, there, here, stood = value
        return cls(what, account, base, Spot(*there), Spot(*here) if here else None, Stood(*stood) if stood else None)


class Line(NamedTuple):
    """One line of the report. `kind` is a key of `KINDS`; times in ns, 0 where there is none."""

    kind: str
    account: str
    folder: str
    base: str
    size: int
    mtime: int
    ctime: int
    told: str


KINDS = {
    "message": "never replicated, delivered as new",
    "flags": "own flags, applied",
    "move": "own move, applied",
    "copy": "own copy, applied",
    "folder": "own folder, made",
    "renamed": "a folder that has another name here: listed, not applied",
    "expunge": "expunged here without the other place knowing: at risk, listed, not applied",
    "outrun": "own change of what the active has changed since: at risk, listed, not applied",
    "undone": "brought back by a power cut: nothing is done",
    "kept": "its expunge was acknowledged, and it stands in quarantine: nothing is done",
    "other": "another body under a known name: left aside for a person",
}
AT_RISK = ("expunge", "outrun")


@dataclass(frozen=True)
class Plan:
    """What is to be done, and told. With `ask` nothing may be done before an operator has said what ctimes are good
    for: most of them are alike."""

    acts: tuple[Act, ...]
    lines: tuple[Line, ...]
    counts: Mapping[str, int]
    share: float  # of the placements that are the same here and in the cut: how many have a later ctime
    ask: bool

    @property
    def at_risk(self) -> int:
        return sum(self.counts.get(kind, 0) for kind in AT_RISK)

    def packed(self) -> dict[str, Any]:
        """For the record that every later step goes by."""
        return {
            "acts": [list(each) for each in self.acts], "lines": [list(each) for each in self.lines],
            "counts": dict(self.counts), "share": self.share, "ask": self.ask,
        }  # fmt: skip

    @classmethod
    def unpacked(cls, value: Mapping[str, Any]) -> Plan:
        acts = tuple(Act.unpacked(each) for each in value["acts"])
        lines = tuple(Line(*each) for each in value["lines"])
        return cls(acts, lines, value["counts"], float(value["share"]), bool(value["ask"]))


# ---- comparing -------------------------------------------------------------------------------------------------------


def compare(
    account: str, stood: Iterable[Stood], knew: Iterable[Knew], folders: Mapping[str, int], known: AbstractSet[str]
) -> Compared:
    """One account held against the cut. `folders`: those that stand here, each with its directory's ctime; `known`:
    those in the cut."""
    here: dict[str, list[Stood]] = defaultdict(list)
    there: dict[str, list[Knew]] = defaultdict(list)
    for one in stood:
        here[one.base].append(one)
    for each in knew:
        there[each.base].append(each)
    renamed = _renamed(here, there, folders.keys() - known, known - folders.keys())
    found, same, restless = [], 0, 0
    for base in sorted(here.keys() | there.keys()):
        standing = [one._replace(folder=renamed.get(one.folder, one.folder)) for one in here[base]]
        rows = {each.spot: each for each in there[base]}
        if {one.spot for one in standing} == rows.keys() and _are_one_body(standing, there[base]):
            same += len(standing)
            restless += sum(0 < rows[one.spot].changed < one.ctime for one in standing)
        else:
            found.append(Difference(account, base, tuple(here[base]), tuple(there[base])))
    made = tuple((path, folders[path]) for path in sorted(folders.keys() - known - renamed.keys()))
    return Compared(account, tuple(found), renamed, made, same, restless)


def _are_one_body(standing: Sequence[Stood], known: Sequence[Knew]) -> bool:
    return len({one.size for one in standing} | {one.size for one in known}) <= 1


def _renamed(
    here: Mapping[str, list[Stood]],
    there: Mapping[str, list[Knew]],
    only_here: AbstractSet[str],
    only_there: AbstractSet[str],
) -> dict[str, str]:
    """Folders that have another name here than in the cut: most of what the cut has in one stands in the other."""
    sizes = Counter(each.folder for rows in there.values() for each in rows if each.folder in only_there)
    shared: Counter[tuple[str, str]] = Counter()
    for base, rows in there.items():
        for each in rows:
            if each.folder in only_there:
                shared.update((one.folder, each.folder) for one in here.get(base, ()) if one.folder in only_here)
    found: dict[str, str] = {}
    for (ours, theirs), count in shared.most_common():
        if ours not in found and theirs not in found.values() and count * 2 > sizes[theirs]:
            found[ours] = theirs
    return found


# ---- judging ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Facts:
    """What is known beside the differences: up to which ctime nothing was missing on the other place (0: not known),
    what stood in its quarantine at the cut, as (account, base), and what ctimes are good for."""

    complete: int
    kept: AbstractSet[tuple[str, str]]
    ctimes: str = COUNT


def judge(
    compared: Iterable[Compared],
    facts: Facts,
    active: Mapping[tuple[str, str], Sequence[Spot]],
    folders: Mapping[str, AbstractSet[str]],
) -> Plan:
    """The plan. `active` is where each differing message, (account, base), stands on the active now; `folders` are the
    active's folders, by account."""
    acts: list[Act] = []
    lines: list[Line] = []
    counts: Counter[str] = Counter()
    same = restless = 0
    for one in compared:
        same, restless = same + one.same, restless + one.restless
        for act, line in (*_folders(one, facts, folders.get(one.account, frozenset())), *_messages(one, facts, active)):
            counts[line.kind] += 1
            if act is not None:
                acts.append(act)
            if len(lines) < MOST_LINES:
                lines.append(line)
    share = restless / same if same else 0.0
    alike = same >= ALIKE_FROM and share > ALIKE_SHARE
    return Plan(tuple(acts), tuple(lines), dict(counts), share, alike and facts.ctimes == COUNT)


Judged = tuple[Act | None, Line]


def _folders(one: Compared, facts: Facts, active: AbstractSet[str]) -> Iterator[Judged]:
    for ours, theirs in sorted(one.renamed.items()):
        yield None, Line("renamed", one.account, ours, "", 0, 0, 0, f"{theirs} in the cut")
    for path, ctime in one.made:
        if path in active:
            continue
        if facts.ctimes != VOID and facts.complete and ctime <= facts.complete:
            yield None, Line("undone", one.account, path, "", 0, 0, ctime, "the folder was deleted")
        else:
            told = Line("folder", one.account, path, "", 0, 0, ctime, "")
            yield Act("folder", one.account, "", Spot(path, 0, "")), told


def _messages(one: Compared, facts: Facts, active: Mapping[tuple[str, str], Sequence[Spot]]) -> Iterator[Judged]:
    for difference in one.differences:
        spots = active.get((one.account, difference.base), ())
        # Copies first: the other acts change the name that a copy is made from.
        found = list(_Case(difference, one.renamed, facts, spots).judged())
        yield from sorted(found, key=lambda each: each[0] is None or each[0].what != "copy")


class _Case:
    """One difference, judged."""

    def __init__(
        self, difference: Difference, renamed: Mapping[str, str], facts: Facts, active: Sequence[Spot]
    ) -> None:
        self._as_stood = {renamed.get(one.folder, one.folder): one for one in difference.here}
        here = (one._replace(folder=folder) for folder, one in self._as_stood.items())
        self._difference = difference._replace(here=tuple(here))
        self._facts = facts
        self._active = tuple(active)
        self._known = {each.folder: each for each in difference.known}
        self._newest = max((each.changed for each in difference.known), default=0)

    def judged(self) -> Iterator[Judged]:
        if not self._known:
            yield from map(self._unknown, self._difference.here)
            return
        if not _are_one_body(self._difference.here, self._difference.known) and self._difference.here:
            yield from ((None, self._line("other", one, "")) for one in self._difference.here)
            return
        extra = [one for one in self._difference.here if one.folder not in self._known]
        gone = [each for folder, each in self._known.items() if folder not in {s.folder for s in self._difference.here}]
        for one in self._difference.here:
            known = self._known.get(one.folder)
            if known is not None and known.spot != one.spot:
                yield self._reflagged(one, known)
        for one in extra:
            left = gone.pop(0) if gone else None
            yield self._placed(one, left)
        yield from filter(None, map(self._expunged, gone))

    # -- the cases

    def _unknown(self, one: Stood) -> Judged:
        """The cut has no such message."""
        facts = self._facts
        if (self._difference.account, one.base) in facts.kept:
            return None, self._line("kept", one, "")
        if facts.ctimes != VOID and facts.complete and one.ctime <= facts.complete:
            return None, self._line("undone", one, "its expunge was acknowledged")
        return self._delivered(one, "message", "")

    def _reflagged(self, one: Stood, known: Knew) -> Judged:
        if not self._is_own(one.ctime, known.changed):
            return None, self._line("undone", one, f"{known.info or 'none'} in the cut")
        if known.spot in self._active:
            act = Act("move", self._difference.account, one.base, one.spot, known.spot)
            return act, self._line("flags", one, f"{known.info or 'none'} before")
        return None, self._line("outrun", one, f"flags {one.info or 'none'}")

    def _placed(self, one: Stood, left: Knew | None) -> Judged:
        """It stands in a folder in which the cut doesn't have it; `left` is one in which it doesn't stand any more."""
        if not self._is_own(one.ctime, self._newest):
            return None, self._line(
                "undone", one, f"in {left.folder} in the cut" if left else "a copy that was removed"
            )
        if any(spot.folder == one.folder for spot in self._active):
            return None, self._line("outrun", one, "it stands there already")
        if not self._active:
            return self._delivered(one, "move" if left else "copy", "the active has it nowhere: delivered as new")
        account = self._difference.account
        if left is None:
            return Act("copy", account, one.base, one.spot, self._active[0]), self._line("copy", one, "")
        if left.spot in self._active:
            return Act("move", account, one.base, one.spot, left.spot), self._line("move", one, f"from {left.folder}")
        return None, self._line("outrun", one, f"moved here from {left.folder}")

    def _expunged(self, gone: Knew) -> Judged | None:
        if all(spot.folder != gone.folder for spot in self._active):
            return None
        line = Line("expunge", self._difference.account, gone.folder, gone.base, gone.size, gone.mtime, 0, "")
        return None, line

    # -- what they share

    def _is_own(self, ctime: int, acknowledged: int) -> bool:
        """Whether this is a change of the returned host's own, made after what was acknowledged.

        As late as that and later than `complete` counts too: the inode may have been changed by another name of it.
        """
        complete = self._facts.complete
        if self._facts.ctimes == VOID:
            return False
        if not acknowledged:
            return bool(complete) and ctime > complete
        return ctime > acknowledged or (ctime == acknowledged and bool(complete) and ctime > complete)

    def _delivered(self, one: Stood, kind: str, told: str) -> Judged:
        act = Act("deliver", self._difference.account, one.base, one.spot, stood=self._as_stood[one.folder])
        return act, self._line(kind, one, told)

    def _line(self, kind: str, one: Stood, told: str) -> Line:
        return Line(kind, self._difference.account, one.folder, one.base, one.size, one.mtime, one.ctime, told)
