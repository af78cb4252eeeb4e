"""Whatever is done to the sample, it loads, or every problem is told with its place; never another exception."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.inventory.load import read_bytes
from orchestrator.inventory.problems import InventoryError
from tests.unit.inventory.texts import NAME, SAMPLE

LINES = [line for line in SAMPLE.read_text(encoding="utf-8").splitlines() if line.split("#")[0].strip()]
NASTY = [
    "{",
    "}",
    "[",
    "]",
    "*a",
    "&a ",
    "<<: ",
    "!x ",
    "'",
    '"',
    "|",
    ">",
    "\t",
    ": ",
    "- ",
    "? ",
    "#",
    "NO",
    "{{x}}",
    "\0",
]

change = st.one_of(
    st.tuples(st.just("drop"), st.integers(0, len(LINES) - 1), st.just("")),
    st.tuples(st.just("double"), st.integers(0, len(LINES) - 1), st.just("")),
    st.tuples(st.just("cut"), st.integers(0, len(LINES) - 1), st.just("")),
    st.tuples(st.just("dedent"), st.integers(0, len(LINES) - 1), st.just("")),
    st.tuples(st.just("end"), st.integers(0, len(LINES) - 1), st.sampled_from(NASTY) | st.text(max_size=8)),
    st.tuples(st.just("value"), st.integers(0, len(LINES) - 1), st.sampled_from(NASTY) | st.text(max_size=8)),
    st.tuples(st.just("begin"), st.integers(0, len(LINES) - 1), st.sampled_from(NASTY)),
)


def _apply(changes: list[tuple[str, int, str]]) -> str:
    lines = list(LINES)
    for kind, at, text in changes:
        at = min(at, len(lines) - 1)
        line = lines[at]
        if kind == "drop" and len(lines) > 1:
            del lines[at]
        elif kind == "double":
            lines.insert(at, line)
        elif kind == "cut":
            lines[at] = line[: len(line) // 2]
        elif kind == "dedent":
            lines[at] = line.removeprefix("  ")
        elif kind == "end":
            lines[at] = line + text
        elif kind == "value":
            lines[at] = line.partition(":")[0] + ": " + text
        elif kind == "begin":
            lines[at] = text + line
    return "\n".join(lines)


@pytest.mark.issue("2.2 any damage to the sample either loads or is told with its place")
@settings(max_examples=300)
@given(st.lists(change, min_size=1, max_size=4))
def test_a_damaged_sample_loads_or_every_problem_has_its_place(changes: list[tuple[str, int, str]]) -> None:
    text = _apply(changes)
    try:
        content = text.encode("utf-8")
    except UnicodeEncodeError:
        content = text.encode("utf-8", "surrogatepass")
    lines = content.decode("utf-8", "replace").split("\n")
    try:
        inventory = read_bytes(content, NAME).inventory
    except InventoryError as error:
        assert error.problems
        for problem in error.problems:
            assert 1 <= problem.place.line <= len(lines) + 1
            assert problem.place.column >= 1
            assert problem.what
    else:
        for pair in inventory.pairs.values():
            assert pair.primary.stores
            assert pair.mirror.name != pair.primary.name


@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise_anything_else(content: bytes) -> None:
    with pytest.raises(InventoryError):
        read_bytes(content, NAME)
