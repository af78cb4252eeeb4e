"""What an operator hears of an agent's trouble."""

from __future__ import annotations

import pytest

from orchestrator.errors import AgentFault, LinkLost, Refused
from orchestrator.replication.trouble import told

LAST_WORDS = (
    "mail2: the agent ended it (exit status 0; it said:\n"
    "mailmirror agent: the conversation broke off: [Errno 28] No space left on device)"
)


def test_last_words_of_an_agent_on_a_full_disk_become_what_to_do() -> None:
    error = told(LinkLost(LAST_WORDS))
    assert isinstance(error, LinkLost)
    assert str(error) == "mail2: its disk is full ([Errno 28] No space left on device)"
    assert "Make room" in error.remedy and "Nothing is lost" in error.remedy


@pytest.mark.parametrize(
    ("number", "what"), [(122, "quota"), (30, "read-only"), (5, "disk fails")], ids=["EDQUOT", "EROFS", "EIO"]
)
def test_other_failures_of_a_disk_are_named_too(number: int, what: str) -> None:
    error = told(AgentFault(f"mail2: [Errno {number}] Something: '/var/vmail/x'", code="os"))
    assert isinstance(error, AgentFault) and error.code == "os"
    assert what in str(error) and "/var/vmail" not in str(error)


def test_a_safety_rule_s_fault_is_a_refusal_and_the_rest_stays_what_it_was() -> None:
    refusal = told(AgentFault("mail1: no marker", code="no-marker", remedy="Mount it."))
    assert isinstance(refusal, Refused) and refusal.remedy == "Mount it."
    for error in (AgentFault("mail1: [Errno 2] No such file", code="os"), LinkLost("mail1: gone")):
        assert told(error) is error
