"""What people read, and that nothing from a mail host acts on their terminal."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.agent.wire import text
from orchestrator.cli import words
from orchestrator.replication.report import (
    Deleted,
    Difference,
    Link,
    PairStatus,
    PassiveStatus,
    SyncReport,
    Tally,
    UndeleteReport,
    VerifyReport,
    Waiting,
)

HOSTILE = "a\x1b[2J\nb\x07"


def synced(**changes: Any) -> dict[str, Any]:
    tally = Tally(**changes.pop("tally", {}))
    return asdict(replace(SyncReport("org", "mail2", tally, 1.25, 1_234_567, 890), **changes))


def stands(*passives: PassiveStatus, stale: bool = False, **changes: Any) -> dict[str, Any]:
    pair = asdict(PairStatus("org", passives=list(passives), **changes))
    if not stale:
        return {"pairs": [pair], "stale": False}
    return {"pairs": [{**pair, "stale": True}], "stale": True, "daemon": "No daemon runs. Start it."}


def test_a_pass_is_told_in_a_sentence_and_a_line_of_bytes() -> None:
    told = words.sync([synced(tally={"messages": 1200, "message_bytes": 5_000_000, "renamed": 1, "linked": 2})])
    assert told == (
        "org: mail2 got 1,200 messages (5.0 MB), 2 moves and copies, 1 flag change, in 1.25 s.\n"
        "  On the wire: 1.2 MB received, 890 B sent.\n"
    )


def test_nothing_to_do_a_plan_and_what_is_held_back_are_told_apart() -> None:
    assert words.sync([synced()]).startswith("org: nothing had changed for mail2, in 1.25 s.")
    assert words.sync([synced(planned=True)]) == "org: mail2 has everything.\n"
    assert words.sync([synced(planned=True, tally={"deleted": 1})]) == "org: mail2 would get 1 deletion.\n"
    assert "  3 deletions held back: see `mailmirror status org`.\n" in words.sync([synced(tally={"waiting": 3})])


def test_problems_are_shown_and_make_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert words.show("sync", [synced()], "table") == 0
    assert words.show("sync", [synced(problems=["INBOX: a torn uidlist"])], "table") == 7
    assert words.show("sync", [synced(tally={"refused": 1})], "json") == 7
    assert "  Problem: INBOX: a torn uidlist\n" in capsys.readouterr().out


@pytest.mark.issue("2.6 status: what waits, with its id, and what to type")
def test_status_says_what_waits_and_what_to_type() -> None:
    held = Waiting("w-17", "jane", 300, "an account lost everything within ten minutes", 1_700_000_000.0)
    level = PassiveStatus("mail2", "mirror", connected=True, pending=2, lag_seconds=0.5, waiting=[held])
    told = words.status(stands(level, link=Link.LIVE, active="mail1", missing_accounts=["it's gone"]))
    head, row, _, *notes = told.splitlines()
    assert head.split()[:3] == ["PAIR", "STATE", "LINK"]
    assert row.split()[:8] == ["org", "-", "live", "mail1", "mail2", "mirror", "0.50", "s"]
    assert "300 deletions of jane held back" in notes[0]
    assert notes[1].strip() == (
        "The mail is still on mail2. If its deletion is meant: mailmirror ack org w-17 --accept-loss"
    )
    assert notes[3].strip() == "If that was meant: mailmirror account retire org 'it'\\''s gone' --accept-loss"


def test_status_says_trouble_and_its_remedy_and_that_it_is_old() -> None:
    told = words.status(stands(stale=True, link=Link.REFUSED, trouble="It has no marker.", remedy="Run init."))
    assert "org: It has no marker.\n    Run init.\n" in told
    assert "No daemon runs. Start it.\n" in told
    assert "org: Nothing is known of it here: no pass was made yet, or what it saw was lost.\n" in told
    seen = words.status(stands(stale=True, taken_at=time.time() - 7200, seen_by="sync"))
    assert "org: This is as `sync` saw it last, 2 h ago (20" in seen


@pytest.mark.issue("2.6 status: a lag above mm_rpo is told")
def test_status_tells_a_lag_above_mm_rpo_and_a_link_that_is_down_for_longer() -> None:
    now = time.time()
    behind = PassiveStatus("mail2", "mirror", connected=True, pending=12_345, lag_seconds=300.0)
    told = words.status(stands(behind, link=Link.LIVE, rpo=30.0, taken_at=now))
    assert (
        "org: mail2 is behind: it lacks changes that are 5 min old, and mm_rpo is 30 s.\n    12,345 changes to go"
        in told
    )
    assert "behind" not in words.status(stands(behind, link=Link.LIVE, rpo=301.0, taken_at=now))
    level = replace(behind, pending=0, lag_seconds=None)
    told = words.status(stands(level, link=Link.CONNECTING, rpo=30.0, taken_at=now - 3600, trouble="No route."))
    assert "org: There is no link now; this is as it was seen last, 60 min ago (" in told
    assert "org: mail2 may lack more than mm_rpo allows (30 s): nothing has come to it since then.\n" in told
    assert "may lack" not in words.status(stands(level, link=Link.CONNECTING, rpo=30.0, taken_at=now - 10))


def test_every_note_of_a_status_is_shown() -> None:
    level = PassiveStatus("mail2", "mirror", sidecars_wait=2, problems=["its clock is off"])
    told = words.status(
        stands(
            level,
            link=Link.LIVE,
            unstable_folders=1,
            watch="poll",
            watch_why="inotify is full",
            not_used=["vault (archive)"],
        )
    )
    for part in (
        "2 sidecars (uidlists and the like) held back: a Dovecot runs on mail2 that can reach the store.",
        "mm_other_dovecot: true",
        "its clock is off",
        "1 folder whose",
        "by poll: inotify is full",
        "vault (arch",
    ):
        assert part in told


def test_verify_names_differences_up_to_a_screenful(capsys: pytest.CaptureFixture[str]) -> None:
    found = [Difference("jane", "INBOX", f"message {n} is missing") for n in range(60)]
    report = asdict(VerifyReport("org", "mail2", False, True, 1, 2, 3, 4, found, 1.0, 2.0))
    assert words.show("verify", [report], "table") == 1
    told = capsys.readouterr().out
    assert (
        "org: mail2 differs in 60 places (names, flags, UIDs and bodies of 3 messages in 2 folders, 2.00 s).\n" in told
    )
    assert "  4 deletions held back: allowed for.\n" in told
    assert "  and 10 more; --format json shows all.\n" in told
    assert words.show("verify", [{**report, "equal": True, "differences": []}], "json") == 0


def test_undelete_lists_and_says_what_came_back(capsys: pytest.CaptureFixture[str]) -> None:
    found = [Deleted("jane", "Trash", "1700000000.M1P2.mail1", 2048, 1_700_000_000.0)]
    plan = UndeleteReport("org", "mail2", 2, 4096, planned=True, found=found)
    assert words.show("undelete", [asdict(plan)], "table") == 0
    told = capsys.readouterr().out
    assert "2 deleted messages (4.1 kB) on mail2" in told
    assert "jane" in told
    assert "and 1 more." in told
    assert words.show("undelete", [asdict(replace(plan, chosen=0, found=[]))], "table") == 3
    assert (
        words.show("undelete", [asdict(replace(plan, planned=False, restored=1, problems=["no room"]))], "table") == 7
    )


def test_the_small_verbs_have_sentences() -> None:
    assert words.release({"id": "w1", "released": 1}) == "1 deletion of w1 may go on.\n"
    assert words.retire({"account": "j", "messages": 2, "planned": True}).startswith("2 messages of j would be")
    assert words.init({"done": ["One.", "Two."]}) == "One.\nTwo.\n"


def test_a_remedy_stands_below_the_sentence() -> None:
    assert words.failure("No.", "Do this.") == "mailmirror: No.\n  Do this.\n"
    assert words.failure("No.", "") == "mailmirror: No.\n"
    assert words.failure("a\x1b[2J\nb", "") == "mailmirror: a\\x1b[2J\nb\n"


@pytest.mark.issue("2.P hostile input: names with newlines")
@pytest.mark.parametrize("verb", ["sync", "status", "verify", "undelete"])
def test_no_name_acts_on_the_terminal(verb: str) -> None:
    level = PassiveStatus(HOSTILE, "mirror", waiting=[Waiting("w", HOSTILE, 1, HOSTILE, 1.0)], problems=[HOSTILE])
    told = {
        "sync": [synced(host=HOSTILE, problems=[HOSTILE])],
        "status": stands(level, trouble=HOSTILE, remedy=HOSTILE, missing_accounts=[HOSTILE]),
        "verify": [
            asdict(VerifyReport("org", HOSTILE, False, True, 1, 1, 1, 0, [Difference(HOSTILE, HOSTILE, HOSTILE)], 1, 1))
        ],
        "undelete": [
            asdict(
                UndeleteReport("org", HOSTILE, 1, 1, planned=True, found=[Deleted(HOSTILE, HOSTILE, HOSTILE, 1, 1.0)])
            )
        ],
    }[verb]
    shown = words.TABLES[verb](told)
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "a\\x1b[2J\\nb" in shown


@given(st.binary())
def test_any_bytes_of_a_name_become_one_printable_line(name: bytes) -> None:
    assert words.safe(text(name)).isprintable()


def test_utf_8_names_are_shown_as_what_they_are() -> None:
    assert words.safe(text("Gelöschte".encode())) == "Gelöschte"
    assert words.safe("λ") == "λ"
    assert words.safe(text(b"\xff")) == "ÿ"


@given(st.floats(0, 1e18))
def test_sizes_and_spans_are_short(number: float) -> None:
    assert len(words.size(number)) <= 12
    assert len(words.span(min(number, 1e9))) <= 12


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_a_word_for_the_shell_is_one_word(word: str) -> None:
    quoted = words.shell_word(word)
    assert quoted == word or (quoted[0], quoted[-1]) == ("'", "'")
    assert " " not in quoted or quoted.startswith("'")
