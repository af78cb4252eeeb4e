"""What follows from what observers saw: each row of the classification, and what must never follow."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.health.looks import Look, Observer, Rules, Seen
from orchestrator.health.verdict import ESSENTIAL, Analysis, Disk, Facts, Level, Remedy, Verdict, verdict

RULES = Rules()
CONTROLLER = Observer("controller", "mail2")
MIRROR = Observer("mirror", "mail2")
WITNESS = Observer("witness", "wit")
ITSELF = Observer("itself", "mail1")
FACTS = Facts(references={"192.0.2.1": True, "192.0.2.2": True})
WELL = dict.fromkeys(("smtp", "submission", "imap", "pop3", "lmtp"), "")
GONE = dict.fromkeys(WELL, "timeout")


class Story:
    """Looks, one of each observer a second."""

    def __init__(self, facts: Facts = FACTS) -> None:
        self.seen, self.now, self.facts = Seen(), 0.0, facts
        self.levels: list[Level] = []

    def go(self, seconds: int, **told: dict[str, str]) -> Story:
        """`told`: observer's name -> what it sees; who isn't named doesn't answer."""
        for _ in range(seconds):
            self.now += 1.0
            for observer in (CONTROLLER, MIRROR, WITNESS, ITSELF):
                if observer.name in told:
                    self.seen = self.seen.after(Look(observer, self.now - 0.5, told[observer.name]), self.now, RULES)
            self.levels.append(self.verdict.level)
        return self

    @property
    def verdict(self) -> Verdict:
        return verdict(self.seen, self.facts, self.now, RULES)


def judged(story: Story) -> tuple[Level, Analysis, Remedy]:
    return story.verdict.level, story.verdict.analysis, story.verdict.remedy


@pytest.mark.issue("4.1 verdicts with evidence: HEALTHY DEGRADED SUSPECT DOWN UNKNOWN")
def test_all_well_is_healthy() -> None:
    assert judged(Story().go(5, controller=WELL, witness=WELL)) == (Level.HEALTHY, Analysis.WELL, Remedy.NOTHING)


@pytest.mark.issue("4.1 windows, rise and fall counts")
def test_it_takes_fall_failures_in_a_row_to_be_suspect_and_rise_successes_to_be_well() -> None:
    story = Story().go(3, controller=WELL, witness=WELL)
    story.go(RULES.fall, controller=WELL, witness=GONE).go(RULES.rise, controller=WELL, witness=WELL)
    well, suspect = Level.HEALTHY, Level.SUSPECT
    falling = [well] * (RULES.fall - 1) + [suspect]
    assert story.levels == [well] * 3 + falling + [suspect] * (RULES.rise - 1) + [well]


@pytest.mark.issue("4.1 quorum of two observers of which one is neither the controller nor on its host")
def test_down_takes_two_observers_on_two_hosts() -> None:
    alone = Story().go(60, controller=GONE)
    assert judged(alone) == (Level.SUSPECT, Analysis.NOT_CONFIRMED, Remedy.ALERT)
    both_away = Story()
    for observer in (WITNESS, Observer("another", WITNESS.host)) * 20:
        both_away.now += 0.5
        both_away.seen = both_away.seen.after(Look(observer, both_away.now - 0.1, GONE), both_away.now, RULES)
    assert both_away.verdict.level is Level.SUSPECT
    on_one_host = Story().go(60, controller=GONE, mirror=GONE)
    assert on_one_host.verdict.level is Level.SUSPECT
    both = Story().go(60, controller=GONE, witness=GONE)
    assert judged(both) == (Level.DOWN, Analysis.HOST_DEAD, Remedy.FAILOVER)
    assert [both.levels.index(Level.SUSPECT), both.levels.index(Level.DOWN)] == [2, 7]
    assert "imap from witness: timeout 20 times" in both.verdict.evidence


@pytest.mark.issue("4.1 unreachable from here alone does nothing")
def test_a_host_that_others_reach_is_only_suspect() -> None:
    story = Story().go(60, controller=GONE, mirror=GONE, witness=WELL)
    assert judged(story) == (Level.SUSPECT, Analysis.UNREACHABLE_FROM_US, Remedy.ALERT)
    assert not [line for line in story.verdict.evidence if "witness" in line]


@pytest.mark.issue("4.1 self-isolation (reference addresses)")
def test_a_controller_that_is_cut_off_says_nothing_of_others() -> None:
    cut = Facts(references={"192.0.2.1": False, "192.0.2.2": False, "192.0.2.3": True})
    story = Story(cut).go(60, controller=GONE, witness=GONE)
    assert judged(story) == (Level.UNKNOWN, Analysis.ISOLATED, Remedy.ALERT)
    assert story.verdict.evidence == ("no answer from 192.0.2.1, 192.0.2.2",)


