"""The small pure parts of the outside client: letters, its queue, IMAP's words, names, its journal."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.lab.oracle import letter, plan
from tests.lab.oracle.imapwords import Answer, Garbled, Line, copied, literal, uid_set, uids, values
from tests.lab.oracle.journal import Act, Began, Cached, Journal, Record, Seen, Sent, from_line, read, to_line
from tests.lab.oracle.postlog import again
from tests.lab.oracle.resolver import MX, A, NoName, answers, question
from tests.lab.oracle.site import BadSite, Exchange, parse
from tests.lab.oracle.spool import LONGEST_WAIT, Letter, Spool, in_order, verdict, wait

# ---- letters ----


@given(st.integers(0, 10**6))
def test_a_letter_is_recognised_whole_and_not_when_a_word_of_it_is_gone(number: int) -> None:
    name = f"s1-{number}-receive"
    message = letter.compose(name, "a@b", "c@d")
    stored = b"Received: from x\r\n" + message.replace(b"\r\n", b"\n")
    assert letter.identity(stored) == name
    assert letter.digest(stored) == letter.digest(message) == letter.expected(name)
    assert letter.digest(message[:-10]) != letter.expected(name)
    assert letter.digest(message.replace(b"This is", b"That is")) != letter.expected(name)


def test_a_message_of_others_has_no_identity() -> None:
    assert letter.identity(b"Message-ID: <x@example.test>\r\n\r\n") == ""
    assert letter.identity(b"\r\nMessage-ID: nothing") == ""


# ---- the plan ----


def test_the_same_seed_gives_the_same_plan_at_the_rate_that_was_asked_for() -> None:
    one, other, third = (plan.steps(seed, 50, 50) for seed in (1, 1, 2))
    first = [next(one) for _ in range(500)]
    assert first == [next(other) for _ in range(500)] != [next(third) for _ in range(500)]
    assert first[-1].at == pytest.approx(499 / 50)
    assert {step.operation for step in first} == set(plan.WEIGHTS)
    assert len({plan.identity(1, step) for step in first}) == 500


# ---- the queue ----


@given(st.lists(st.integers(0, 5), min_size=1))
def test_exchangers_are_tried_by_preference_and_equals_in_any_order(preferences: list[int]) -> None:
    exchanges = [Exchange(preference, f"mx{number}", "") for number, preference in enumerate(preferences)]
    orders = [in_order(exchanges, random.Random(seed)) for seed in range(30)]
    assert all([one.preference for one in order] == sorted(preferences) for order in orders)
    if len(set(preferences)) < len(preferences) > 3:
        assert len({tuple(order) for order in orders}) > 1


@pytest.mark.parametrize(
    ("code", "dot", "end"),
    [
        (250, True, "accepted"),
        (451, True, "later"),
        (554, True, "refused"),
        (0, True, "lost"),
        (0, False, "later"),
        (421, False, "later"),
        (550, False, "refused"),
    ],
)
def test_what_an_attempt_came_to(code: int, dot: bool, end: str) -> None:
    assert verdict(code, dot_sent=dot) == end


def test_a_letter_leaves_the_queue_only_when_somebody_answered_for_it() -> None:
    spool = Spool(random.Random(1))
    one = Letter("x", "a", "mx")
    spool.add(one, 0.0)
    t = 0.0
    for end in ("later", "lost", "later", "lost"):
        taken = spool.take(t)
        assert taken == one and spool.waiting == 1 and spool.take(t) is None
        spool.ended(one, end, t)
        assert spool.next is not None and t < spool.next <= t + LONGEST_WAIT
        t = spool.next
    assert spool.take(t) == one
    spool.ended(one, "accepted", t)
    assert spool.waiting == 0


def test_waits_grow_up_to_a_limit() -> None:
    waits = [wait(attempts, random.Random(3)) for attempts in range(1, 12)]
    assert waits == sorted(waits) and waits[-1] <= LONGEST_WAIT


# ---- IMAP ----


def test_a_fetch_is_read_with_its_literals_lists_and_quoted_strings() -> None:
    text = rb"* 3 FETCH (UID 17 FLAGS (\Seen $Label1) MODSEQ (5) BODY[HEADER.FIELDS (MESSAGE-ID)] {14})"
    (one,) = Answer("OK", b"", [Line(text, (b"a: (b) {3}\r\n\r\n",))]).fetched()
    assert (one.number, one.uid, one.modseq, one.body) == (3, 17, 5, b"a: (b) {3}\r\n\r\n")
    assert one.flags == frozenset({"\\Seen", "$Label1"})
    assert values(Line(rb'(\A) "." "a \"b\" c"')) == [[b"\\A"], b".", b'a "b" c']


def test_what_was_said_is_found_in_codes_numbers_and_vanished() -> None:
    lines = [b"* OK [UIDVALIDITY 7] x", b"* 4 EXISTS", b"* 2 EXPUNGE", b"* 2 EXPUNGE", b"* VANISHED (EARLIER) 1:3,9"]
    answer = Answer("OK", b"[HIGHESTMODSEQ 12] done", [Line(text) for text in [*lines, b"* VANISHED 5"]])
    assert answer.number(b"UIDVALIDITY") == 7 and answer.number(b"HIGHESTMODSEQ") == 12
    assert answer.number(b"UIDNEXT") == 0 and answer.numbers(b"EXPUNGE") == [2, 2]
    assert answer.vanished(earlier=True) == {1, 2, 3, 9} and answer.vanished(earlier=False) == {5}
    assert copied(b"7 1:2 8:9") == [(7, 1, 8), (7, 2, 9)] and copied(b"7 9") == [(7, 0, 9)] and copied(None) == []
    assert literal(b"x {12}") == 12 and literal(b"x {12} ") is None


@pytest.mark.parametrize("text", [b"(a", b"a)", b"(a))", b'"a'])
def test_garbled_words_are_refused(text: bytes) -> None:
    with pytest.raises(Garbled):
        values(Line(text))


@given(st.sets(st.integers(1, 60)))
def test_a_set_of_uids_is_read_as_it_was_written(numbers: set[int]) -> None:
    if numbers:
        assert uids(uid_set(numbers).encode()) == sorted(numbers)


# ---- the host's log ----


def test_a_delivery_within_the_site_that_lost_its_reply_may_stand_twice() -> None:
    lost = "(lost connection with x while sending end of data -- message may be sent more than once)"
    shut = "(host x said: 421 4.3.2 vm Shutting down (in reply to end of DATA command))"
    log = f"""mail postfix/cleanup[1]: AB12: message-id=<s1-7-receive@oracle.invalid>
