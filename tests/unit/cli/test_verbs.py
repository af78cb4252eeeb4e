"""Each verb, done in this process and asked of the daemon: the same answer either way."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import front, status
from orchestrator.cli.front import EXIT_CODES, VERBS, Front
from orchestrator.errors import HostUnreachable, LinkLost, NotPermitted, Refused
from orchestrator.inventory.load import load
from orchestrator.records import history, snapshot
from orchestrator.records.lock import Lock
from orchestrator.replication.report import Waiting
from tests.unit.cli.conftest import Type, write_inventory
from tests.unit.daemon.memory import Site
from tests.unit.daemon.test_follower import until
from tests.unit.daemon.test_service import Running


@pytest.fixture(params=["here", "daemon"])
def either_way(request: pytest.FixtureRequest, site: Site, one_pair: Path) -> Iterator[str]:
    """Without a daemon, and with one that holds the pair."""
    if request.param == "here":
        yield "here"
        return
    with Running(site, load(one_pair)) as running:
        until(lambda: running.ask("status")["pairs"][0]["link"] == "live")
        yield "daemon"


def answer(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


@pytest.mark.issue("2.6 sync: asks the daemon while it holds the lock, else takes the lock")
def test_sync_copies_and_prints_reports(
    mailmirror: Type, site: Site, either_way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    site.worlds["org"].active["a/1"] = b"body"
    assert mailmirror("sync", "org", "--format", "json") == 0
    reports = answer(capsys)
    assert (reports[0]["pair"], reports[0]["tally"]["messages"]) == ("org", 1)
    assert site.worlds["org"].passive == {"a/1": b"body"}
    assert mailmirror("--format", "json", "sync") == 0
    assert answer(capsys)[0]["tally"]["messages"] == 0
    assert site.worlds["org"].connections == (2 if either_way == "here" else 1)


@pytest.mark.issue("2.6 sync --dry-run prints the plan")
def test_a_dry_run_prints_the_plan_and_changes_nothing(
    mailmirror: Type, site: Site, either_way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    site.worlds["org"].active["a/1"] = b"body"
    assert mailmirror("sync", "--dry-run") == 0
    assert "mail2.org.example would get 1 message (4 B)" in capsys.readouterr().out
    assert site.worlds["org"].passive == {}


def test_no_deletes_holds_them_back(mailmirror: Type, site: Site, either_way: str) -> None:
    site.worlds["org"].passive["a/1"] = b"body"
    assert mailmirror("sync", "--no-deletes") == 0
    assert site.worlds["org"].passive == {"a/1": b"body"}
    assert mailmirror("sync") == 0
    assert site.worlds["org"].passive == {}


@pytest.mark.issue("2.6 verify [--deep]")
def test_verify_exits_1_when_the_ends_differ(
    mailmirror: Type, site: Site, either_way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mailmirror("verify") == 0
    site.worlds["org"].active["a/1"] = b"body"
    assert mailmirror("verify", "--deep", "--format", "json") == 1
    told = json.loads(capsys.readouterr().out.split("\n", 1)[1])
    assert (told[0]["deep"], told[0]["differences"][0]["what"]) == (True, "a/1 differs")


@pytest.mark.issue("2.6 undelete")
def test_undelete_lists_and_brings_back(
    mailmirror: Type, site: Site, either_way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    site.worlds["org"].quarantine |= {"jane/1": b"one", "joe/2": b"two"}
    assert mailmirror("undelete") == 0
    assert "2 deleted messages" in capsys.readouterr().out
    assert mailmirror("undelete", "--account", "nobody", "--yes") == 3
    assert mailmirror("undelete", "--account", "jane", "--since", "2h", "--yes") == 0
    assert site.worlds["org"].passive == {"jane/1": b"one"}
    assert mailmirror("undelete", "--all", "--until", "2100-01-01 12:00") == 5
    assert mailmirror("undelete", "--since", "whenever") == 2


@pytest.mark.issue("2.6 ack: waiting deletions by id; --yes never covers loss")
def test_ack_releases_by_id(mailmirror: Type, site: Site, either_way: str, capsys: pytest.CaptureFixture[str]) -> None:
    site.worlds["org"].waiting.append(Waiting("w1", "jane", 300, "over budget", 1.0))
    assert mailmirror("ack", "org", "w2", "--accept-loss") == 4
    assert "What waits now is w1: 300 deletions of jane on mail2.org.example." in capsys.readouterr().err
    assert mailmirror("ack", "org", "w1", "--dry-run") == 0
    assert "300 deletions of jane on mail2.org.example: over budget" in capsys.readouterr().out
    for line in ("ack org w1", "ack org w1 --yes", "ack w1 --accept-loss", "ack w1 --accept-loss --yes"):
        assert mailmirror(*line.split()) == 5
        assert "mailmirror ack org w1 --accept-loss" in capsys.readouterr().err
    assert len(site.worlds["org"].waiting) == 1
    assert mailmirror("ack", "org", "w1", "--accept-loss") == 0
    assert site.worlds["org"].waiting == []
    assert mailmirror("ack", "org", "w1", "--accept-loss") == 4
    assert "Nothing waits now." in capsys.readouterr().err
    assert mailmirror("ack", "org", "w1", "w2") == 2


@pytest.mark.issue("2.6 account retire; --yes never covers loss")
def test_a_vanished_account_is_retired_when_its_loss_is_accepted(
    mailmirror: Type, site: Site, either_way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    site.worlds["org"].active["here/1"] = b"x"
    assert mailmirror("account", "retire", "org", "here", "--accept-loss") == 4
    assert mailmirror("account", "retire", "gone", "--dry-run") == 0
    assert "0 messages of gone would be deleted" in capsys.readouterr().out
    for line in ("retire gone", "retire org gone --yes", "retire gone --accept-loss"):
        assert mailmirror("account", *line.split()) == 5
        assert "mailmirror account retire org gone --accept-loss" in capsys.readouterr().err
    assert mailmirror("account", "retire", "org", "gone", "--accept-loss") == 0
    assert mailmirror("account", "retire", "a", "b", "c") == 2


@pytest.mark.issue("2.6 seed --adopt")
def test_seed_adopts_after_its_plan(mailmirror: Type, site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.worlds["org"].marked = False
    site.worlds["org"].active |= {"a/1": b"one", "a/2": b"two"}
    site.worlds["org"].passive["a/1"] = b"one"
    assert mailmirror("seed", "--adopt", "--dry-run") == 0
    assert mailmirror("seed", "--adopt") == 5
    assert "A marker was laid in /var/vmail." in capsys.readouterr().err
    assert not site.worlds["org"].marked
    assert mailmirror("seed", "--adopt", "--yes") == 0
    assert site.worlds["org"].passive == site.worlds["org"].active


@pytest.mark.issue("2.6 seed makes a mirror anew")
def test_seed_prints_its_plan_asks_and_puts_aside_what_stands_there(
    mailmirror: Type, site: Site, either_way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    world = site.worlds["org"]
    world.active |= {"a/1": b"one"}
    assert mailmirror("sync") == 0
    world.passive["b/2"] = b"stray"
    capsys.readouterr()
    assert mailmirror("seed", "--dry-run") == 0
    assert "2 messages would go into quarantine" in capsys.readouterr().err
    assert mailmirror("seed") == 5
    told = capsys.readouterr().err
    assert "then everything would be copied from mail1.org.example" in told and "2 messages" in told
    assert world.passive == {"a/1": b"one", "b/2": b"stray"}
    assert mailmirror("seed", "--yes", "--format", "json") == 0
    assert answer(capsys)[0]["tally"]["messages"] == 1
    assert (world.passive, world.quarantine["b/2"]) == ({"a/1": b"one"}, b"stray")


def test_a_mirror_that_was_never_marked_is_marked_before_it_is_made_anew(mailmirror: Type, site: Site) -> None:
    world = site.worlds["org"]
    world.marked, world.passive["b/2"], world.active["a/1"] = False, b"stray", b"one"
    assert mailmirror("seed", "--yes") == 0
    assert (world.marked, world.passive) == (True, {"a/1": b"one"})


def test_where_nothing_is_kept_in_quarantine_seeding_anew_is_a_loss(mailmirror: Type, one_pair: Path) -> None:
    one_pair.write_text(one_pair.read_text().replace("vars: {", "vars: {mm_undelete: 0s, "))
    assert mailmirror("seed", "org", "--yes") == 5
    assert mailmirror("seed", "org", "--accept-loss") == 0


@pytest.mark.issue("2.6 changing verbs keep their --reason")
def test_orders_are_kept_with_their_reason(
    mailmirror: Type, site: Site, either_way: str, one_pair: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    site.worlds["org"].waiting.append(Waiting("w1", "jane", 300, "over budget", 1.0))
    assert mailmirror("sync") == 0
    assert mailmirror("sync", "--dry-run", "--reason", "only looking") == 0
    assert mailmirror("sync", "--reason", "before the move") == 0
    assert mailmirror("ack", "org", "w1", "--accept-loss", "--reason", 'jane "asked"') == 0
    assert mailmirror("account", "retire", "org", "gone", "--accept-loss", "--reason", "left") == 0
    assert mailmirror("seed", "--yes", "--reason", "a new disk") == 0
    kept = history.told(one_pair.parent / "state", "org")
    assert [(line["verb"], line["reason"]) for line in kept] == [
        ("sync", "before the move"), ("release", 'jane "asked"'), ("retire", "left"), ("seed", "a new disk"),
    ]  # fmt: skip
    assert (kept[1]["id"], kept[2]["account"], kept[0]["uid"]) == ("w1", "gone", os.getuid())
    if either_way == "daemon":
        assert 'reason="jane \\"asked\\""' in caplog.text


@pytest.mark.parametrize("line", ["init", "seed", "sync", "undelete", "ack", "account retire", "agent install"])
def test_every_changing_verb_takes_the_same_options(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert front.run([*line.split(), "--help"]) == 0
    told = capsys.readouterr().out
    assert all(f" {option} " in told for option in ("--dry-run", "--yes", "--reason", "--timeout", "--format"))


@pytest.mark.issue("2.6 init")
def test_init_lays_markers_and_wakes_the_daemon(
    mailmirror: Type, site: Site, one_pair: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site.worlds["org"].marked = False
    assert mailmirror("init", "--dry-run") == 0
    assert "A marker was laid in /var/vmail." in capsys.readouterr().out
    with Running(site, load(one_pair)) as running:
        until(lambda: running.ask("status")["pairs"][0]["link"] == "refused")
        assert mailmirror("init") == 0
        told = capsys.readouterr()
        assert "A marker was laid" not in told.err, "it is told once, when it is done"
        assert "A marker was laid in /var/vmail." in told.out
        until(lambda: running.ask("status")["pairs"][0]["link"] == "live")
    assert mailmirror("init") == 3


@pytest.mark.issue("2.6 status [--watch]")
def test_status_works_with_the_daemon_down_and_says_that_it_is_old(
    mailmirror: Type, site: Site, one_pair: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mailmirror("status", "--format", "json") == 0
    never = answer(capsys)
    assert (never["stale"], never["pairs"][0]["link"], never["pairs"][0]["taken_at"]) == (True, "stopped", 0.0)
    with Running(site, load(one_pair)) as running:
        until(lambda: running.ask("status")["pairs"][0]["link"] == "live")
        assert mailmirror("status", "org", "--format", "json") == 0
        live = answer(capsys)
        assert (live["stale"], live["pairs"][0]["link"]) == (False, "live")
    assert mailmirror("status", "--format", "json") == 0
    down = answer(capsys)
    assert (down["stale"], down["pairs"][0]["link"]) == (True, "stopped")
    assert down["pairs"][0]["passives"][0]["host"] == "mail2.org.example"


@pytest.mark.issue("2.6 status after a one-shot pass")
def test_a_pass_without_a_daemon_leaves_what_status_shows(
    mailmirror: Type, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.worlds["org"].waiting.append(Waiting("w1", "jane", 300, "over budget", 1.0))
    assert mailmirror("sync") == 0
    assert mailmirror("verify") == 0
    capsys.readouterr()
    assert mailmirror("status") == 0
    told = capsys.readouterr().out
    assert "No daemon runs. Start it with `mailmirror run`." in told
    assert "org: This is as `verify` saw it last, " in told
    assert "300 deletions of jane held back" in told and "mailmirror ack org w1 --accept-loss" in told
    site.error = HostUnreachable("mail2.org.example can't be reached.")
    assert mailmirror("sync") == 69
    capsys.readouterr()
    assert mailmirror("status") == 0
    told = capsys.readouterr().out
    assert re.search(r"org: The last `sync` failed, 20\d\d-.*: mail2.org.example can't be reached\.\n    Check", told)
    assert "300 deletions of jane held back" in told


def test_who_may_not_read_what_was_seen_is_told_so_and_not_that_nothing_was(one_pair: Path) -> None:
    state = one_pair.parent / "state"
    state.mkdir()
    state.chmod(0)
    pair = load(one_pair).pairs["org"]
    child = os.fork()
    if child == 0:
        if os.geteuid() == 0:
            os.setresuid(65534, 65534, 65534)
        try:
            status.look([pair])
        except NotPermitted:
            os._exit(77)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 77
    state.chmod(0o700)


def test_a_dry_run_and_a_refused_order_leave_what_status_shows_as_it_was(mailmirror: Type, one_pair: Path) -> None:
    assert mailmirror("sync", "--dry-run") == 0
    assert mailmirror("account", "retire", "org", "gone", "--dry-run") == 0
    assert snapshot.read(one_pair.parent / "state", "org") is None
    assert mailmirror("ack", "org", "w9", "--dry-run") == 4
    kept = snapshot.read(one_pair.parent / "state", "org")
    assert kept is not None and (kept["seen_by"], kept["trouble"]) == ("status", "")


def test_reading_verbs_show_all_pairs_and_changing_verbs_refuse_to_guess(
    mailmirror: Type, two_pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mailmirror("status", inventory=two_pairs) == 0
    assert re.findall(r"^(org|net) ", capsys.readouterr().out, re.M) == ["org", "net"]
    assert mailmirror("verify", inventory=two_pairs) == 0
    for line in ("sync", "seed --adopt", "init", "undelete", "ack w1", "account retire jane"):
        assert mailmirror(*line.split(), inventory=two_pairs) == 2
        assert "There are org, net." in capsys.readouterr().err
    assert mailmirror("sync", "com", inventory=two_pairs) == 2


def test_a_pair_that_another_process_holds_without_a_daemon_is_told_by_whom(
    mailmirror: Type, one_pair: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Lock(one_pair.parent / "state", "org", "sync"):
        assert mailmirror("sync") == 75
    assert f"org is being worked on by process {os.getpid()} (`sync`, since " in capsys.readouterr().err


def test_a_pass_that_takes_too_long_is_cut_off_here_and_goes_on_in_the_daemon(
    mailmirror: Type, site: Site, one_pair: Path
) -> None:
    gate = site.worlds["org"].slow = threading.Event()
    began = time.monotonic()
    assert mailmirror("sync", "--timeout", "0.3") == 75
    assert time.monotonic() - began < 5
    gate.set()
    with Running(site, load(one_pair)) as running:
        until(lambda: running.ask("status")["pairs"][0]["link"] == "live")
        gate.clear()
        assert mailmirror("sync", "--timeout", "0.3") == 6
        gate.set()


def test_errors_are_a_sentence_and_a_remedy_and_a_traceback_only_on_demand(
    mailmirror: Type, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    for error, code in ((LinkLost("It broke off."), 75), (Refused("No.", remedy="Wait."), 4), (KeyError("x"), 1)):
        site.error = error
        assert mailmirror("sync") == code
        told = capsys.readouterr().err
        assert told.startswith("mailmirror: ")
        assert len(told.splitlines()) == 2
        assert mailmirror("--debug", "sync") == code
        assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_is_130_and_a_broken_pipe_is_quiet(one_pair: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(pair: object) -> Any:
        raise KeyboardInterrupt

    assert front.run(["-i", str(one_pair), "sync"], Front(connect=interrupted)) == 130
    assert capsys.readouterr().err == "\n"
    line = f"{shlex.quote(sys.executable)} -m orchestrator -i {shlex.quote(str(one_pair))} status"
    told = subprocess.run(
        ["/bin/bash", "-c", f"{line} | true; echo ${{PIPESTATUS[0]}}"], capture_output=True, text=True, check=True
    )
    assert (told.stdout, told.stderr) == ("141\n", "")


def test_a_question_is_asked_on_a_terminal_and_no_means_no(
    mailmirror: Type, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.worlds["org"].waiting.append(Waiting("w1", "jane", 3, "over budget", 1.0))
    for typed, code, left in (("\n", 130, 1), ("y\n", 130, 1), ("org\n", 0, 0)):
        ours, theirs = pty.openpty()
        with os.fdopen(theirs, "r") as terminal:
            monkeypatch.setattr(sys, "stdin", terminal)
            os.write(ours, typed.encode())
            assert mailmirror("ack", "w1", "--accept-loss") == code
        os.close(ours)
        assert len(site.worlds["org"].waiting) == left


def test_help_lists_every_verb_and_exit_code_without_importing_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert front.run(["--help"]) == 0
    told = capsys.readouterr().out
    assert all(f"  {verb} " in told for verb in VERBS)
    for code in (0, 1, 2, 3, 4, 5, 6, 7, 69, 75, 77, 78, 130):
        assert re.search(rf"\b{code}\b", EXIT_CODES)
        assert re.search(rf"\b{code}\b", told)
    assert front.run(["bogus"]) == 2
    assert front.run(["--version"]) == 0


@pytest.mark.parametrize("verb", list(VERBS))
def test_every_verb_exists_and_helps(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert front.run([verb, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: mailmirror {verb}")


def test_a_broken_inventory_is_78(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_inventory(tmp_path, "org")
    path.write_text(path.read_text() + "    org: {}\n")
    assert front.run(["-i", str(path), "status"]) == 78
    assert front.run(["-i", str(tmp_path / "none"), "status"]) == 78
    assert "inventory.yaml:" in capsys.readouterr().err
