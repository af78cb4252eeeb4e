"""The site's own commands: what they are told, what their words mean, and that none outlives its deadline."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from orchestrator.errors import HostError, Refused, StillRunning
from orchestrator.traffic.exec import Commands, Sight, read, run
from orchestrator.traffic.switch import UNKNOWN, Target, point_at
from tests.support.proofs import Fenced

pytestmark = pytest.mark.issue("4.4 exec provider for hosted DNS and floating IPs")

HOSTS = {"primary": "mail1.example.test", "mirror": "mail2.example.test"}
AWAY = Target(2, "mail2.example.test", "mirror", ("192.0.2.20", "2001:db8::20"), "op-7")
PROOF_OF = "mail1.example.test", 2
SAID = ["echo", '{"place": "primary", "epoch": 1}']


@pytest.mark.parametrize(
    ("out", "sight"),
    [
        (b'{"place": "mirror", "epoch": 7, "id": 4}\n', Sight("mirror", 7)),
        (b'{"place": "primary", "epoch": null}', Sight("primary")),
    ],
)
def test_a_place_and_an_epoch_are_understood(out: bytes, sight: Sight) -> None:
    assert read(out) == sight


@pytest.mark.parametrize(
    ("out", "trouble"),
    [
        (b"", "no JSON"),
        (b"mirror", "no JSON"),
        (b"[" * 50_000, "no JSON"),
        (b"\xff", "no JSON"),
        (b"[]", "no place and epoch"),
        (b'{"place": "mirror"}', "no place and epoch"),
        (b'{"place": ["mirror"], "epoch": 1}', "no place and epoch"),
        (b'{"place": "witness", "epoch": 1}', "no place and epoch"),
        (b'{"place": "mirror", "epoch": "7"}', "an epoch that is none"),
        (b'{"place": "mirror", "epoch": true}', "an epoch that is none"),
        (b'{"place": "mirror", "epoch": -1}', "an epoch that is none"),
        (b" " * 70_000, "more than"),
    ],
)
def test_what_cant_be_understood_is_unknown(out: bytes, trouble: str) -> None:
    assert trouble in read(out).trouble


def test_a_command_is_told_where_and_by_whose_order_and_sees_no_shell(tmp_path: Path) -> None:
    told, state = tmp_path / "told", tmp_path / "state"
    state.write_text('{"place": "primary", "epoch": 1}')
    script = f'env | grep -E "^(MAILMIRROR|TOKEN)" | sort > {told}; echo "$1" >> {told}; '
    script += f'echo "{{\\"place\\": \\"$MAILMIRROR_PLACE\\", \\"epoch\\": $MAILMIRROR_EPOCH}}" > {state}'
    at = Commands(["cat", str(state)], ["sh", "-c", script, "sh", "$HOME; `id`"], HOSTS, secrets={"TOKEN": "hush"})
    point_at(at, AWAY, Fenced(*PROOF_OF), 5.0)
    assert told.read_text().splitlines() == [
        "MAILMIRROR_ADDRESSES=192.0.2.20 2001:db8::20",
        "MAILMIRROR_EPOCH=2",
        "MAILMIRROR_EXPECTED_EPOCH=1",
        "MAILMIRROR_HOST=mail2.example.test",
        "MAILMIRROR_OPERATION=op-7",
        "MAILMIRROR_PLACE=mirror",
        "TOKEN=hush",
        "$HOME; `id`",
    ]


def test_a_command_that_hangs_is_killed_with_all_its_children(tmp_path: Path) -> None:
    child = tmp_path / "child"
    script = f"sh -c 'echo $$ > {child}; exec sleep 600' & sleep 600"
    began = time.monotonic()
    ran = run(["sh", "-c", script], dict(os.environ), 1.0)
    assert ran.trouble == "didn't end within 1 s and was killed" and time.monotonic() - began < 20
    assert _is_gone(int(child.read_text()))


def test_a_child_that_is_left_behind_doesnt_keep_us_and_is_ended(tmp_path: Path) -> None:
    child = tmp_path / "child"
    ran = run(["sh", "-c", f"sleep 600 & echo $! > {child}; echo done"], dict(os.environ), 60.0)
    assert (ran.out, ran.trouble) == (b"done\n", "")
    assert _is_gone(int(child.read_text()))


def _is_gone(process: int) -> bool:
    """Dead, or about to be: a killed process stays a zombie until its new parent looks."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["/nonexistent/show"], "can't be run: No such file"),
        (["false"], "ended with 1: it said nothing"),
        (["sh", "-c", "echo the token hush is bad >&2; exit 4"], r"ended with 4: the token \(a secret\) is bad"),
        (["sh", "-c", "kill -9 $$"], "ended with -9"),
    ],
)
def test_where_show_cant_tell_nothing_is_planned_and_no_secret_is_told(command: list[str], said: str) -> None:
    at = Commands(command, ["true"], HOSTS, secrets={"TOKEN": "hush"})
    with pytest.raises(Refused, match=f"It isn't known where users are sent: .*{said}"):
        at.plan(AWAY)


def test_a_point_that_fails_and_changes_nothing_is_told(tmp_path: Path) -> None:
    at = Commands(SAID, ["sh", "-c", "echo no such address >&2; exit 3"], HOSTS)
    with pytest.raises(HostError, match="`sh` ended with 3: no such address; users are sent where they were"):
        at.apply(at.plan(AWAY), Fenced(*PROOF_OF))


def test_what_became_of_a_point_that_was_killed_is_left_to_be_seen() -> None:
    at = Commands(SAID, ["sh", "-c", 'test -z "$MAILMIRROR_PLACE" || sleep 600'], HOSTS, seconds=2.0)
    with pytest.raises(StillRunning, match="isn't proven: echo: primary, epoch 1"):
        point_at(at, AWAY, Fenced(*PROOF_OF), 0.3)


def test_a_point_that_lies_proves_nothing() -> None:
    at = Commands(SAID, ["true"], HOSTS)
    with pytest.raises(StillRunning, match="isn't proven: echo: primary, epoch 1"):
        point_at(at, AWAY, Fenced(*PROOF_OF), 0.3)


def test_a_show_that_breaks_in_the_meantime_is_unknown(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.write_text(json.dumps({"place": "primary", "epoch": 1}))
    at = Commands(["cat", str(state)], ["rm", str(state)], HOSTS)
    plan = at.plan(AWAY)
    at.apply(plan, Fenced(*PROOF_OF))
    [arrival] = at.prove(plan, 0.3)
    assert (arrival.state, arrival.seconds) == (UNKNOWN, None)


def test_one_that_fails_and_has_pointed_all_the_same_is_proven(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.write_text('{"place": "primary", "epoch": 1}')
    script = f"""echo '{{"place": "mirror", "epoch": 2}}' > {state}; exit 1"""
    at = Commands(["cat", str(state)], ["sh", "-c", script], HOSTS)
    assert [arrival.state for arrival in point_at(at, AWAY, Fenced(*PROOF_OF), 5.0)] == ["shows"]


def test_what_moved_between_plan_and_act_stops_it(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.write_text('{"place": "primary", "epoch": 1}')
    at = Commands(["cat", str(state)], ["rm", str(state)], HOSTS)
    plan = at.plan(AWAY)
    state.write_text('{"place": "primary", "epoch": 3}')
    with pytest.raises(Refused, match="Users aren't where this change was planned: they are sent to the primary since"):
        at.apply(plan, Fenced(*PROOF_OF))
    assert state.exists()