@pytest.mark.issue("4.1 tilt after a clock or loop jump")
def test_a_controller_whose_time_jumped_says_nothing() -> None:
    story = Story(replace(FACTS, steady=False)).go(60, controller=GONE, witness=GONE)
    assert judged(story) == (Level.UNKNOWN, Analysis.TILT, Remedy.NOTHING)


def test_observers_that_dont_answer_saw_nothing() -> None:
    story = Story().go(5, controller=WELL, witness=WELL).go(60)
    assert judged(story) == (Level.UNKNOWN, Analysis.BLIND, Remedy.ALERT)
    half = Story().go(5, controller=WELL, witness=GONE).go(60, controller=GONE)
    assert half.verdict.level is Level.SUSPECT, "what the witness saw a minute ago isn't what it sees"


@pytest.mark.issue("4.1 a dead service is restarted first where mm_restart says so")
def test_the_cheaper_remedy_comes_first() -> None:
    no_imap = {**WELL, "imap": "refused"}
    facts = replace(FACTS, alive=True, restartable=ESSENTIAL)
    story = Story(facts).go(10, controller=no_imap, itself=no_imap)
    assert judged(story) == (Level.DOWN, Analysis.SERVICES_DOWN, Remedy.RESTART)
    story.facts = replace(facts, restarts=2)
    assert judged(story) == (Level.DOWN, Analysis.SERVICES_DOWN, Remedy.FAILOVER)
    assert "restarted 2 times" in story.verdict.evidence
    story.facts = replace(facts, restartable=frozenset(("smtp",)))
    assert story.verdict.remedy is Remedy.FAILOVER


@pytest.mark.issue("4.1 a full disk isn't failed over to an equally full mirror")
@pytest.mark.parametrize(
    ("there", "remedy"),
    [((0.5, 0.5), Remedy.FAILOVER), ((0.01, 0.5), Remedy.ALERT), ((0.5, 0.0), Remedy.ALERT), (None, Remedy.ALERT)],
)
def test_a_full_disk_moves_nobody_to_a_full_mirror(there: tuple[float, float] | None, remedy: Remedy) -> None:
    mirror = () if there is None else (Disk("/var/vmail", *there),)
    facts = replace(
        FACTS, alive=True, disks=(Disk("/var/vmail", 0.0, 0.9),), mirror_disks=mirror, restartable=ESSENTIAL
    )
    later = {**WELL, "smtp": "temporary", "submission": "temporary"}
    story = Story(facts).go(10, controller=later, witness=later)
    assert judged(story) == (Level.DOWN, Analysis.DISK_FULL, remedy)
    assert "/var/vmail: 0% free" in story.verdict.evidence


def test_a_mirror_whose_room_is_unknown_isnt_known_to_have_room() -> None:
    facts = replace(FACTS, disks=(Disk("/v", 0.0),), mirror_disks=(Disk("/v"),))
    story = Story(facts).go(10, controller=GONE, witness=GONE)
    assert (story.verdict.remedy, story.verdict.evidence[-1]) == (Remedy.ALERT, "on the mirror /v: its room is unknown")


@pytest.mark.issue("4.1 classification: degraded")
@pytest.mark.parametrize(
    ("facts", "evidence"),
    [
        ({"disks": (Disk("/v", 0.04, 0.5),)}, "/v: 4% free"),
        ({"disks": (Disk("/v", 0.5, 0.01),)}, "/v: 1% free"),
        ({"disks": (Disk("/v", 0.5, 0.5, readonly=True),)}, "/v is mounted read-only"),
        ({"certificates": {"imap": 5 * 86400.0}}, "imap: its certificate runs out in 5 days"),
        ({"certificates": {"imap": -1.0}}, "imap: its certificate has run out"),
        ({"queue_age": 3 * 3600.0}, "a letter waits in the queue for 3.0 h"),
        ({"clock": -400.0}, "its clock is off by -400 s"),
    ],
)
def test_what_needs_a_person_is_degraded(facts: dict[str, object], evidence: str) -> None:
    story = Story(replace(FACTS, **facts)).go(5, controller=WELL, witness=WELL)  # type: ignore[arg-type]
    assert judged(story) == (Level.DEGRADED, Analysis.PARTLY, Remedy.ALERT)
    assert story.verdict.evidence == (evidence,)


def test_what_isnt_known_isnt_bad() -> None:
    story = Story(replace(FACTS, disks=(Disk("/v"),), clock=None, queue_age=None)).go(5, controller=WELL)
    assert story.verdict.level is Level.HEALTHY


