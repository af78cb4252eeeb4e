"""How the story reads: plain where nobody sees colour, and never a happy end after a broken proof."""

from __future__ import annotations

import io

import pytest

from orchestrator.demo.story import Story, milliseconds, percentile, size
from orchestrator.errors import BrokenPromise


def test_acts_are_numbered_and_figures_stand_under_one_another() -> None:
    out = io.StringIO()
    story = Story(out)
    story.title("a title [not markup]")
    story.act("first")
    story.figure("one", "1", "a note")
    story.figure("a longer label", "1.25 s")
    story.act("second")
    story.say("A sentence.")
    lines = out.getvalue().splitlines()
    assert lines[0] == "a title [not markup]"
    assert [line for line in lines if line[:1].isdigit()] == ["1  first", "2  second"]
    assert lines[3].index("1   a note") + 1 == len(lines[4])
    assert "\x1b" not in out.getvalue()


def test_a_proof_that_doesnt_hold_is_told_and_raised() -> None:
    out = io.StringIO()
    story = Story(out)
    story.proof("two is two", True)
    with pytest.raises(BrokenPromise, match="one is two"):
        story.proof("one is two", False, "it is one")
    assert story.proofs == 1
    assert "one is two" in out.getvalue()


def test_a_terminal_that_knows_no_unicode_gets_words() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    Story(out).proof("it holds", True)
    out.flush()
    assert b"proven: it holds" in raw.getvalue()


def test_figures_are_written_for_people() -> None:
    assert [size(0), size(999), size(1500), size(2.5e6), size(3e9), size(4e12)] == [
        "0 B", "999 B", "1.5 kB", "2.5 MB", "3.0 GB", "4000.0 GB"]  # fmt: skip
    assert milliseconds(0.0123) == "12 ms"


def test_percentiles_are_values_that_occurred() -> None:
    values = [float(n) for n in range(1, 61)]
    assert [percentile(values, share) for share in (0.0, 0.5, 0.99, 1.0)] == [1.0, 30.0, 60.0, 60.0]
    assert percentile([7.0], 0.5) == 7.0
