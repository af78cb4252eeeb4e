"""Two places with histories, a power cut, a promotion, a return: the plan loses, doubles and brings back nothing.

The model keeps what a file system keeps of one account: folders with entries, inodes with a ctime. Acts at the primary
are acknowledged to its client at once; the mirror gets them in its own time, folder by folder, removals last, as the
scanner does it. A power cut takes the youngest of the primary's acts back, but for deliveries, which were made durable.
Then the mirror is promoted and lives on, the primary returns, and the plan of `reclaim` is carried out on the model.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.replication import reclaim
from orchestrator.replication.reclaim import Act, Compared, Facts, Knew, Plan, Spot, Stood

pytestmark = pytest.mark.issue("5.4 reclaim: cut, quarantine and the ctime rule hold in a model with power cuts")
ACCOUNT = "ann"
FOLDERS = ("ann", "ann/.Sent", "ann/.Old")
LETTERS = ("S", "FS", "R")


@dataclass
class Disk:
    """Entries are (folder, base) -> (sub, info); the inode of a base is shared by its entries."""

    entries: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    ctimes: dict[str, int] = field(default_factory=dict)

    def copy(self) -> Disk:
        return Disk(dict(self.entries), dict(self.ctimes))

    def of(self, base: str) -> list[str]:
        return sorted(folder for folder, one in self.entries if one == base)

    def spots(self, base: str) -> list[Spot]:
        return [Spot(folder, *self.entries[folder, base]) for folder in self.of(base)]


class World:
    """A primary, a mirror, and what was promised to whom."""

    def __init__(self, lag: int = 0) -> None:
        """`lag`: how far `complete` stays behind the truth."""
        self.clock, self.lag = 1_000, lag
        self.primary = Disk()
        self.past: list[Disk] = [Disk()]  # the primary's disk after each act, the present one last
        self.ledger: dict[tuple[str, str], Knew] = {}
        self.kept: set[tuple[str, str]] = set()
        self.complete = 0
        self.dirty: set[str] = set()
        self.missing: set[tuple[str, str]] = set()
        self.delivered: set[str] = set()  # acknowledged to a client or a sender
        self.expunged: set[str] = set()  # acknowledged, and the mirror was told
        self.heard_of: set[str] = set()  # by the mirror, ever
        self.mirror = Disk()
        self.count = 0

    # -- the primary's life

    def act(self, what: str, number: int) -> None:
        self.clock += 10
        disk = self.primary
        present = sorted(disk.entries)
        if what == "deliver":
            self.count += 1
            base = f"{self.count}.P"
            disk.entries[FOLDERS[number % 3], base] = (0, "")
            disk.ctimes[base] = self.clock
            self.delivered.add(base)
            self.dirty.add(FOLDERS[number % 3])
            self.past = [disk.copy()]  # made durable: a power cut takes nothing back that came before it
            return
        if not present:
            return
        folder, base = present[number % len(present)]
        target = FOLDERS[number // 3 % 3]
        info = disk.entries[folder, base][1]
        self.dirty |= {folder, target} if what in ("move", "copy") else {folder}
        if what == "flag":
            disk.entries[folder, base] = (1, ":2," + LETTERS[number % 3])
        elif what == "expunge":
            del disk.entries[folder, base]
        elif (target, base) not in disk.entries:
            disk.entries[target, base] = (1, info or ":2,")
            if what == "move":
                del disk.entries[folder, base]
        disk.ctimes[base] = self.clock
        self.past.append(disk.copy())

    # -- replication

    def scan(self, folder: str) -> None:
        """The mirror learns of one folder's additions and renames; removals wait until nothing is dirty."""
        self.dirty.discard(folder)
        for (where, base), (sub, info) in self.primary.entries.items():
            if where == folder:
                self.heard_of.add(base)
                was = self.ledger.get((folder, base))
                if was is None or (was.sub, was.info) != (sub, info):
                    self.ledger[folder, base] = Knew(folder, base, sub, info, 1, 5, 7, self.primary.ctimes[base])
        self.missing |= {key for key in self.ledger if key[0] == folder and key not in self.primary.entries}
        if not self.dirty:
            self.settle()

    def settle(self) -> None:
        self.complete = self.clock - self.lag
        for key in self.missing & (self.ledger.keys() - self.primary.entries.keys()):
            del self.ledger[key]
            if not any(base == key[1] for _, base in self.ledger):
                self.kept.add((ACCOUNT, key[1]))
                self.expunged.add(key[1])
        self.missing.clear()

    # -- the outage

    def power_cut(self, depth: int) -> None:
        """The youngest acts that weren't made durable are taken back: renames, links, unlinks, with their ctimes."""
        self.returned = self.past[max(0, len(self.past) - 1 - depth)].copy()

    def promote(self) -> None:
        self.cut = dict(self.ledger)
        for (folder, base), row in self.ledger.items():
            self.mirror.entries[folder, base] = (row.sub, row.info)
        self.gone_later: set[str] = set()

    def live(self, what: str, number: int) -> None:
        """The mirror, active now, goes on."""
        disk, present = self.mirror, sorted(self.mirror.entries)
        if what == "deliver":
            self.count += 1
            disk.entries[FOLDERS[number % 3], f"{self.count}.M"] = (0, "")
        elif present:
            folder, base = present[number % len(present)]
            if what == "flag":
                disk.entries[folder, base] = (1, ":2,T")
            elif what == "expunge":
                del disk.entries[folder, base]
                self.gone_later.add(base)
            elif what == "move":
                disk.entries[FOLDERS[number // 3 % 3], base] = disk.entries.pop((folder, base))

    # -- the return

    def plan(self, ctimes: str = reclaim.COUNT) -> tuple[Compared, Plan]:
        stood = [
            Stood(folder, base, sub, info, 1, 5, 7, self.returned.ctimes[base], 0)
            for (folder, base), (sub, info) in self.returned.entries.items()
        ]
        folders = dict.fromkeys(FOLDERS, 0)
        found = reclaim.compare(ACCOUNT, stood, self.cut.values(), folders, set(FOLDERS))
        found = Compared.unpacked(found.packed())
        active = {(ACCOUNT, one.base): self.mirror.spots(one.base) for one in found.differences}
        facts = Facts(self.complete, frozenset(self.kept), ctimes)
        return found, reclaim.judge([found], facts, active, {ACCOUNT: set(FOLDERS)})

    def carry_out(self, acts: tuple[Act, ...]) -> None:
        entries = self.mirror.entries
        for act in acts:
            there = (act.there.folder, act.base)
            if act.what == "deliver":
                assert act.stood is not None
                assert (act.stood.folder, act.base) in self.returned.entries, "it is read from where it stands"
                assert there not in entries, "a base name would stand twice"
            else:
                assert act.here is not None
                assert entries[act.here.folder, act.base] == act.here[1:], "only what is as expected is changed"
                if act.what == "move":
                    del entries[act.here.folder, act.base]
                assert there not in entries
            entries[there] = act.there[1:]


NAMES = ("deliver", "flag", "move", "copy", "expunge")
ACTS = st.lists(st.tuples(st.sampled_from(("deliver", *NAMES, "scan", "scan")), st.integers(0, 40)), max_size=30)
LAG = st.sampled_from((0, 15, 35, 2_000))
LATER = st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 40)), max_size=8)


