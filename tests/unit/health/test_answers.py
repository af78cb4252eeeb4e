"""What an agent answers is checked before it counts: it may lie, or be broken."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import AgentFault
from orchestrator.health.answers import LONGEST, readings, vitals

WELL = ["smtp", True, "", "", 0.02, 2e9]
FAILED = ["imap", False, "timeout", "no answer in time", 3.0, None]
HOST = {
    "disks": [["/v", 0.5, 0.25, False, ""], ["/gone", None, None, None, "No such file"]],
    "queue": [[3, 900.0, 1, ""]],
    "clock": [1002.0, 5.0, True],
}


def told(head: dict[str, Any]) -> Any:
    return vitals("h", head, ["/v", "/gone"], True, 999.0, 1001.0)


def test_a_plain_answer_is_what_it_says() -> None:
    found = readings("h", {"probes": [WELL, FAILED]}, "probes", ("smtp", "imap"))
    assert [(each.service, each.how, each.expires) for each in found] == [("smtp", "", 2e9), ("imap", "timeout", None)]
    host = told(HOST)
    assert (host.disks, host.letters, host.oldest) == ([("/v", 0.25, False), ("/gone", None, None)], 3, 900.0)
    assert (host.clock, host.synchronised) == (2.0, True)


@pytest.mark.parametrize(
    "rows",
    [
        None, "x", [], [WELL], [WELL, FAILED, FAILED], [FAILED, WELL], [WELL, WELL], [WELL, ["imap", False]],
        [WELL, ["imap", True, "timeout", "", 1.0, None]], [WELL, ["imap", False, "", "", 1.0, None]],
        [WELL, ["imap", False, "timeout", "", float("nan"), None]], [WELL, ["imap", False, 3, "", 1.0, None]],
        [WELL, ["imap", "no", "timeout", "", 1.0, None]], [WELL, ["imap", False, "timeout", "", "1", None]],
    ],
)  # fmt: skip
def test_an_answer_that_wasnt_asked_for_is_the_agents_fault(rows: object) -> None:
    with pytest.raises(AgentFault) as caught:
        readings("h", {"probes": rows}, "probes", ("smtp", "imap"))
    assert (caught.value.code, bool(caught.value.remedy)) == ("garbled", True)


def test_what_a_server_said_is_short_and_acts_on_no_terminal() -> None:
    said = ["smtp", False, "broken", "\x1b[2J" + "x" * 999, 1.0, None]
    [found] = readings("h", {"probes": [said]}, "probes", ("smtp",))
    assert found.why.isprintable() and len(found.why) == LONGEST


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
TREES = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner))


@given(st.fixed_dictionaries(dict.fromkeys(("probes", "disks", "queue", "clock"), TREES)))
def test_nothing_but_an_agents_fault_comes_of_whatever_it_answers(head: dict[str, Any]) -> None:
    for each in (head, {**HOST, "clock": head["clock"]}):
        try:
            told(each)
        except AgentFault as fault:
            assert fault.code == "garbled"
    try:
        readings("h", head, "probes", ("smtp",))
    except AgentFault as fault:
        assert fault.code == "garbled"
