"""`mailmirror check`: what is wrong decides the exit code, and a monitor reads the line as Nagios' plugins write it."""

from __future__ import annotations

import json
import os
import re
import socket
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from orchestrator.cli import check
from orchestrator.cli.check import CRITICAL, OK, UNKNOWN, WARNING, judge
from orchestrator.cli.front import Front, Verbs, run
from orchestrator.cli.status import look
from orchestrator.inventory.load import load
from orchestrator.replication.report import Link, PairStatus, PassiveStatus, Waiting
from tests.support import require

PERFDATA = re.compile(r"'[^'=]+'=-?[0-9.]+(s|%|B|c)?(;[0-9.]*)*( |$)")


def status(**more: Any) -> dict[str, Any]:
    """A pair that is well."""
    passive = PassiveStatus("mail2", "mirror", True, lag_seconds=0.2)
    known = PairStatus("org", Link.LIVE, "mail1", passives=[passive], taken_at=1.0, rpo=30.0)
    return {"pairs": [{**json.loads(json.dumps(asdict(known))), **more}], "stale": False}


def lagging(seconds: float | None) -> list[dict[str, Any]]:
    return [asdict(PassiveStatus("mail2", "mirror", True, 7, seconds))]


HELD = [asdict(PassiveStatus("mail2", "mirror", True, 7, 0.0, waiting=[Waiting("ab12", "ann", 301, "too many", 1.0)]))]


@pytest.mark.issue("6.7 check in Nagios' language")
@pytest.mark.parametrize(
    ("told", "level", "says"),
    [
        (status(), OK, "org mail1 is active, live"),
        (status(state="PROTECTED"), OK, "org PROTECTED, mail1 is active"),
        (status(passives=lagging(45.0)), WARNING, "more than mm_rpo"),
        (status(passives=HELD), WARNING, "301 deletions wait"),
        (status(link="refused", trouble="no marker"), WARNING, "no marker"),
        (status(state="ALONE", why=""), WARNING, "One place serves"),
        (status(state="DOWN", why="", passives=lagging(45.0)), CRITICAL, "The active place is down."),
        ({**status(stale=True), "stale": True, "daemon": "No daemon runs. Start it."}, CRITICAL, "No daemon runs."),
    ],
)
def test_the_worst_of_what_is_wrong_is_the_exit_code(told: dict[str, Any], level: int, says: str) -> None:
    answer = judge(told)
    assert answer.level == level and says in answer.text, answer
    text, _, figures = answer.line.partition(" | ")
    assert text.startswith("MAILMIRROR ") and "\n" not in answer.line and "|" not in text + figures
    assert PERFDATA.sub("", figures) == ""
    assert bool(figures) is not told["stale"]


@pytest.mark.issue("6.7 check keeps a stale pair apart from the others")
def test_a_stale_pair_hides_nothing_that_is_wrong_with_another() -> None:
    [old], [down] = status(stale=True)["pairs"], status(pair="net", state="DOWN", why="")["pairs"]
    answer = judge({"pairs": [old, down], "stale": True, "daemon": "The daemon doesn't attend to org: restart it."})
    assert answer.level == CRITICAL
    assert "attend to org" in answer.text and "net: The active place is down." in answer.text
    assert "net_mail2_lag" in answer.figures and "org_" not in answer.figures


def test_a_line_that_a_host_wrote_acts_on_no_terminal() -> None:
    answer = judge(status(link="refused", trouble="no marker\x1b[2J|rm\nx"))
    assert "no marker\\x1b[2J/rm x" in answer.line


def test_figures_are_the_lag_against_mm_rpo_and_what_waits() -> None:
    assert judge(status(passives=lagging(45.0))).figures == "'org_mail2_lag'=45.0s;30 'org_mail2_pending'=7"
    assert judge(status(passives=lagging(None))).figures == "'org_mail2_pending'=7"


def test_a_paging_condition_is_said_first() -> None:
    said = judge(status(state="DOWN", why="", passives=lagging(45.0))).text
    assert said.index("is down") < said.index("mm_rpo")


@pytest.mark.issue("6.7 check in Nagios' language")
def test_what_can_t_be_asked_is_unknown_with_what_to_do(tmp_path: Path) -> None:
    def asked(*words: str) -> Any:
        return CliRunner().invoke(
            Verbs(), ["check", *words], obj=Front(str(tmp_path / "none.yaml")), standalone_mode=False
        )

    answer = asked()
    assert answer.return_value == UNKNOWN and answer.output.startswith("MAILMIRROR UNKNOWN: "), answer
    assert json.loads(asked("--format", "json").output)["status"] == "UNKNOWN"


@pytest.mark.issue("6.7 check UNKNOWN where it couldn't ask")
@pytest.mark.parametrize("words", [["--bogus"], ["org", "net"], ["--format", "yaml"]])
def test_wrong_usage_is_unknown_and_no_alarm(
    one_pair: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["-i", str(one_pair), "check", *words]) == UNKNOWN
    said = capsys.readouterr()
    assert said.out.startswith("MAILMIRROR UNKNOWN: ") and said.out.count("\n") == 1 and said.err == ""


@pytest.mark.issue("6.7 check UNKNOWN where it couldn't ask")
def test_who_may_not_ask_raises_no_alarm(one_pair: Path, tmp_path: Path) -> None:
    """A daemon's socket that this user may not open, in a directory that he may read."""
    require.root()
    state = tmp_path / "state"
    state.mkdir(mode=0o755)
    for above in (tmp_path, *tmp_path.parents[:2]):
        above.chmod(0o755)
    pairs, said = list(load(one_pair).pairs.values()), tmp_path / "said"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as daemon, said.open("w") as out:
        daemon.bind(str(state / "control.sock"))
        os.chmod(state / "control.sock", 0o600)
        daemon.listen(1)
        child = os.fork()
        if child == 0:
            os.setresuid(65534, 65534, 65534)
            answer = judge(look(pairs))
            out.write(answer.line)
            out.flush()
            os._exit(answer.level)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert (code, "may not be asked" in said.read_text()) == (UNKNOWN, True)


@pytest.mark.issue("6.7 check UNKNOWN where it couldn't ask")
def test_what_nobody_expected_is_unknown_too(
    one_pair: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check, "judge", lambda told: told["nothing"])
    assert run(["-i", str(one_pair), "check"]) == UNKNOWN
    assert capsys.readouterr().out.startswith("MAILMIRROR UNKNOWN: An unexpected KeyError")


def test_help_says_that_its_exit_codes_are_others(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "--help"]) == 0
    said = capsys.readouterr().out
    assert "not those of the other verbs" in said and "3  UNKNOWN" in said
