"""The demo's letters: varied, well formed enough for SMTP, and the same for the same seed."""

from __future__ import annotations

import email
import email.policy
from datetime import UTC, datetime
from email.message import EmailMessage

import pytest

from orchestrator.demo.letters import IN_TURN, KINDS, VERY_LARGE, Writer

START = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)


def test_the_same_seed_writes_the_same_letters_and_another_seed_writes_others() -> None:
    one, same, other = Writer(7, START), Writer(7, START), Writer(8, START)
    written = [one.write() for _ in range(3 * len(IN_TURN))]
    assert written == [same.write() for _ in written]
    assert all(here.raw != there.raw for here, there in zip(written, (other.write() for _ in written), strict=True))


@pytest.mark.issue("2.7 a varied set of real messages")
def test_every_kind_comes_in_turn_but_the_very_large_one_only_when_asked_for() -> None:
    writer = Writer(1, START)
    assert {writer.write().kind for _ in IN_TURN} == set(KINDS) - {VERY_LARGE}


@pytest.mark.parametrize("kind", IN_TURN)
def test_each_letter_has_crlf_line_ends_and_carries_its_identity(kind: str) -> None:
    letter = Writer(1, START).write(kind)
    assert b"\n" not in letter.raw.replace(b"\r\n", b"")
    parsed = email.message_from_bytes(letter.raw, policy=email.policy.SMTP)
    assert parsed["Message-ID"] == letter.identity


def test_identities_are_unique() -> None:
    writer = Writer(1, START)
    assert len({writer.write().identity for _ in range(150)}) == 150


def test_the_very_large_letter_is_of_twenty_megabytes_and_whole() -> None:
    letter = Writer(1, START).write(VERY_LARGE)
    assert 20_000_000 < len(letter.raw) < 22_000_000
    parsed = email.message_from_bytes(letter.raw, policy=email.policy.SMTP)
    assert isinstance(parsed, EmailMessage)
    assert len(parsed.get_payload(decode=True)) == 15_000_000


def test_the_odd_ones_are_odd_as_promised() -> None:
    writer = Writer(1, START)
    assert writer.write("empty body").raw.endswith(b"\r\n\r\n")
    assert b"\r\n.\r\n" in writer.write("leading dots and From lines").raw
    assert max(map(len, writer.write("very long lines").raw.split(b"\r\n"))) == 30_000
    assert not writer.write("8-bit Latin-1").raw.isascii()
    assert "Привет".encode() in writer.write("UTF-8 in the head").raw
