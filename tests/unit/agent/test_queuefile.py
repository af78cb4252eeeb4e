"""Queue ids, where their files lie, and what a file says of its arrival."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.agent import queuefile

HEAD = b"C\x0a       236" + b"T\x111795572509 837955" + b"A\x16create_time=1795572509" + b"M\x00N\x03hi "
"""As Postfix 3.7 wrote it for 4jZ34Y5zPxz2w, whose inode was 150."""
LONG, INODE = "4jZ34Y5zPxz2w", 150


def test_short_and_long_ids_are_ids_and_nothing_else_is() -> None:
    for good in ("520F7266", "4C610272", LONG, "3qQ8yT0zzzz1"):
        assert queuefile.is_id(good)
    for bad in (
        "",
        "ALL",
        "-",
        ".mailmirror",
        "../x",
        "520f7266",
        "520F7266\n",
        "4jZ34Y5zPxzzz",
        "4jA34Y5zPxz2w",
        "5" * 99,
    ):
        assert not queuefile.is_id(bad), bad


@given(st.text(max_size=40))
def test_an_id_is_never_a_path_nor_a_word_of_postsupers(text: str) -> None:
    if queuefile.is_id(text):
        assert text.isalnum() and text.isascii() and text not in ("ALL", "all") and len(text) >= 6


def test_a_hashed_queue_goes_by_the_microseconds() -> None:
    assert queuefile.folder("hold", LONG, [], 1) == "hold"
    assert queuefile.folder("deferred", LONG, ["deferred", "defer"], 1) == "deferred/C"  # 842085 is CD965
    assert queuefile.folder("hold", LONG, ["hold"], 3) == "hold/C/D/9"
    assert queuefile.folder("hold", "520F7266", ["hold"], 2) == "hold/5/2"


def test_a_new_id_is_as_postsuper_would_name_the_file() -> None:
    assert queuefile.another("520F7266", 0x272, 0) == "520F7272"
    assert queuefile.another(LONG, INODE, 0) == LONG


@given(st.integers(0, 2**64 - 1), st.integers(0, 99), st.sampled_from([LONG, "520F7266", "F423F1"]))
def test_a_new_id_is_one_of_the_same_kind(inode: int, tries: int, queue_id: str) -> None:
    made = queuefile.another(queue_id, inode, tries)
    assert queuefile.is_id(made) and queuefile.is_long(made) == queuefile.is_long(queue_id)
    assert queuefile.another(queue_id, inode, tries) != queuefile.another(queue_id, inode, tries + 1)


def test_the_arrival_is_read_to_the_microsecond() -> None:
    assert queuefile.arrival(HEAD) == 1795572509837955
    assert queuefile.arrival(b"T\x0a1795572509") == 1795572509000000


@pytest.mark.parametrize(
    "odd", [b"", b"T", b"T\x05never", b"M\x00T\x0a1795572509", b"T\xff\xff\xff\xff\xff", b"#!/bin/sh\n"]
)
def test_what_does_not_say_when_it_arrived_is_none(odd: bytes) -> None:
    assert queuefile.arrival(odd) is None


@given(st.binary(max_size=queuefile.HEAD))
def test_no_bytes_make_it_fail(head: bytes) -> None:
    assert (queuefile.arrival(head) or 0) < 1 << 62
