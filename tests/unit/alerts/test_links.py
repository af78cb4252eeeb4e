"""A link says what was signed, for a day; whatever else comes in its place is refused."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.alerts import links
from orchestrator.errors import Refused, UsageError

KEY, NOW = b"k" * 32, 1_796_000_000.0
GOOD = links.Link("org", "pager", NOW, "00ff")
FORM = links.Seen("00ff", "3 messages")


@pytest.mark.issue("6.4 a link is signed, good once and for a day; its answer can't be forged")
def test_a_link_is_read_as_it_was_made_for_a_day() -> None:
    text = links.signed(KEY, GOOD)
    assert set(text) <= set(string.ascii_letters + string.digits + "-_."), "plain in a path"
    assert links.read(KEY, text, NOW) == links.read(KEY, text, NOW + links.LASTS) == GOOD
    for late in (NOW + links.LASTS + 1, NOW - links.SKEW - 1):
        with pytest.raises(Refused, match="older than a day"):
            links.read(KEY, text, late)
    assert links.fresh("org", "pager", NOW).nonce != links.fresh("org", "pager", NOW).nonce
    assert links.read_form(KEY, links.signed_form(KEY, FORM)) == FORM


@given(st.integers(0, 200), st.characters(codec="ascii"))
def test_one_letter_changed_is_no_link(at: int, letter: str) -> None:
    text = links.signed(KEY, GOOD)
    at %= len(text)
    changed = text[:at] + letter + text[at + 1 :]
    try:
        assert links.read(KEY, changed, NOW) == GOOD, "only bits that a last letter doesn't have"
        assert at == len(text) - 1 or changed == text
    except UsageError as error:
        assert "no link" in str(error) and error.remedy


@given(st.text(max_size=300))
def test_what_nobody_signed_is_no_link(text: str) -> None:
    with pytest.raises(UsageError):
        links.read(KEY, text, NOW)
    with pytest.raises(UsageError):
        links.read_form(KEY, text)


@pytest.mark.parametrize(
    "text",
    [
        links.signed(b"x" * 32, GOOD), links.signed_form(KEY, FORM), "a" * 3000,
        links._signer(KEY, "link").dumps({"pair": "org"}), links._signer(KEY, "link").dumps(["org", "pager"]),
        links._signer(KEY, "link").dumps(["org", "pager", "then", "00ff"]),
    ],
)  # fmt: skip
def test_another_key_another_purpose_and_other_content_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        links.read(KEY, text, NOW)
