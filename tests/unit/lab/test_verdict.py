"""The verdict finds exactly what was planted in a random history: every fault, and nothing else."""

from __future__ import annotations

import random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.lab.oracle.intervals import Answer, Span
from tests.lab.oracle.journal import Act, Began, Record, Sent
from tests.lab.oracle.reading import Folder, Message
from tests.lab.oracle.table import as_json, lines
from tests.lab.oracle.verdict import VIOLATIONS, Probes, Verdict, Wire, held_apart, judge
from tests.unit.lab import faults
from tests.unit.lab.histories import SEED, History, Signature, history

EMPTY = Folder(1, 1, 0, ())
seeds = st.integers(0, 1 << 32)


def verdict_of(one: History) -> Verdict:
    return judge(one.records, one.reading, Wire(tuple(one.answers)))


def signatures(verdict: Verdict) -> set[Signature]:
    return {(finding.kind, finding.account, finding.about, finding.detail) for finding in verdict.findings}


@given(seeds, st.integers(1, 6), st.integers(0, 120))
def test_a_site_that_keeps_its_promises_is_sound_whatever_replies_were_lost(
    seed: int, accounts: int, steps: int
) -> None:
    verdict = verdict_of(history(seed, accounts, steps))
    assert verdict.findings == []
    assert verdict.counts["acknowledged"] > 0


@pytest.mark.issue("3.3 the outside client is tested with planted losses, duplicates, UID reuse and a second writer")
@given(seeds, st.lists(st.sampled_from(faults.FAULTS), min_size=1, max_size=6, unique=True), st.integers(20, 150))
@settings(max_examples=300)
def test_exactly_the_planted_faults_are_reported(seed: int, planted: list[faults.Fault], steps: int) -> None:
    one = history(seed, len(planted) + 1, steps)
    expected: set[Signature] = set()
    for owner, fault in zip(one.owners, planted, strict=False):
        expected |= fault(one, owner, random.Random(seed)) or set()
    assume(expected)
    assert signatures(verdict_of(one)) == expected


@pytest.mark.parametrize("fault", faults.FAULTS, ids=lambda fault: fault.__name__)
def test_each_fault_can_be_planted_and_is_found_alone(fault: faults.Fault) -> None:
    """So that the test above doesn't pass by never planting one; over fixed seeds."""
    planted = 0
    for seed in range(25):
        one = history(seed, 2, 80)
        expected = fault(one, one.owners[0], random.Random(seed))
        if expected is not None:
            planted += 1
            assert signatures(verdict_of(one)) == expected, f"seed {seed}"
    assert planted >= 5


# ---- single cases ----


def case(*acts: Sent | Act, found: dict[str, Folder]) -> Verdict:
    return judge([Began(0, 0, SEED, 1), *acts], {"a": {"INBOX": EMPTY, **found}})


def sent(identity: str, *outcomes: str) -> list[Sent]:
    return [Sent(0, f"s{SEED}-{identity}", "a", "mx", outcome, "", "") for outcome in outcomes]  # type: ignore[arg-type]


def inbox(*identities: str) -> dict[str, Folder]:
    messages = tuple(Message(uid, (), f"s{SEED}-{one}") for uid, one in enumerate(identities, 1))
    return {"INBOX": Folder(1, len(messages) + 1, 0, messages)}


@pytest.mark.parametrize("copies", range(4))
@pytest.mark.parametrize("outcomes", [("unknown",), ("unknown", "ok"), ("ok",), ("no",), ("no", "ok")])
def test_a_message_may_stand_as_often_as_its_replies_allow(outcomes: tuple[str, ...], copies: int) -> None:
    """RFC 1047: a reply that was lost allows one more; an acknowledgement demands one."""
    verdict = case(*sent("x", *outcomes), *sent("y", "ok"), found=inbox(*["x"] * copies, "y"))
    least, most = outcomes.count("ok"), outcomes.count("ok") + outcomes.count("unknown")
    kinds = {finding.kind for finding in verdict.findings}
    if copies < least:
        assert kinds == {"lost"}
    elif copies > most:
        assert kinds == ({"duplicated"} if most else {"unexpected"})
    else:
        assert kinds == set()


