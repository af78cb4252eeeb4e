"""The conductor against scripted steps, killed at every instant: it ends done or rolled back, never both."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import BrokenPromise, Refused, UsageError
from orchestrator.failover.conductor import Ask, Conductor
from orchestrator.failover.playbook import Playbook, load, read_bytes
from orchestrator.failover.step import DONE, NOT_DONE, Found, Voyage
from orchestrator.failover.verbs import Parameters
from orchestrator.records.journal import Journal, Operation
from orchestrator.records.marks import Course, Phase, State
from tests.support import seeds
from tests.unit.failover.staged import LATE, MAKERS, OUTCOMES, Scripted, World, begin, conductor, play

NOWHERE = Path("/nonexistent")
RUN = """
  - run: [systemctl, stop, fetchmail.timer]
    at: active
    why: it would write too
    within: 3s
    undo: [systemctl, start, fetchmail.timer]
"""


def failover() -> Playbook:
    """As it ships, with a site's own command before and after the point: these are done at most once."""
    text = load("failover", NOWHERE).text
    before = RUN.lstrip("\n") + "\n  - do: cut\n"
    after = RUN.replace("stop", "start").rpartition("    undo:")[0].lstrip("\n") + "\n  - do: serve\n"
    text = text.replace("  - do: cut\n", before).replace("  - do: serve\n", after)
    return read_bytes(text.encode(), Path("failover.yaml"))


