"""The tree of errors: each has its exit code and says what to do next."""

from __future__ import annotations

import inspect
import re

import pytest

from orchestrator import errors
from orchestrator.errors import AgentFault, ConfigError, HostError, LinkLost, MailmirrorError, OperatorError

EXIT_CODES = {
    "MailmirrorError": 1,
    "OperatorError": 1,
    "ConfigError": 78,
    "UsageError": 2,
    "NothingToDo": 3,
    "NeedsConfirmation": 5,
    "NotPermitted": 77,
    "Refused": 4,
    "HostError": 69,
    "HostUnreachable": 69,
    "LinkLost": 75,
    "AgentFault": 1,
    "TryAgain": 75,
    "StillRunning": 6,
    "PartlyDone": 7,
    "BrokenPromise": 1,
}


def _classes() -> list[type[MailmirrorError]]:
    return [found for _, found in inspect.getmembers(errors, inspect.isclass) if issubclass(found, MailmirrorError)]


def test_each_class_has_the_exit_code_that_the_command_line_promises() -> None:
    assert {found.__name__: found.exit_code for found in _classes()} == EXIT_CODES


@pytest.mark.parametrize("found", _classes(), ids=lambda found: found.__name__)
def test_each_class_says_what_to_do_next_in_a_whole_sentence(found: type[MailmirrorError]) -> None:
    error = found("It failed.")
    assert str(error) == "It failed."
    assert re.fullmatch(r"[A-Z`].*[.]", error.remedy)


@pytest.mark.parametrize("found", _classes(), ids=lambda found: found.__name__)
def test_the_modules_tree_names_each_class(found: type[MailmirrorError]) -> None:
    assert errors.__doc__ is not None
    assert re.search(rf"\b{found.__name__}\b", errors.__doc__)


def test_who_raises_may_know_a_better_remedy() -> None:
    assert ConfigError("x", remedy="Write y.").remedy == "Write y."
    assert ConfigError("x").remedy == ConfigError.default_remedy


def test_an_agents_fault_carries_its_code() -> None:
    assert AgentFault("no", code="frozen", remedy="Wait.").code == "frozen"
    assert AgentFault("no").code == "failed"


def test_kinds_can_be_caught_together() -> None:
    assert issubclass(ConfigError, OperatorError)
    assert issubclass(LinkLost, HostError)
