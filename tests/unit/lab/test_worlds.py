"""Where a message may stand after commands with and without answers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.lab.oracle.journal import Act, Outcome
from tests.lab.oracle.worlds import MOST, Item, outcomes, settle

NONE: frozenset[str] = frozenset()


def act(name: str, folder: str = "INBOX", outcome: Outcome = "ok", target: str = "", flag: str = "") -> Act:
    return Act(0, "a", name, outcome, "x", folder, target, flags=(flag,) if flag else ())


def ends(*acts: Act, least: int = 1, most: int = 1) -> set[tuple[str, ...]]:
    """Folders of the copies in each end."""
    item = Item()
    item.delivered(least, most)
    for one in acts:
        item.happened(one)
    return {tuple(folder for folder, _ in end) for end in item.ends()}


def test_answered_commands_leave_one_world() -> None:
    assert ends(act("move", target="f1"), act("rename", "f1", target="f2"), act("move", "f2", target="f3")) == {("f3",)}
    assert ends(act("copy", target="f1"), act("expunge")) == {("f1",)}
    assert ends(act("expunge")) == {()}
    assert ends(act("move", target="f1"), act("delete", "f1")) == {()}


def test_a_rename_takes_the_folders_below_along() -> None:
    assert ends(act("move", target="f1/a"), act("rename", "f1", target="f2")) == {("f2/a",)}
    assert ends(act("move", target="f10"), act("rename", "f1", target="f2")) == {("f10",)}


def test_a_refused_command_changes_nothing_and_a_lost_reply_leaves_both() -> None:
    assert ends(act("move", outcome="no", target="f1")) == {("INBOX",)}
    assert ends(act("move", outcome="unknown", target="f1")) == {("INBOX",), ("f1",)}
    assert ends(act("copy", outcome="unknown", target="f1")) == {("INBOX",), ("INBOX", "f1")}


def test_a_lost_command_may_be_carried_out_after_later_ones() -> None:
    """The old connection's process finishes while a new connection already stores a flag."""
    item = Item()
    item.delivered(1, 1)
    for one in (act("move", outcome="unknown", target="f1"), act("store", flag="\\seen")):
        item.happened(one)
    assert item.ends() == {(("INBOX", frozenset({"\\seen"})),), (("f1", frozenset({"\\seen"})),)}
    assert not item.impossible


def test_a_later_answer_tells_what_became_of_a_lost_command() -> None:
    assert ends(act("move", outcome="unknown", target="f1"), act("move", "f1", target="f2")) == {("f2",)}


def test_an_acknowledged_command_on_a_message_that_cannot_be_there_is_noted() -> None:
    item = Item()
    item.delivered(1, 1)
    item.happened(act("store", "f9", flag="\\seen"))
    assert "f9" in item.impossible and item.ends() == {(("INBOX", NONE),)}


def test_what_has_too_many_worlds_is_undecided() -> None:
    item = Item()
    item.delivered(0, 2)
    for number in range(12):
        item.happened(act("copy", outcome="unknown", target=f"f{number}"))
    item.ends()
    assert item.undecided


def test_a_folder_may_be_deleted_late_with_what_has_come_into_it() -> None:
    item = Item()
    item.delivered(1, 1)
    item.happened(act("delete", "f1", "unknown"))
    item.happened(act("move", "INBOX", "ok", "f1"))
    assert item.ends() == {(("f1", NONE),), ()}


def test_the_same_store_without_an_answer_again_and_again_splits_the_world_once() -> None:
    item = Item()
    item.delivered(1, 1)
    for _ in range(100):
        item.happened(act("store", outcome="unknown", flag="\\seen"))
    assert len(item.ends()) == 2 and not item.undecided


def test_a_store_that_was_given_twice_may_have_met_both_copies() -> None:
    item = Item()
    item.delivered(2, 2)
    for _ in range(2):
        item.happened(act("store", outcome="unknown", flag="\\seen"))
    assert {sum(bool(flags) for _, flags in end) for end in item.ends()} == {0, 1, 2}


FOLDERS = st.sampled_from(["INBOX", "f1", "f2"])
COMMANDS = st.builds(
    act,
    st.sampled_from(["store", "copy", "move", "expunge", "rename", "delete"]),
    FOLDERS,
    st.sampled_from(["ok", "unknown", "no"]),
    FOLDERS,
    st.sampled_from(["\\seen", "work"]),
)


@given(st.integers(0, 2), st.lists(COMMANDS, max_size=7), st.randoms(use_true_random=False))
def test_the_truth_is_always_among_the_worlds(copies: int, commands: list[Act], dice: object) -> None:
    """A server that carries out what it answers, and some of what it didn't, at once or later."""
    item = Item()
    item.delivered(copies, copies)
    truth = settle([("INBOX", NONE)] * copies)
    late: list[Act] = []
    for one in commands:
        options = sorted(outcomes(one, truth), key=repr)
        if one.outcome == "ok" and options:
            truth = dice.choice(options)  # type: ignore[attr-defined]
        if one.outcome == "unknown" or options:
            item.happened(one)
        if one.outcome == "unknown":
            late.append(one)
        dice.shuffle(late)  # type: ignore[attr-defined]
        while late and dice.random() < 0.4:  # type: ignore[attr-defined]
            done = late.pop()
            truth = dice.choice(sorted(outcomes(done, truth), key=repr) or [truth])  # type: ignore[attr-defined]
    assert truth in item.ends() or item.undecided
    assert len(item.worlds) <= MOST or item.undecided
