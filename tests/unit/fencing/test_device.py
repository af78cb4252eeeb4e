"""The contract of a fence device, kept by both kinds with real programs, and a host's power driven level by level."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.fencing import device, levels, proof
from orchestrator.fencing.device import State
from orchestrator.inventory.model import Fence, Host, Secret
from orchestrator.records.fences import Trial
from tests.unit.fencing.devices import PASSWORD, Box


@pytest.fixture(params=["agent", "exec"])
def box(request: pytest.FixtureRequest, tmp_path: Path) -> Box:
    return Box(tmp_path / "box", request.param)


def asked(box: Box, within: float = 20.0) -> device.Answer:
    return device.of(box.entry()).status(within)


@pytest.mark.issue("4.3 fence-agents conventions: stdin key=value, status exit codes")
@pytest.mark.issue("4.3 exec for a provider's call with its own verification")
def test_it_says_on_and_off_as_the_power_is(box: Box) -> None:
    assert asked(box).state is State.ON
    box.set(power="off")
    answer = asked(box)
    assert answer.state is State.OFF
    assert answer.began <= answer.ended <= device.boottime()


def test_an_order_is_obeyed_and_proves_nothing_by_itself(box: Box) -> None:
    found = device.of(box.entry())
    ordered = found.order(State.OFF, 20.0)
    assert (ordered.state, ordered.done, box.power) == (State.UNKNOWN, True, "off")
    assert found.order(State.ON, 20.0).done and box.power == "on"


@pytest.mark.issue("4.3 status that answers neither is UNKNOWN, never off")
@pytest.mark.parametrize("mood", ["mute", "strange"])
@pytest.mark.parametrize("power", ["on", "off"])
def test_an_answer_that_is_not_understood_is_unknown(box: Box, mood: str, power: str) -> None:
    box.set(mood=mood, power=power)
    assert asked(box).state is State.UNKNOWN


@pytest.mark.issue("4.3 a total deadline, the process group killed")
def test_a_device_that_hangs_is_unknown_when_its_time_is_over(box: Box) -> None:
    box.set(mood="hangs", power="off")
    began = time.monotonic()
    answer = asked(box, within=1.0)
    assert answer.state is State.UNKNOWN and "didn't end within 1.0 s" in answer.said
    assert time.monotonic() - began < 15


@pytest.mark.issue("4.3 secrets only by reference, never on the command line nor in a log")
def test_the_secret_is_in_no_command_line_no_environment_of_others_and_no_answer(box: Box) -> None:
    found = device.of(box.entry())
    answers = [found.status(20.0), found.order(State.OFF, 20.0)]
    assert PASSWORD not in box.asked and PASSWORD not in found.title + found.fingerprint
    box.set(password="another")
    refused = found.status(20.0)  # the programs print the password that they were given
    assert refused.state is State.UNKNOWN and "***" in refused.said
    assert PASSWORD not in repr([*answers, refused])


def test_the_environment_of_the_controller_is_not_handed_on(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER_SECRET", "hunter3")
    assert asked(box).state is State.ON
    assert "OTHER_SECRET" not in box.asked


@pytest.mark.parametrize("spoil", ["missing", "open to all", "two lines", "empty"])
def test_a_secret_that_can_not_be_used_is_unknown_and_told(box: Box, spoil: str) -> None:
    box.set(power="off")
    if spoil == "missing":
        box.key.unlink()
    elif spoil == "open to all":
        box.key.chmod(0o604)
    else:
        box.key.write_text("" if spoil == "empty" else f"{PASSWORD}\naction=on")
    answer = asked(box)
    assert answer.state is State.UNKNOWN and str(box.key) in answer.said and PASSWORD not in answer.said
    assert not (box.home / "asked").exists(), "the program was run without its secret"


def test_a_program_that_is_not_installed_is_unknown(box: Box) -> None:
    box.program.unlink()
    assert asked(box).state is State.UNKNOWN
    missing = device.of(Fence(1, agent="fence_nowhere")).status(5.0)
    assert (missing.state, missing.said) == (State.UNKNOWN, "fence_nowhere isn't installed.")


def test_exit_code_2_alone_is_not_off(tmp_path: Path) -> None:
    """As of a script that Python can't open, and of EC_BAD_ARGS."""
    program = tmp_path / "fence_broken"
    program.write_text("#!/bin/sh\nexec python3 /nowhere/fence_foo\n")
    program.chmod(0o755)
    answer = device.of(Fence(1, agent=os.fspath(program))).status(20.0)
    assert answer.state is State.UNKNOWN and answer.said.startswith("exit code 2: ")


