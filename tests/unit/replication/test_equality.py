"""Whether two places are equal, from their agents' lines."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.replication.equality import MAX_DIFFERENCES, Line, by_message, compare, lines

LINE = Line("ann/.Sent", "ann", True, 3, "00ff", "0a0b")


def test_equal_lines_differ_in_nothing() -> None:
    assert compare({"ann/.Sent": LINE}, {"ann/.Sent": replace(LINE)}) == []
    assert compare({}, {}) == []


@pytest.mark.parametrize(
    ("there", "what"),
    [
        (replace(LINE, messages=4), "3 messages on the active, 4 on the passive place"),
        (replace(LINE, digest="0"), "names or flags differ"),
        (replace(LINE, sidecars="0"), "sidecars differ"),
        (replace(LINE, maildir=False), "is a Maildir folder on one place only"),
    ],
    ids=["messages", "digest", "sidecars", "kind"],
)
def test_each_difference_is_told(there: Line, what: str) -> None:
    (found,) = compare({LINE.path: LINE}, {LINE.path: there})
    assert (found.account, found.folder) == ("ann", "ann/.Sent")
    assert what in found.what


def test_a_folder_on_one_place_only_is_told_from_either_side() -> None:
    (found,) = compare({LINE.path: LINE}, {})
    assert found.what == "is missing on the passive place"
    (found,) = compare({}, {LINE.path: LINE})
    assert found.what == "stands on the passive place only"


def test_what_an_agent_packed_is_read() -> None:
    row = ["ann", "ann", 1, 2, "00", "01", [["1.host", 1, ":2,S", "5:1", "proof"]]]
    assert lines([row]) == {"ann": Line("ann", "ann", True, 2, "00", "01", (("1.host", 1, ":2,S", "5:1", "proof"),))}


def test_a_folder_is_compared_message_by_message() -> None:
    here = {"a": (1, ":2,S", "", "x"), "b": (0, "", "", "x"), "c": (1, "", "", "x"), "e": (1, "", "", "x")}
    there = {"a": (1, ":2,", "", "x"), "b": (0, "", "", "y"), "d": (1, "", "", "x"), "e": (1, "", "", "x")}
    here["f"], there["f"] = (1, "", "7:5", "x"), (1, "", "", "x")
    mine, yours = (replace(LINE, names=tuple((base, *row) for base, row in each.items())) for each in (here, there))
    assert by_message(mine, yours) == [
        "a: flags differ (cur:2,S / cur:2,)",
        "b: content, size or time differs",
        "c: missing on the passive place",
        "d: stands on the passive place only",
        "f: UID differs (7:5 / none)",
    ]


def test_a_long_list_of_differences_is_cut() -> None:
    here = replace(LINE, names=tuple((str(number), 1, "", "", "x") for number in range(1_000)))
    assert len(by_message(here, LINE)) == MAX_DIFFERENCES