@pytest.mark.parametrize("how", ["rejected", "untrusted"])
def test_a_service_that_answers_but_says_no_needs_a_person_and_no_failover(how: str) -> None:
    odd = {**WELL, "imap": how}
    story = Story().go(60, controller=odd, witness=odd)
    assert judged(story) == (Level.DEGRADED, Analysis.PARTLY, Remedy.ALERT)
    assert f"imap from controller: it answers, but {how}" in story.verdict.evidence


def test_a_service_that_isnt_essential_never_moves_anybody() -> None:
    no_pop = {**WELL, "pop3": "refused"}
    story = Story().go(60, controller=no_pop, witness=no_pop)
    assert judged(story) == (Level.DEGRADED, Analysis.PARTLY, Remedy.ALERT)


def test_failures_before_a_silence_and_after_it_arent_in_a_row() -> None:
    """A witness that saw it fail, was away for a while and comes back has seen it fail once."""
    story = Story().go(8, witness=GONE).go(60, controller=WELL)
    story.go(8, controller=GONE).go(1, controller=GONE, witness=GONE)
    assert [story.levels[at] for at in (7, 67, 76)] == [Level.SUSPECT, Level.HEALTHY, Level.SUSPECT]
    assert [line for line in story.verdict.evidence if "witness" in line] == []


def test_a_suspicion_that_nobody_holds_any_more_confirms_nothing() -> None:
    story = Story().go(8, witness=GONE).go(60, controller=WELL)
    story.go(RULES.confirm, controller=GONE, itself=GONE)
    assert story.verdict.level is Level.SUSPECT, "it was suspected anew only three looks ago"


def test_after_a_recovery_nothing_is_said_against_it() -> None:
    story = Story().go(8, controller=WELL, witness=GONE).go(RULES.rise, controller=WELL, witness=WELL)
    assert (story.verdict.level, story.verdict.evidence) == (Level.HEALTHY, ())


def test_a_look_that_comes_late_and_old_says_nothing_new() -> None:
    story = Story().go(5, controller=WELL, witness=WELL)
    before = story.seen
    for _ in range(10):
        story.seen = story.seen.after(Look(WITNESS, 1.0, GONE), story.now, RULES)
    assert story.seen == before


# --- what must never follow -----------------------------------------------------------------------

HOWS = st.sampled_from(["", "", "timeout", "refused", "temporary", "rejected", "untrusted"])
SEES = st.none() | st.fixed_dictionaries(dict.fromkeys(sorted(ESSENTIAL), HOWS))
SECOND = st.fixed_dictionaries({"controller": SEES, "mirror": SEES, "witness": SEES, "itself": SEES})


@given(st.lists(SECOND, max_size=40))
@pytest.mark.issue("4.1 the verdict is pure")
def test_down_always_rests_on_two_hosts_that_saw_it_fail_again_and_again(
    seconds: list[dict[str, dict[str, str] | None]],
) -> None:
    story = Story()
    for second in seconds:
        story.go(1, **{name: sees for name, sees in second.items() if sees is not None})
        assert story.verdict == story.verdict
        if story.verdict.level is not Level.DOWN:
            continue
        long = {
            name: {s for s in ESSENTIAL if _in_a_row(seconds, len(story.levels), name, s) >= RULES.confirm}
            for name in ("controller", "mirror", "witness", "itself")
        }
        at_home = long["controller"] | long["mirror"]
        assert (at_home & (long["witness"] | long["itself"])) or (long["witness"] & long["itself"])


def _in_a_row(seconds: list[dict[str, dict[str, str] | None]], now: int, name: str, service: str) -> int:
    """How many of an observer's newest looks at a service failed, without a silence in between."""
    count = silent = 0
    for second in reversed(seconds[:now]):
        sees = second[name]
        silent = silent + 1 if sees is None else 0
        if silent > RULES.stale:
            break
        if sees is None:
            continue
        if sees[service] in ("", "rejected", "untrusted"):
            break
        count += 1
    return count


@given(st.lists(SECOND, max_size=40))
def test_the_controllers_host_alone_never_gets_beyond_suspect(
    seconds: list[dict[str, dict[str, str] | None]],
) -> None:
    story = Story()
    for second in seconds:
        story.go(1, **{name: sees for name in ("controller", "mirror") if (sees := second[name]) is not None})
    assert Level.DOWN not in story.levels


@pytest.mark.issue("4.1 windows: one lost probe in five is a false alarm")
@pytest.mark.parametrize("seed", range(25))
def test_one_lost_probe_in_five_is_never_down(seed: int) -> None:
    rnd = random.Random(seed)
    story = Story()
    for _ in range(600):
        lost = {name: rnd.random() < 0.2 for name in ("controller", "witness")}
        story.go(1, **{name: GONE if is_lost else WELL for name, is_lost in lost.items()})
    assert Level.DOWN not in story.levels
    assert Level.SUSPECT in story.levels