def test_the_words_without_the_exit_code_are_not_off(tmp_path: Path) -> None:
    program = tmp_path / "fence_confused"
    for code, said in ((0, "Status: OFF"), (1, "Status: OFF"), (2, "Status: ON"), (2, "Status: ON\nStatus: OFF")):
        program.write_text(f"#!/bin/sh\necho '{said}'\nexit {code}\n")
        program.chmod(0o755)
        assert device.of(Fence(1, agent=os.fspath(program))).status(20.0).state is State.UNKNOWN


def test_a_fingerprint_changes_with_what_is_said_of_the_device_and_not_with_its_place(box: Box) -> None:
    first = device.of(box.entry(1)).fingerprint
    assert device.of(box.entry(2, within=5.0)).fingerprint == first
    other = replace(box.entry(), parameters={"ip": "192.0.2.32", "password": Secret("env", "X")})
    assert device.of(other).fingerprint != first


# --- a host, level by level -------------------------------------------------------------------------------------------


def host(*entries: Fence) -> Host:
    return Host("mail1", "primary", "192.0.2.11", fences=tuple(entries))


def proven(found: Host, tested: bool = True) -> tuple[list[levels.Outcome], bool, str]:
    """Cut it off: the last level's outcomes, whether they prove it, and why that wouldn't count."""
    devices = levels.devices(found)
    *_, (outcomes, enough) = levels.each(devices, State.OFF)
    tests = [Trial("mail1", each.title, each.fingerprint, time.time() - 60, "on", "status", "") for each in devices]
    clock = levels.boot_id()
    read = levels.off_proof("mail1", 1, outcomes, tests if tested else [], by="controller", clock=clock)
    case = proof.Case("mail1", 1, "mail2", device.boottime(), clock, time.time())
    return outcomes, enough, proof.why_not(read, case)


@pytest.mark.parametrize("mood", ["well", "slow"])
def test_off_is_ordered_then_asked_for_until_it_is_so(box: Box, mood: str) -> None:
    box.set(mood=mood)
    outcomes, enough, why_not = proven(host(box.entry()))
    assert (enough, why_not, box.power) == (True, "", "off")
    assert outcomes[0].ordered.ended <= outcomes[0].seen.began


@pytest.mark.parametrize("mood", ["liar", "hangs", "mute", "no"])
def test_what_is_not_read_as_off_is_not_proven(box: Box, mood: str) -> None:
    box.set(mood=mood)
    began = time.monotonic()
    _, enough, why_not = proven(host(box.entry(within=2.0)))
    assert not enough and "not off" in why_not
    assert time.monotonic() - began < 20


def test_a_host_that_is_off_already_is_proven_off_even_by_a_device_that_refuses_the_order(box: Box) -> None:
    box.set(power="off", mood="no")
    assert proven(host(box.entry()))[1:] == (True, "")


def test_a_device_without_a_test_proves_nothing(box: Box) -> None:
    _, enough, why_not = proven(host(box.entry()), tested=False)
    assert enough and "no test within 7 days" in why_not


@pytest.mark.issue("4.3 several devices per host in order, levels")
def test_the_next_level_is_tried_when_one_proves_nothing(tmp_path: Path) -> None:
    first, second, third = Box(tmp_path / "a", "agent"), Box(tmp_path / "b", "exec"), Box(tmp_path / "c", "agent")
    first.set(mood="liar")
    outcomes, enough, why_not = proven(host(third.entry(3), second.entry(2), first.entry(1, within=2.0)))
    assert (enough, why_not) == (True, "")
    assert [outcome.device.level for outcome in outcomes] == [2]
    assert (first.power, second.power, third.power) == ("on", "off", "on")


def test_two_power_supplies_have_to_be_off_together(tmp_path: Path) -> None:
    left, right = Box(tmp_path / "a", "agent"), Box(tmp_path / "b", "exec")
    right.set(mood="liar")
    _, enough, why_not = proven(host(left.entry(1), right.entry(1, within=2.0)))
    assert not enough and "says on, not off" in why_not
    right.set(mood="well")
    assert proven(host(left.entry(1), right.entry(1)))[1:] == (True, "")
