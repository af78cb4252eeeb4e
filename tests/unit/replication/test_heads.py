"""What agents answer is checked: every shape that is relied upon passes, anything else is a sentence with a remedy."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.agent.wire import Frame, Kind
from orchestrator.errors import AgentFault
from orchestrator.replication.heads import SHAPES, Maybe, blamed, checked, content

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def some(shape: Any) -> Any:
    """A value of a shape."""
    if isinstance(shape, Maybe):
        return None
    if isinstance(shape, dict):
        return {key if key is not str else "k": some(each) for key, each in shape.items()}
    if isinstance(shape, list | tuple):
        return [some(each) for each in shape]
    return {int: 3, float: 0.5, str: "x", bool: True}[shape]


@pytest.mark.parametrize("what", sorted(SHAPES))
def test_an_honest_answer_passes_and_each_spot_is_looked_at(what: str) -> None:
    honest = some(SHAPES[what])
    if isinstance(honest, dict):
        assert checked("far", what, honest) is honest
        for key in SHAPES[what]:
            if key is not str:
                with pytest.raises(AgentFault, match=f"far: .*{key} is missing"):
                    checked("far", what, {k: v for k, v in honest.items() if k != key})


@given(st.sampled_from(sorted(SHAPES)), json_values)
def test_whatever_is_answered_there_is_an_answer_or_a_sentence(what: str, value: Any) -> None:
    frame = Frame(Kind.REPLY, 1, {}, json.dumps(value).encode(), False)
    try:
        content("far", what, frame)
    except AgentFault as fault:
        assert str(fault).startswith("far: ")
        assert fault.remedy


@pytest.mark.parametrize("number", [-1, 1 << 63, 1.5, True, "1", None, [1]])
def test_a_count_is_a_whole_number_in_its_range(number: Any) -> None:
    with pytest.raises(AgentFault, match=r"far: .*\(source.retire\) can't be right: .messages is"):
        checked("far", "source.retire", {"messages": number})


def test_what_isnt_listed_has_any_shape_and_an_empty_blob_is_nothing() -> None:
    assert checked("far", "store.init", {"a": [1]}) == {"a": [1]}
    assert content("far", "lines", Frame(Kind.REPLY, 1, {})) is None


def test_a_blob_that_inflates_without_end_is_told() -> None:
    with pytest.raises(AgentFault, match=r"far: .*inflates beyond"):
        content("far", "lines", Frame(Kind.REPLY, 1, {}, zlib.compress(bytes(65 << 20)), True))


def test_a_fault_is_laid_to_the_one_who_caused_it() -> None:
    fault = AgentFault("m: sink.consider: garbage", code="bad-request")
    assert str(blamed(fault, "p", "m can't understand its offer")).startswith("p: m can't")
    other = AgentFault("m: no space", code="os")
    assert blamed(other, "p", "never mind") is other