PLAYBOOK = failover()
POINT = PLAYBOOK.point
COMMANDS = [line.number for line in PLAYBOOK.lines if line.verb == "run"]


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory in memory: these tests commit a great deal."""
    path = Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield path
    shutil.rmtree(path)


def world(place: Path, playbook: Playbook = PLAYBOOK, **scripts: dict[int, list[str]]) -> World:
    return World(playbook, place, acts=scripts.get("acts", {}), undos=scripts.get("undos", {}))


def judge(world: World, operation: Operation) -> None:
    """What has to be true of the world when an operation has ended."""
    world.clock.pause(10 * LATE)  # whatever may still come, comes
    if operation.state is State.DONE:
        assert world.done == {line.number for line in world.playbook.lines} and not world.half
        assert [number for what, number in world.called if what == "undo" and number != world.playbook.point] == []
    elif operation.state is State.ROLLED_BACK:
        assert not world.passed() and world.playbook.point not in world.half
        undoable = {line.number for line in world.playbook.lines if line.undo}
        assert not (world.done | world.half) & undoable
        assert max(world.done, default=0) < world.playbook.point
    else:
        pytest.fail(f"it ended as {operation.state}: {operation.said}")


def finished(world: World, operation: Operation | None) -> Operation | None:
    """Where it is stuck, everything is mended, an operator does by hand what is done once, and orders it to go on."""
    if operation is None or operation.state is not State.STUCK:
        return operation
    world.heal()
    with Journal(world.directory) as journal:
        failed = {mark.number for mark in journal.marks(operation.id) if mark.phase is Phase.FAILED}
        if operation.course is Course.FORWARD:
            by_hand = {number for number in failed if world.playbook.lines[number - 1].verb == "run"}
            world.done, world.half = world.done | by_hand, world.half - by_hand
        return conductor(world, journal).resume(operation.id, "jane", "mended")


def instants(playbook: Playbook, acts: dict[int, list[str]], place: Path) -> int:
    """At how many instants a controller can die in this run."""
    staged = World(playbook, place / "count", acts={number: list(each) for number, each in acts.items()})
    play(staged, ())
    return staged.fuse.count


SCRIPTS: dict[str, dict[int, list[str]]] = {
    "all is well": {},
    "the point's reply is lost": {POINT: ["lost"]},
    "the point happens later": {POINT: ["later"]},
    "the point is done by half": {POINT: ["half"]},
    "the point is refused": {POINT: ["refused"]},
    "a step before it never works": {POINT - 1: ["fail"] * 500},
    "a step before it happens later": {1: ["later"]},
    "a command's reply is lost": {COMMANDS[0]: ["lost"], COMMANDS[1]: ["lost"]},
    "a command happens later": {COMMANDS[0]: ["later"], COMMANDS[1]: ["later"]},
    "a step after it works at last": {POINT + 1: ["fail", "lost"], POINT + 3: ["nothing", "fail"]},
}


@pytest.mark.issue("5.3 a restarted daemon resumes forward after the point of no return and rolls back before it")
@pytest.mark.parametrize("script", SCRIPTS)
def test_killed_at_every_instant_it_ends_done_or_rolled_back(script: str, place: Path) -> None:
    acts = SCRIPTS[script]
    ends = set()
    every = 1 if script in EVERY_INSTANT else 3
    first = 1 + seeds.drawn(script) % every
    for at in range(first, instants(PLAYBOOK, acts, place) + 1, every):
        staged = World(PLAYBOOK, place / str(at), acts={number: list(each) for number, each in acts.items()})
        operation = finished(staged, play(staged, (at,)))
        if operation is not None:
            judge(staged, operation)
            ends.add(operation.state)
        staged.close()
        shutil.rmtree(staged.directory)
    assert State.ROLLED_BACK in ends
    assert (State.DONE in ends) == (script not in ("a step before it never works", "the point is refused"))


def test_killed_beyond_the_point_before_it_knew_and_again_at_every_instant_it_goes_forward(place: Path) -> None:
    plain = load("failover", NOWHERE)  # without commands, which would wait for an operator
    staged = World(plain, place / "count")
    play(staged, ())
    first = staged.instant
    for second in range(1, 60):
        staged = World(plain, place / str(second))
        operation = play(staged, (first, second))
        assert operation is not None and operation.state is State.DONE, "and nobody has to order it"
        judge(staged, operation)
        assert [number for what, number in staged.called if what == "undo"] == []
        staged.close()
        shutil.rmtree(staged.directory)


EVERY_INSTANT = ("all is well", "the point happens later", "the point is done by half")
"""Of the others a third, another one with each run."""
OUTCOME = st.lists(st.sampled_from(OUTCOMES), max_size=4)
NUMBERS = st.integers(1, len(PLAYBOOK.lines))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    acts=st.dictionaries(NUMBERS, OUTCOME, max_size=5),
    undos=st.dictionaries(NUMBERS, st.lists(st.sampled_from(["ok", "fail", "lost"]), max_size=3), max_size=3),
    blind=st.dictionaries(NUMBERS, st.integers(1, 400), max_size=3),
    kills=st.lists(st.integers(1, 250), max_size=4),
)
def test_whatever_happens_it_ends_done_or_rolled_back(
    acts: dict[int, list[str]], undos: dict[int, list[str]], blind: dict[int, int], kills: list[int]
) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        staged = World(PLAYBOOK, Path(directory), acts=acts, undos=undos, blind=blind)
        operation = finished(staged, play(staged, tuple(kills)))
        if operation is not None:
            judge(staged, operation)
        staged.close()


@pytest.mark.parametrize("journey", ["switchover", "failback", "failover", "rejoin", "seed"])
def test_each_playbook_that_ships_runs_to_its_end(journey: str, place: Path) -> None:
    playbook = load(journey, NOWHERE)
    staged = World(playbook, place)
    operation = play(staged, ())
    assert operation is not None and operation.state is State.DONE
    assert staged.called == [("act", line.number) for line in playbook.lines]
    assert (operation.opening.leaves, operation.opening.leads) == (3, 4 if playbook.point else 3)


def test_every_act_is_told_before_and_after_it_and_what_is_so_already_is_not_done_again(place: Path) -> None:
    staged = World(PLAYBOOK, place, done={1})
    operation = play(staged, ())
    assert operation is not None and operation.state is State.DONE
    assert staged.count("act", 1) == 0
    with Journal(place) as journal:
        marks = journal.marks(operation.id)
        phases = {number: [mark.phase.value for mark in marks if mark.number == number] for number in (1, 2)}
        assert phases == {1: ["intended", "verified"], 2: ["intended", "acting", "acted", "verified"]}
        assert marks[1].said == "found so: seen"
        [stop] = [mark.parameters for mark in marks if mark.number == COMMANDS[0] and mark.phase is Phase.INTENDED]
        assert isinstance(stop, dict) and stop["command"] == ["systemctl", "stop", "fetchmail.timer"]


@pytest.mark.issue("5.3 a step is probed acted verified undone")
def test_a_failure_before_the_point_is_undone_last_first(place: Path) -> None:
    staged = world(place, acts={POINT: ["refused"]})
    operation = play(staged, ())
    assert operation is not None and (operation.state, operation.course) == (State.ROLLED_BACK, Course.BACK)
    undone = [number for what, number in staged.called if what == "undo"]
    assert undone == [line.number for line in reversed(PLAYBOOK.lines[:POINT]) if line.undo]
    with Journal(place) as journal:
        failed = [mark for mark in journal.marks(operation.id) if mark.phase is Phase.FAILED]
    assert [(mark.verb, mark.said) for mark in failed] == [("advance", "it says no")]


def test_an_unknown_look_before_an_act_is_never_taken_for_not_done(place: Path) -> None:
    staged = World(PLAYBOOK, place, blind={2: 10**9})
    operation = play(staged, ())
    assert operation is not None and operation.state is State.ROLLED_BACK
    assert staged.count("act", 2) == 0
    assert staged.clock.seconds >= PLAYBOOK.lines[1].within, "it was looked at until its deadline"


def test_what_is_not_repeatable_is_looked_at_again_but_not_done_again(place: Path) -> None:
    staged = world(place, acts={COMMANDS[1]: ["nothing"]})
    operation = play(staged, ())
    assert operation is not None and operation.state is State.STUCK
    assert staged.count("act", COMMANDS[1]) == 1
    with Journal(place) as journal:
        chief = conductor(staged, journal)
        again = chief.resume(operation.id, "jane", "perhaps now")
        assert (again.state, staged.count("act", COMMANDS[1])) == (State.STUCK, 1)
        done = chief.resume(operation.id, "jane", "done by hand", taken=True)
        assert (done.state, staged.count("act", COMMANDS[1])) == (State.DONE, 1)
        [word] = [mark.said for mark in journal.marks(operation.id) if mark.said.startswith("by jane's word")]
    assert word == "by jane's word: done by hand"


def test_a_step_of_ours_is_taken_by_nobodys_word(place: Path) -> None:
    staged = world(place, acts={POINT + 1: ["fail"] * 1000})
    operation = play(staged, ())
    assert operation is not None and operation.state is State.STUCK
    with Journal(place) as journal, pytest.raises(Refused, match="have to be proven"):
        conductor(staged, journal).resume(operation.id, "jane", "trust me", taken=True)


@pytest.mark.issue("5.3 deadline per step")
def test_beyond_the_point_it_tries_until_its_deadline_then_it_is_stuck_and_resumed(place: Path) -> None:
    serve = next(line for line in PLAYBOOK.lines if line.verb == "serve")
    staged = world(place, acts={serve.number: ["fail"] * 1000})
    operation = play(staged, ())
    assert operation is not None and (operation.state, operation.course) == (State.STUCK, Course.FORWARD)
    assert operation.said == f"serve: not done within {serve.within:g}s: seen (its last try: no route)"
    assert staged.count("act", serve.number) > 10
    assert [number for what, number in staged.called if what == "undo"] == []
    with Journal(place) as journal:
        chief = conductor(staged, journal)
        assert chief.restart(operation.id).state is State.STUCK, "a restart alone doesn't begin it again"
        with pytest.raises(Refused, match="no way back"):
            chief.roll_back(operation.id, "jane", "no")
        with pytest.raises(Refused, match=operation.id):
            begin(staged, journal)
        staged.heal()
        assert chief.resume(operation.id, "jane", "the disk is mended").state is State.DONE
        assert [event.verb for event in journal.events("org")] == ["op resume"]
        for ordered in (chief.resume, chief.roll_back, chief.abort):
            with pytest.raises(Refused, match="has ended: done"):
                ordered(operation.id, "jane", "again")
    judge(staged, operation := play(staged, ()) or operation)


def test_as_long_as_nobody_can_tell_whether_the_point_is_passed_nothing_is_undone(place: Path) -> None:
    staged = World(PLAYBOOK, place, acts={POINT: ["half"] + ["fail"] * 1000})
    operation = play(staged, ())
    assert operation is not None and (operation.state, operation.course) == (State.STUCK, Course.BACK)
    assert "can't be told" in operation.said
    assert [number for what, number in staged.called if what == "undo"] == []
    with Journal(place) as journal:
        chief = conductor(staged, journal)
        assert chief.roll_back(operation.id, "jane", "look again").state is State.STUCK
        staged.heal()
        assert chief.resume(operation.id, "jane", "the witness is back").state is State.DONE


def test_an_undo_that_fails_holds_up_no_other_and_is_resumed(place: Path) -> None:
    undoable = [line.number for line in PLAYBOOK.lines[: POINT - 1] if line.undo]
    staged = World(PLAYBOOK, place, acts={POINT: ["refused"]}, undos={undoable[-1]: ["fail"] * 1000})
    operation = play(staged, ())
    assert operation is not None and operation.state is State.STUCK
    assert operation.said == f"not undone: {PLAYBOOK.lines[undoable[-1] - 1].verb}"
    assert staged.done & set(undoable) == {undoable[-1]}
    judge(staged, finished(staged, operation) or operation)


def test_an_operator_turns_a_running_operation_back_or_leaves_it(place: Path) -> None:
    staged = World(PLAYBOOK, place)
    with Journal(place) as journal:
        operation = begin(staged, journal)

        def at(number: int, wanted: Ask) -> Operation:
            return conductor(staged, journal).carry_on(
                operation.id, lambda: wanted if staged.count("act", number) else Ask.GO_ON
            )

        left = at(1, Ask.LEAVE)
        assert (left.state, staged.done) == (State.OPEN, {1})
        with pytest.raises(Refused, match="under way"):
            conductor(staged, journal).abort(operation.id, "jane", "no")
        back = at(2, Ask.ROLL_BACK)
        assert (back.state, back.said) == (State.ROLLED_BACK, "what was begun is undone")
        judge(staged, back)


def test_beyond_the_point_an_operators_wish_to_turn_back_changes_nothing(place: Path) -> None:
    staged = World(PLAYBOOK, place)
    with Journal(place) as journal:
        operation = begin(staged, journal)
        done = conductor(staged, journal).carry_on(
            operation.id, lambda: Ask.ROLL_BACK if staged.count("act", POINT + 1) else Ask.GO_ON
        )
    assert done.state is State.DONE


def test_an_abort_needs_a_reason_and_ends_it_where_it_stands(place: Path) -> None:
    staged = World(PLAYBOOK, place)
    with Journal(place) as journal:
        chief, name = conductor(staged, journal), begin(staged, journal).id
        with pytest.raises(UsageError, match="reason"):
            chief.abort(name, "jane", " ")
        ended = chief.abort(name, "jane", "not today")
        assert (ended.state, ended.said) == (State.ABORTED, "aborted by jane: not today")
        assert staged.called == [] and begin(staged, journal).id != name


def test_a_journey_without_a_point_goes_on_where_it_stopped(place: Path) -> None:
    staged = World(load("rejoin", NOWHERE), place, acts={4: ["fail"] * 100_000})
    operation = play(staged, (60,))
    assert operation is not None and operation.state is State.STUCK
    assert [number for what, number in staged.called if what == "undo"] == []
    with Journal(place) as journal, pytest.raises(Refused, match="no step to undo"):
        conductor(staged, journal).roll_back(operation.id, "jane", "no")
    ended = finished(staged, operation)
    assert ended is not None and ended.state is State.DONE


@pytest.mark.issue("5.5 --dry-run is exactly the precheck plus the plan")
def test_a_precheck_looks_at_every_step_and_neither_does_nor_writes_anything(place: Path) -> None:
    staged = World(PLAYBOOK, place, done={2}, blind={3: 1})
    with Journal(place) as journal:
        chief = conductor(staged, journal)
        seen = chief.precheck(PLAYBOOK, pair="org", active="primary", passive="mirror", epoch=3)
        assert journal.operations("org") == [] and journal.events("org") == []
    assert [each.line for each in seen] == list(PLAYBOOK.lines)
    assert [each.found.state.value for each in seen][:3] == ["not done", "done", "unknown"]
    assert staged.called == []


class Noting:
    """A step that leaves a note, and one that counts on it."""

    def __init__(self, voyage: Voyage[World]) -> None:
        self._voyage = voyage

    def probe(self) -> Found:
        return Found(DONE if self._voyage.notes.get("queue") == ["A1", "B2"] else NOT_DONE, "by its note")

    verify = probe

    def act(self) -> None:
        assert self._voyage.left > 0 and self._voyage.leads == self._voyage.leaves + 1
        self._voyage.notes.put("queue", ["A1", "B2"])

    def undo(self) -> None:
        raise AssertionError


def test_what_a_step_notes_is_there_for_later_ones_also_in_another_process(place: Path) -> None:
    def noting(voyage: Voyage[World], parameters: Parameters) -> Noting:
        assert parameters == {}
        return Noting(voyage)

    staged = World(PLAYBOOK, place)
    makers = {**MAKERS, "refuse": noting, "serve": noting}
    with Journal(place) as journal:
        name = begin(staged, journal).id
        chief = Conductor(journal, makers, staged, staged.clock)
        chief.carry_on(name, lambda: Ask.LEAVE if journal.notes(name) else Ask.GO_ON)
    with Journal(place) as journal:
        done = Conductor(journal, makers, staged, staged.clock).carry_on(name)
        assert done.state is State.DONE and journal.notes(name) == {"queue": ["A1", "B2"]}
        serve = next(line.number for line in PLAYBOOK.lines if line.verb == "serve")
        assert [mark.phase for mark in journal.marks(name) if mark.number == serve][1] is Phase.VERIFIED


def test_a_broken_promise_stops_everything_where_it_is(place: Path) -> None:
    class Broken(Scripted):
        def act(self) -> None:
            raise BrokenPromise("two writers")

    def broken(voyage: Voyage[World], _: Parameters) -> Scripted:
        return Broken(voyage.world, voyage.number)

    staged = World(PLAYBOOK, place)
    with Journal(place) as journal:
        name = begin(staged, journal).id
        ended = Conductor(journal, {**MAKERS, "cut": broken}, staged, staged.clock).carry_on(name)
    assert (ended.state, ended.course, ended.said) == (State.STUCK, Course.FORWARD, "two writers")
    assert [number for what, number in staged.called if what == "undo"] == []


def test_a_playbook_whose_verbs_nobody_does_and_a_drill_are_not_begun(place: Path) -> None:
    staged = World(load("drill", NOWHERE), place)
    with Journal(place) as journal:
        with pytest.raises(UsageError, match="switchover, failback"):
            begin(staged, journal)
        chief = Conductor(journal, {"refuse": MAKERS["refuse"]}, staged, staged.clock)
        with pytest.raises(BrokenPromise, match="advance, cut"):
            chief.precheck(PLAYBOOK, pair="org", active="primary", passive="mirror", epoch=3)