@pytest.mark.parametrize(
    ("outcome", "flags", "kinds"),
    [
        ("unknown", ("unknown-1",), set()),
        ("unknown", ("unknown-1", "unknown-2"), {"flags"}),
        ("unknown", ("\\seen", "unknown-1"), {"flags"}),
        ("ok", ("unknown-1",), {"flags"}),
        ("no", ("unknown-1",), {"flags"}),
    ],
)
def test_a_keyword_may_lack_its_name_only_when_its_command_had_no_answer(
    outcome: str, flags: tuple[str, ...], kinds: set[str]
) -> None:
    """Dovecot, killed between the message's new name and dovecot-keywords, tells the letter back as `unknown-N`."""
    one = f"s{SEED}-x"
    store = Act(1, "a", "store", outcome, one, "INBOX", flags=("later",))  # type: ignore[arg-type]
    verdict = case(*sent("x", "ok"), store, found={"INBOX": Folder(1, 2, 0, (Message(1, flags, one),))})
    assert {finding.kind for finding in verdict.findings} == kinds


def test_messages_of_another_run_are_not_ours_to_judge() -> None:
    other = Folder(1, 9, 0, (Message(1, (), "s99-17-receive"), Message(2, (), "")))
    verdict = case(
        *sent("x", "ok"), found={"INBOX": Folder(1, 9, 0, (*inbox("x")["INBOX"].messages, *other.messages[1:]))}
    )
    assert verdict.sound and verdict.counts["not ours"] == 1
    verdict = case(*sent("x", "ok"), found={**inbox("x"), "old": other})
    assert verdict.sound


def test_nothing_acknowledged_is_no_sound_verdict() -> None:
    assert [finding.kind for finding in judge([], {}).findings] == ["nothing"]
    assert {finding.kind for finding in case(*sent("x", "no"), found={}).findings} == {"nothing"}


def test_a_witness_that_heard_nothing_or_missed_something_is_no_sound_verdict() -> None:
    ours: list[Record] = [Began(0, 0, SEED, 1), *sent("x", "ok")]
    reading = {"a": inbox("x")}
    answer = Answer(1, "primary", "c>s", "imap", "OK")
    assert not judge(ours, reading, Wire(())).sound
    assert not judge(ours, reading, Wire((answer,), missed=3)).sound
    assert judge(ours, reading, Wire((answer,))).sound


def test_a_prober_without_a_success_is_no_sound_verdict() -> None:
    ours: list[Record] = [Began(0, 0, SEED, 1), *sent("x", "ok")]
    ticks = tuple(number / 20 for number in range(100))
    never = judge(ours, {"a": inbox("x")}, probes={"imap": Probes(ticks, (), Span(0, 5), 0.05)})
    assert not never.sound and never.away["imap"].longest == 5
    always = judge(ours, {"a": inbox("x")}, probes={"imap": Probes(ticks, ticks, Span(0, 5), 0.05)})
    assert always.sound and always.away["imap"].total == 0


def test_a_queues_250_is_no_positive_answer_while_its_transports_are_held() -> None:
    answers = [
        Answer(t, "mirror", f"c{t}>m", protocol, "250") for t, protocol in ((5, "smtp"), (15, "smtp"), (5, "imap"))
    ]
    assert held_apart(answers, [("mirror", Span(0, 10))]) == answers[1:]
    assert held_apart(answers, [("primary", Span(0, 10))]) == answers


@given(seeds)
@settings(max_examples=20)
def test_the_table_names_every_kind_and_fits_a_screen_and_the_json_holds_all(seed: int) -> None:
    one = history(seed, 8, 60)
    for owner in one.owners:
        faults.lost(one, owner, random.Random(seed))
    verdict = verdict_of(one)
    text = lines(verdict)
    assert all(
        any(line.strip().startswith(tuple("0123456789")) and kind in line for line in text) for kind in VIOLATIONS
    )
    assert len(text) < 60 and text[-1].startswith(("SOUND", "VIOLATED"))
    assert len(as_json(verdict)["findings"]) == len(verdict.findings)