def lived(acts: list[tuple[str, int]], depth: int, later: list[tuple[str, int]], lag: int) -> World:
    world = World(lag)
    for what, number in acts:
        if what == "scan":
            for folder in sorted(world.dirty)[: 1 + number % 3]:
                world.scan(folder)
        else:
            world.act(what, number)
    world.power_cut(depth)
    world.promote()
    for what, number in later:
        world.live(what, number)
    return world


@settings(max_examples=700, deadline=None)
@given(ACTS, st.integers(0, 12), LATER, LAG)
def test_nothing_is_lost_doubled_or_brought_back(
    acts: list[tuple[str, int]], depth: int, later: list[tuple[str, int]], lag: int
) -> None:
    world = lived(acts, depth, later, lag)
    before = {base for _, base in world.mirror.entries}
    _, plan = world.plan()
    assert not plan.ask
    world.carry_out(plan.acts)
    after = {base for _, base in world.mirror.entries}
    standing = {base for _, base in world.returned.entries} & {base for _, base in world.primary.entries}
    known = {base for _, base in world.cut}
    for base in world.delivered & standing:
        if base not in known and base not in world.expunged:
            assert base in after, f"{base} was acknowledged, never replicated, and is lost"
    assert not world.expunged & after, "an expunge that was acknowledged before the cut is undone"
    assert before <= after, "nothing is ever expunged by a plan"
    delivered = [(act.there.folder, act.base) for act in plan.acts if act.what == "deliver"]
    assert len(delivered) == len(set(delivered))
    for act in plan.acts:
        if act.what == "deliver" and act.base in known:
            assert act.base in world.gone_later, "what the active has is never delivered again"


@settings(max_examples=400, deadline=None)
@given(ACTS, st.integers(1, 12), LAG)
def test_what_a_power_cut_took_back_is_no_change_of_its_own(acts: list[tuple[str, int]], depth: int, lag: int) -> None:
    """All was acknowledged: then whatever the disk shows after the power cut, nothing is to be done; at most what came
    and went before the mirror heard of it comes back, where it isn't known that nothing was missing."""
    world = World(lag)
    for what, number in acts:
        if what != "scan":
            world.act(what, number)
    for folder in sorted(world.dirty):
        world.scan(folder)
    world.power_cut(depth)
    world.promote()
    _, plan = world.plan()
    assert [act for act in plan.acts if act.base in world.heard_of] == []
    if not lag:
        assert plan.acts == ()


@settings(max_examples=400, deadline=None)
@given(ACTS, ACTS)
def test_every_own_change_of_an_untouched_message_comes_home(
    acts: list[tuple[str, int]], own: list[tuple[str, int]]
) -> None:
    """No power cut, and nothing happened on the mirror: afterwards it shows what the primary showed."""
    world = World()
    for what, number in acts:
        if what != "scan":
            world.act(what, number)
    for folder in sorted(world.dirty):
        world.scan(folder)
    for what, number in own:
        if what not in ("scan", "expunge"):
            world.act(what, number)
    world.power_cut(0)
    world.promote()
    _, plan = world.plan()
    world.carry_out(plan.acts)
    assert world.mirror.entries == world.returned.entries
    assert plan.at_risk == 0


@settings(max_examples=300, deadline=None)
@given(ACTS, st.integers(0, 12), LATER, LAG)
def test_a_rerun_of_the_record_does_nothing_twice(
    acts: list[tuple[str, int]], depth: int, later: list[tuple[str, int]], lag: int
) -> None:
    """Deliveries are told apart by their ledger; everything else finds that it isn't as it has to be."""
    world = lived(acts, depth, later, lag)
    found, plan = world.plan()
    world.carry_out(plan.acts)
    active = {(ACCOUNT, one.base): world.mirror.spots(one.base) for one in found.differences}
    again = reclaim.judge([found], Facts(world.complete, world.kept), active, {ACCOUNT: set(FOLDERS)})
    done = {(act.base, act.there.folder) for act in plan.acts if act.what == "deliver"}
    assert {(act.base, act.there.folder) for act in again.acts} <= done
