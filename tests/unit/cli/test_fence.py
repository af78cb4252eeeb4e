"""`mailmirror fence`, as it is typed, with devices that are real programs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from orchestrator.cli.front import Front, run
from orchestrator.records import fences, history
from orchestrator.records.lock import Lock
from tests.lab.waiting import until
from tests.support.image import CHECKOUT
from tests.unit.cli.conftest import write_inventory
from tests.unit.fencing.devices import Box


@pytest.fixture
def boxes(tmp_path: Path, one_pair: Path) -> tuple[Box, Box]:
    """The two devices of the primary; the mirror has none."""
    found = Box(tmp_path / "a", "agent"), Box(tmp_path / "b", "exec")
    devices = ", ".join(box.written() for box in found)
    text = one_pair.read_text()
    one_pair.write_text(text.replace("mm_place: primary,", f"mm_place: primary, mm_fence: [{devices}],", 1))
    return found


def typed(inventory: Path, *words: str) -> int:
    return run(["-i", str(inventory), "fence", *words], Front())


HOST = "mail1.org.example"


@pytest.mark.issue("4.3 fence status")
def test_status_asks_every_device_and_records_nothing(
    one_pair: Path, boxes: tuple[Box, Box], capsys: pytest.CaptureFixture[str]
) -> None:
    boxes[1].set(power="off")
    assert typed(one_pair, "status") == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[1] == ["org", HOST, "1", "fence_box", "192.0.2.31", "ON", "never"]
    assert rows[2] == ["org", HOST, "2", "provider", "status", "OFF", "never"]
    assert not fences.path_of(one_pair.parent / "state", "org").exists()


@pytest.mark.issue("4.3 fence test: status read only by default, kept for the readiness")
def test_test_keeps_what_each_device_said_and_switches_nothing(
    one_pair: Path, boxes: tuple[Box, Box], capsys: pytest.CaptureFixture[str]
) -> None:
    boxes[1].set(mood="strange")
    before = time.time()
    assert typed(one_pair, "test", "org", HOST, "--format", "json") == 1
    told = json.loads(capsys.readouterr().out)
    assert [row["state"] for row in told] == ["on", "unknown"]
    kept = fences.tests(one_pair.parent / "state", "org")
    assert [(each.state, each.how) for each in kept] == [("on", "status"), ("unknown", "status")]
    assert all(before <= each.at <= time.time() for each in kept)
    assert [box.power for box in boxes] == ["on", "on"]
    assert typed(one_pair, "status") == 1
    out = capsys.readouterr().out
    assert "0 s ago" in out or " s ago" in out
    assert "provider status: exit code 0: server is purple" in out


@pytest.mark.issue("4.3 fence test --cycle: prints its plan, refuses the active host unless its name is typed")
def test_the_active_host_is_not_cycled_before_its_name_is_typed_again(
    one_pair: Path, boxes: tuple[Box, Box], capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(one_pair, "test", HOST, "--cycle", "--yes") == 5
    assert "--yes isn't enough" in capsys.readouterr().err
    assert typed(one_pair, "test", HOST, "--cycle", "--yes", "--active-host", "mail2.org.example") == 5
    assert [box.power for box in boxes] == ["on", "on"] and not (boxes[0].home / "asked").exists()
    assert history.told(one_pair.parent / "state", "org", "fence cycle") == []


def test_a_dry_run_prints_the_plan_and_touches_nothing(
    one_pair: Path, boxes: tuple[Box, Box], capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(one_pair, "test", HOST, "--cycle", "--dry-run") == 0
    err = capsys.readouterr().err
    assert f"Plan for {HOST}" in err and "level 1: fence_box 192.0.2.31: off" in err
    assert not (boxes[0].home / "asked").exists()


def test_a_cycle_asks_where_nobody_said_yes(one_pair: Path, boxes: tuple[Box, Box]) -> None:
    assert typed(one_pair, "test", HOST, "--cycle", "--active-host", HOST) == 5
    assert boxes[0].power == "on" and not (boxes[0].home / "asked").exists()


def cycle(inventory: Path, timeout: str = "20") -> int:
    words = ("--yes", "--active-host", HOST, "--timeout", timeout, "--reason", "yearly test")
    return typed(inventory, "test", HOST, "--cycle", *words)


def test_a_cycle_proves_off_by_the_first_level_and_switches_on_again(
    one_pair: Path, boxes: tuple[Box, Box], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cycle(one_pair) == 0
    assert "was off, which was proven, and is on again" in capsys.readouterr().out
    assert boxes[0].power == "on" and not (boxes[1].home / "asked").exists()
    [order] = history.told(one_pair.parent / "state", "org", "fence cycle")
    assert (order["host"], order["reason"]) == (HOST, "yearly test")
    kept = [(each.state, each.how) for each in fences.tests(one_pair.parent / "state", "org")]
    assert kept == [("off", "cycle"), ("on", "cycle")]


def test_a_device_that_lies_fails_the_cycle_and_the_next_level_proves_it(
    one_pair: Path, boxes: tuple[Box, Box], capsys: pytest.CaptureFixture[str]
) -> None:
    boxes[0].set(mood="liar")
    assert cycle(one_pair, "3") == 0
    assert [box.power for box in boxes] == ["on", "on"]
    boxes[1].set(mood="liar")
    assert cycle(one_pair, "3") == 1
    assert "was not proven off" in capsys.readouterr().out
    last = fences.tests(one_pair.parent / "state", "org")
    assert [each.said for each in last if "ordered off, says on" in each.said]


def test_a_host_that_does_not_come_back_is_partly_done(
    one_pair: Path, boxes: tuple[Box, Box], capsys: pytest.CaptureFixture[str]
) -> None:
    boxes[0].set(power="off", mood="liar")
    assert cycle(one_pair, "3") == 7
    assert "That it is on again isn't proven" in capsys.readouterr().out


def test_a_cycle_that_is_interrupted_orders_the_host_on_again(one_pair: Path, boxes: tuple[Box, Box]) -> None:
    boxes[0].set(mood="liar")  # so that it goes on asking
    words = ("-i", str(one_pair), "fence", "test", HOST, "--cycle", "--yes", "--active-host", HOST, "--timeout", "120")
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # whoever runs the tests in the background ignores it
    with subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *words], cwd=CHECKOUT, stderr=subprocess.PIPE, preexec_fn=heard
    ) as typed:
        until(lambda: boxes[0].orders[:2] == ["off", "status"], within=60.0, what="it was ordered off")
        typed.send_signal(signal.SIGINT)
        _, said = typed.communicate(timeout=60)
    assert typed.returncode == 130 and b"ordering mail1.org.example on again" in said
    assert boxes[0].orders[-1] == "on" and boxes[1].orders == ["start"]


def test_two_cycles_of_a_pair_do_not_go_on_at_once(
    one_pair: Path, boxes: tuple[Box, Box], capsys: pytest.CaptureFixture[str]
) -> None:
    with Lock(one_pair.parent / "state", "org.fence", "fence test --cycle mail2"):
        assert cycle(one_pair) == 75
    assert "fence test --cycle mail2" in capsys.readouterr().err and boxes[0].orders == []


def test_a_host_without_devices_and_one_that_nobody_knows(
    one_pair: Path, boxes: tuple[Box, Box], capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(one_pair, "test", "mail2.org.example") == 2
    assert "No device can cut a host's power" in capsys.readouterr().err
    assert typed(one_pair, "test", "mail9.org.example") == 2
    assert "has no host mail9.org.example" in capsys.readouterr().err
    assert typed(write_inventory(one_pair.parent, "org"), "status") == 2


def test_the_controllers_own_host_is_not_cycled(
    one_pair: Path, boxes: tuple[Box, Box], capsys: pytest.CaptureFixture[str]
) -> None:
    text = one_pair.read_text().replace("mm_place: primary,", "mm_place: primary, ansible_connection: local,", 1)
    one_pair.write_text(text)
    assert typed(one_pair, "test", HOST, "--cycle", "--yes", "--active-host", HOST) == 4
    assert "the host that this runs on" in capsys.readouterr().err
