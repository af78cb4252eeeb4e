"""The scanner's agenda: what comes next, and what isn't waited for."""

from __future__ import annotations

from orchestrator.agent.agenda import UNSTABLE_TRIES, Agenda
from orchestrator.agent.log import FolderRow
from orchestrator.agent.tree import Folder


def folder(fid: int, account: bytes = b"a") -> Folder:
    return Folder(FolderRow(fid, account, b"%d" % fid, 1, fid, 0o700, 0, 0, "0 0 0", "0 0 0", "0 0 0", 0, 0, 0))


def order(agenda: Agenda, now: float = 0.0) -> list[tuple[int, bool]]:
    found = []
    while (taken := agenda.take(now)) is not None:
        found.append((taken[0].fid, taken[1]))
    return found


def state(agenda: Agenda) -> tuple[bool, bool, bool]:
    return agenda.at_work, agenda.surveyed, agenda.held_up


def test_folders_come_in_the_order_in_which_they_were_added_and_once() -> None:
    agenda = Agenda(surveying=False)
    one, two = folder(1), folder(2)
    for each in (one, two, one):
        agenda.add(each)
    assert order(agenda) == [(1, True), (2, True)]
    assert agenda.empty and agenda.delay(0.0) is None


def test_in_a_first_scan_every_directory_comes_before_any_message() -> None:
    agenda = Agenda(surveying=True)
    one, two = folder(1), folder(2)
    agenda.add(one)
    assert state(agenda) == (True, False, False)
    assert agenda.take(0.0) == (one, False)
    agenda.add_messages(one)
    agenda.add(two)  # found in the first one's directory
    assert state(agenda) == (True, False, False)
    assert agenda.take(0.0) == (two, False)
    agenda.add_messages(two)
    assert state(agenda) == (True, True, False)
    assert order(agenda) == [(1, True), (2, True)]


def test_what_is_due_later_comes_then_and_not_before() -> None:
    agenda = Agenda(surveying=False)
    agenda.add(folder(1), due=5.0)
    agenda.add(folder(2), due=3.0)
    assert agenda.take(2.0) is None and agenda.delay(2.0) == 1.0
    assert order(agenda, 3.0) == [(2, True)]
    assert agenda.delay(3.0) == 2.0
    assert order(agenda, 5.0) == [(1, True)]


def test_a_look_that_is_wanted_now_isnt_put_off_by_one_that_is_due_later() -> None:
    agenda = Agenda(surveying=False)
    one = folder(1)
    agenda.add(one, due=5.0)
    agenda.add(one)
    agenda.add(one, due=9.0)
    assert order(agenda, 0.0) == [(1, True)]
    assert agenda.empty


def test_only_folders_that_never_hold_still_hold_it_up() -> None:
    agenda = Agenda(surveying=False)
    busy, other = folder(1, b"busy"), folder(2, b"other")
    busy.unstable = UNSTABLE_TRIES
    agenda.add(busy, due=1.0)
    assert state(agenda) == (False, False, True)
    assert (agenda.unstable, agenda.waiting_accounts) == (1, {b"busy"})
    agenda.add(other, due=1.0)
    assert state(agenda) == (False, False, False), "the other may yet hold still"
    agenda.add(other)
    assert state(agenda) == (True, False, False)


def has_passed(agenda: Agenda) -> bool:
    return agenda.passed


def test_a_mark_has_passed_when_all_that_waited_and_what_came_of_it_was_looked_at() -> None:
    agenda = Agenda(surveying=False)
    one, two, three = folder(1), folder(2), folder(3)
    assert has_passed(agenda)
    agenda.add(one)
    agenda.mark()
    agenda.add(two)  # came later, and is nothing of the mark's
    assert not has_passed(agenda)
    agenda.take(0.0)
    agenda.looking = True
    agenda.add(three, due=5.0)  # came of the look
    agenda.looking = False
    assert not has_passed(agenda)
    agenda.take(1.0)
    assert not has_passed(agenda)
    agenda.take(6.0)
    assert has_passed(agenda)