mail postfix/lmtp[2]: AB12: to=<u@x>, status=deferred {lost}
mail postfix/lmtp[2]: AB12: to=<u@x>, dsn=4.3.2, status=deferred {shut}
mail postfix/cleanup[1]: CD34: message-id=<s1-8-receive@oracle.invalid>
mail postfix/lmtp[2]: CD34: to=<u@x>, status=deferred (lost connection with x while sending RCPT TO)
mail postfix/lmtp[2]: EF56: to=<u@x>, status=deferred {lost}
mail postfix/lmtp[2]: CD34: to=<u@x>, status=sent (250 2.0.0 <u@x> Saved)
"""
    assert again(log.splitlines()) == {"s1-7-receive": 2}


@pytest.mark.parametrize(
    ("between", "other", "times"),
    [("daemon started", "mail1", 1), ("daemon started", "mail2", 0), ("statistics", "mail1", 0)],
)
def test_a_queue_that_a_power_cut_brought_back_excuses_one_more_copy_by_its_own_host(
    between: str, other: str, times: int
) -> None:
    log = f"""mail1 postfix/cleanup[1]: AB12: message-id=<s1-7-receive@{letter.DOMAIN}>
mail1 postfix/lmtp[2]: AB12: to=<u@x>, relay=x[private/lmtp], status=sent (250 2.0.0 <u@x> Saved)
{other} postfix/first[3]: {between} -- version 3.7
mail1 postfix/smtp[4]: AB12: to=<u@x>, relay=y, status=sent (250 2.0.0 Ok: queued)
"""
    assert again(log.splitlines())["s1-7-receive"] == times


# ---- names ----


def _reply(number: int, name: str, kind: int, data: bytes, flags: int = 0x8180) -> bytes:
    asked = question(number, name, kind)
    record = b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 60, len(data)) + data
    return struct.pack(">6H", number, flags, 1, 1, 0, 0) + asked[12:] + record


def test_addresses_and_exchangers_are_read_from_an_answer() -> None:
    assert answers(_reply(5, "mail.example.test", A, bytes([10, 20, 0, 11])), 5, A)[0].value == "10.20.0.11"
    mx = struct.pack(">H", 20) + b"\x03mx1\xc0\x0c"
    (found,) = answers(_reply(5, "example.test", MX, mx), 5, MX)
    assert (found.value, found.preference, found.ttl) == ("mx1.example.test", 20, 60)


@given(st.binary(max_size=80))
def test_no_packet_breaks_the_resolver(data: bytes) -> None:
    for packet in (data, _reply(5, "a.b", MX, data), _reply(5, "a.b", A, data)[:-1]):
        try:
            answers(packet, 5, MX)
        except NoName as said:
            assert str(said)


def test_a_refusal_and_an_answer_to_somebody_else_are_no_answers() -> None:
    for packet in (_reply(5, "a", A, bytes(4), flags=0x8185), _reply(6, "a", A, bytes(4))):
        with pytest.raises(NoName):
            answers(packet, 5, A)


# ---- the journal and site.json ----


def test_records_are_read_as_they_were_written_and_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    records: list[Record] = [
        Began(1.0, 2.0, 3, 50.0),
        Sent(1.5, "x", "a", "mx", "unknown", "250 ok", "c>s"),
        Act(2.0, "a", "store", "ok", "x", "INBOX", uid=4, flags=("\\seen",), add=False),
        Seen(3.0, "a", "INBOX", 7, 4, "x"),
        Cached(4.0, "a", "INBOX", 7, 5, 6, ((4, "x", ("\\seen",)),)),
    ]
    with Journal(tmp_path / "j") as journal:
        journal.write(*records)
    with open(tmp_path / "j", "a", encoding="utf-8") as file:
        file.write(to_line(records[0])[:20])
    assert list(read(tmp_path / "j")) == records
    with pytest.raises(ValueError, match="not a record"):
        from_line('{"what": "gossip"}')


def test_a_site_that_lacks_a_key_names_it() -> None:
    with pytest.raises(BadSite, match="mx"):
        parse('{"domain": "example.test"}')
