"""A host's standing: what is new, what is told with it, and how long a suspicion lasts."""

from __future__ import annotations

import pytest

from orchestrator.health.answers import Reading
from orchestrator.health.looks import Observer, Rules
from orchestrator.health.report import Vitals
from orchestrator.health.standing import Change, Standing
from orchestrator.health.verdict import Facts, Level

RULES = Rules()
CONTROLLER, WITNESS = Observer("controller", "mail2"), Observer("witness", "wit")
WALL = 1_700_000_000.0
END = WALL + 40 * 86400


class Played:
    """A standing that is looked at once a second by both."""

    def __init__(self) -> None:
        self.it = Standing("primary", "mail1", RULES, {"imap": "dovecot", "smtp": "postfix"})
        self.now = 0.0
        self.changes: list[Change] = []

    def go(self, seconds: int, how: str | None = "", facts: Facts = Facts()) -> Played:  # noqa: B008 - frozen
        """`how` the imap probe ends; None: nobody looks."""
        for _ in range(seconds):
            self.now += 1.0
            for observer in (CONTROLLER, WITNESS) if how is not None else ():
                found = [Reading("smtp", "", "", 0.01, END), Reading("imap", how or "", "why", 0.02, None)]
                self.it.looked(observer, self.now - 0.2, found, self.now, WALL + self.now)
            change = self.it.judge(facts, self.now, WALL + self.now)
            self.changes += [change] if change else []
        return self

    @property
    def levels(self) -> list[str]:
        return [change.verdict.level.value for change in self.changes]


@pytest.mark.issue("4.1 verdicts kept with their evidence")
def test_only_what_is_new_is_told_and_with_what_it_rests_on() -> None:
    played = Played().go(5).go(30, "timeout").go(30)
    assert played.levels == ["HEALTHY", "SUSPECT", "DOWN", "SUSPECT", "HEALTHY"]
    assert [change.was for change in played.changes] == ["", *played.levels[:-1]]
    down = played.changes[2]
    assert down.verdict.evidence == ("imap from controller: timeout 8 times", "imap from witness: timeout 8 times")
    assert down.sentence().startswith("mail1 (primary) is DOWN: nobody gets an answer from it (imap from controller: ")
    told = played.it.told()
    assert (told.never, Played().go(5, "refused").it.told().never) == ([], ["imap"])
    assert (told.level, told.certificates) == ("HEALTHY", {"smtp": END})


@pytest.mark.issue("4.1 SUSPECT ends the deletion permit; UNKNOWN is no answer")
def test_a_suspicion_begins_with_suspect_and_only_a_good_word_ends_it() -> None:
    played = Played().go(5, None)
    assert not played.it.suspect, "nobody has looked yet, and nothing is held back for that"
    assert not played.go(5).it.suspect
    assert played.go(4, "timeout").it.suspect
    assert played.go(20, "timeout").it.suspect
    assert played.go(30, None).it.suspect, "nobody looks any more: that isn't well"
    assert played.levels[-1] == "UNKNOWN"
    assert played.go(5, facts=Facts(steady=False)).it.suspect
    assert not played.go(5).it.suspect


def test_a_restart_is_only_proposed_in_words() -> None:
    played = Played().go(5).go(20, "refused", Facts(alive=True, restartable=frozenset(("imap",))))
    assert (played.changes[-1].verdict.level, played.changes[-1].would) == (Level.DOWN, "would restart dovecot")
    assert played.it.told().would == "would restart dovecot"
    dead = Played().go(5).go(20, "timeout")
    assert dead.it.told().would == "would fail over"


@pytest.mark.issue("4.1 classification: a passive place moves nobody")
def test_a_passive_place_that_lives_without_its_services_is_degraded_and_moves_nobody() -> None:
    alive = Played().go(5).go(20, "refused", Facts(alive=True, passive=True))
    assert (alive.it.told().level, alive.it.told().would) == ("DEGRADED", "")
    gone = Played().go(5).go(20, "timeout", Facts(passive=True))
    assert (gone.it.told().level, gone.it.told().remedy, gone.it.told().would) == ("DOWN", "tell a person", "")


def test_letters_that_are_lost_in_a_row_need_a_person_until_one_comes_through() -> None:
    played = Played().go(5)
    played.it.wrote(Reading("canary", "", "", 0.4, None), WALL)
    played.go(1)
    for number in range(RULES.fall):
        assert played.go(1).it.told().level == "HEALTHY", "one that is lost may have met a lossy link"
        played.it.wrote(Reading("canary", "timeout", "reading: it isn't there", 20.0, None), WALL + 60 * (number + 1))
    told = played.go(1).it.told()
    assert (told.level, told.evidence) == (
        "DEGRADED", ["a canary letter didn't come through: timeout, reading: it isn't there"],
    )  # fmt: skip
    assert told.canary is not None and told.canary.last_success == WALL
    played.it.wrote(Reading("canary", "", "", 0.5, None), WALL + 600)
    assert played.go(1).it.told().level == "HEALTHY"


def test_what_a_host_told_of_itself_long_ago_says_nothing_of_now() -> None:
    played = Played()
    played.it.weighed(Vitals(WALL, [("/v", 0.01, False)], 3, WALL - 9000, 0.1))
    assert played.go(5).it.told().evidence == ["/v: 1% free", "a letter waits in the queue for 2.5 h"]
    assert played.go(70).it.told().level == "HEALTHY"
