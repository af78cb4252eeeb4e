"""The pages say what the status says, whatever is in it; the addresses for pollers answer by their status code."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import MailmirrorError, Refused, StillRunning, UsageError
from orchestrator.replication.report import Link, PairStatus, PassiveStatus
from orchestrator.web import trail
from orchestrator.web.confirm import Question
from orchestrator.web.pages import ANSWERING, HEADERS, Past, Sources, Trouble, application
from orchestrator.web.serving import CONNECTIONS, Serving
from orchestrator.web.trail import MOST, Trail, lines

EVIL = "<script>alert(1)</script>"


def row(**more: Any) -> dict[str, Any]:
    passive = PassiveStatus("mail2", "mirror", True, 3, 1.5, equal_as_of=90.0)
    known = PairStatus("org", Link.LIVE, "mail1", passives=[passive], rpo=30.0, taken_at=100.0)
    decision = {"would": "failover", "held_back": ["mm_mode is observe."]}
    told = json.loads(json.dumps(asdict(known)))
    return {**told, "state": "DOWN", "why": "It is down.", "may": ["failover"], "decision": decision, **more}


class Stage:
    """What the pages see; to be changed between two requests."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = [row()]
        self.wrong: list[Trouble] = []
        self.alive, self.now = True, 200.0
        self.trail = Trail()
        self.trouble: MailmirrorError = UsageError("This is no link of ours.", remedy="Take it whole.")
        self.refuses: MailmirrorError | None = None
        self.answers: list[tuple[str, dict[str, str]]] = []
        self.said = ""
        self.loss, self.evidence = f"3 messages {EVIL}", ["mail1 is DOWN", EVIL]
        self.history = [Past(100.0, f"drill by anna: done ({EVIL})", "drill", "done")]

    def serving(self, loopback: bool = True) -> Serving:
        def metrics(environ: Any, start: Any) -> list[bytes]:
            start("200 OK", [("Content-Type", "text/plain")])
            return [b"metrics\n"]

        sources = Sources(
            lambda: self.rows, lambda _: self.wrong, lambda _: ["mail1 is DOWN", EVIL], lambda _: self.history,
            lambda: self.alive, self.trail, self, lambda: self.now,
        )  # fmt: skip
        return Serving("127.0.0.1:0", application(sources, metrics, loopback=loopback, public="status.example.org"))

    # ---- the question of a link: see `web.confirm.Confirms`

    def look(self, link: str) -> Question:
        if link != "good":
            raise self.trouble
        return Question(row(), "mail2", not self.answers, self.loss, self.evidence, "f0rm", self.said)

    def answer(self, link: str, said: Mapping[str, str]) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.answers.append((link, dict(said)))
        self.said = "A failover was ordered."


@pytest.fixture
def stage() -> Stage:
    return Stage()


@contextmanager
def served(stage: Stage, loopback: bool = True) -> Iterator[Any]:
    """Asks it: (status, headers, text)."""
    serving = stage.serving(loopback)

    def ask(path: str, method: str = "GET", data: bytes | None = None, **headers: str) -> tuple[int, Any, str]:
        url = f"http://127.0.0.1:{serving.port}{path}"
        request = urllib.request.Request(url, data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read().decode()

    ask.port = serving.port  # type: ignore[attr-defined]
    try:
        yield ask
    finally:
        serving.close()


@pytest.mark.issue("6.4 status page: state of every pair in words, evidence, plan, history, last drill")
def test_it_says_how_every_pair_stands_what_is_wrong_and_what_to_do(stage: Stage) -> None:
    stage.wrong = [Trouble(False, "It lags.", "Look."), Trouble(True, "mail1 is down.", "`mailmirror explain org`")]
    stage.trail.look([PairStatus("org", passives=[PassiveStatus("mail2", "mirror", lag_seconds=1.0)])], 0.0)
    stage.trail.look([PairStatus("org", passives=[PassiveStatus("mail2", "mirror", lag_seconds=2.0)])], 20.0)
    with served(stage) as ask:
        code, headers, text = ask("/")
        assert code == 200 and {name: headers[name] for name in HEADERS} == HEADERS
        for said in (
            "Somebody is needed now.", "It is down.", "mail1 is down.", "mailmirror explain org", "Last drill:",
            "A failover would be begun.", "mm_mode is observe.", "You may: failover.", "mail1 is DOWN",
            "1.5 s", "<polyline",
        ):  # fmt: skip
            assert said in text, said
        assert text.index("mail1 is down.") < text.index("It lags."), "the worst first"
        assert EVIL not in text and "&lt;script&gt;alert" in text
        assert ' style="' not in text and "http://" not in text and "https://" not in text
        stage.wrong, stage.rows = [], [row(state="PROTECTED"), row(pair="net", state="")]
        assert "All is well." in ask("/pairs")[2] and "<html" not in ask("/pairs")[2]
        for path in ("/static/style.css", "/static/live.js"):
            assert ask(path)[0] == 200


@pytest.mark.issue("6.4 role endpoints whose status code is the answer: /active, /lag, /liveness, /ready")
def test_a_poller_is_answered_by_the_status_code(stage: Stage) -> None:
    with served(stage) as ask:

        def code(path: str) -> int:
            return int(ask(path)[0])

        assert (code("/active/mail1"), code("/active/mail2"), code("/active/mail9")) == (200, 503, 404)
        assert (code("/lag/mail2"), code("/lag/mail2?max=1s"), code("/lag/mail2?max=2s")) == (200, 503, 200)
        assert (code("/lag/mail2?max=2"), code("/lag/mail1"), code("/lag/mail9")) == (400, 503, 404)
        stage.rows = [row(passives=[asdict(PassiveStatus("mail2", "mirror"))])]
        assert code("/lag/mail2") == 503, "unknown is no answer to rely on"
        stage.rows = [row(state="SPLIT_BRAIN")]
        assert code("/active/mail1") == 503
        assert code("/liveness") == 200
        stage.alive = False
        assert code("/liveness") == 503
        for readiness, expected in ((None, 200), ({"ready": True}, 200), ({"ready": False}, 503)):
            stage.rows = [row(**({"readiness": readiness} if readiness else {}))]
            assert code("/ready") == expected
        assert ask("/metrics")[2] == "metrics\n"
        assert code("/none") == 404
        for path in ("/", "/active/mail2", "/metrics"):
            assert [ask(path, method=method)[0] for method in ("POST", "DELETE", "OPTIONS")] == [405] * 3, path
            assert {name: ask(path)[1][name] for name in HEADERS} == HEADERS, path
        with socket.create_connection(("127.0.0.1", ask.port), 5) as old:
            old.sendall(b"GET /active/mail1 HTTP/1.0\r\n\r\n")
            assert b" 200 OK" in old.recv(4096), "a poller that says no host"


@pytest.mark.issue("6.4 loopback only: a page of somebody else's that leads here gets nothing")
def test_another_name_for_this_host_gets_nothing_where_only_loopback_is_served(stage: Stage) -> None:
    with served(stage) as ask:
        for path in ("/", "/metrics", "/static/live.js"):
            asked = [ask(path, Host=name)[0] for name in ("evil.example", "127.0.0.1:9", "localhost", "[::1]:9")]
            assert asked == [421, 200, 200, 200], path
        assert ask("/", Host="status.example.org")[0] == 200, "a proxy's name"
    with served(stage, loopback=False) as ask:
        assert ask("/", Host="any.example.org")[0] == 200


@pytest.mark.issue("6.4 a link that an alert carries leads to a page with evidence, expected loss and buttons")
def test_the_page_of_a_link_shows_the_question_and_takes_one_answer(stage: Stage) -> None:
    with served(stage) as ask:
        code, headers, text = ask("/confirm/good")
        assert code == 200 and {name: headers[name] for name in HEADERS} == HEADERS | ANSWERING
        assert "form-action 'self'" in headers["Content-Security-Policy"]
        for said in (
            "Move the users of org to mail2?",
            "3 messages",
            "mail1 is DOWN",
            "Fail over now",
            "30 min",
            "24 h",
        ):
            assert said in text, said
        assert EVIL not in text and text.count('value="f0rm"') == 2
        assert stage.answers == [], "looking answers nothing"
        code, _, text = ask("/confirm/good", "POST", b"what=failover&name=org&form=f0rm")
        assert stage.answers == [("good", {"what": "failover", "name": "org", "form": "f0rm"})]
        assert code == 200 and "A failover was ordered." in text and "<button" not in text, "led back to the page"


@pytest.mark.issue("6.4 a link is signed, good once and for a day; its answer can't be forged")
def test_what_is_wrong_with_a_link_or_its_answer_is_told_by_the_code_and_in_words(stage: Stage) -> None:
    with served(stage) as ask:
        for trouble, expected in (
            (UsageError("This is no link of ours."), 404), (Refused("This link is older than a day."), 410),
            (StillRunning("Later."), 503),
        ):  # fmt: skip
            stage.trouble = trouble
            for method, data in (("GET", None), ("POST", b"what=failover")):
                stage.refuses = trouble
                code, _, text = ask("/confirm/bad", method, data)
                assert code == expected and str(trouble) in text and "<button" not in text
        for refused, expected in ((Refused("It may lose more."), 409), (UsageError("Another name."), 400)):
            stage.refuses = refused
            code, _, text = ask("/confirm/good", "POST", b"what=failover")
            assert code == expected and str(refused) in text and "<button" in text
        assert stage.answers == []
        assert ask("/confirm/good", "DELETE")[0] == 405 and ask("/", "POST", b"x=y")[0] == 405


def test_slow_and_babbling_clients_take_nothing_from_the_others(stage: Stage) -> None:
    with served(stage) as ask:
        held = [socket.create_connection(("127.0.0.1", ask.port), 5) for _ in range(CONNECTIONS // 2)]
        for each in held:
            each.sendall(b"GET / HTTP/1.1\r\nHost: loc")
        assert ask("/liveness")[0] == 200
        with socket.create_connection(("127.0.0.1", ask.port), 5) as babbling:
            babbling.sendall(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000)
            assert b"431" in babbling.recv(4096)
        for each in held:
            each.close()


@given(st.lists(st.one_of(st.none(), st.floats(0, 1e6)), max_size=50))
def test_a_line_stays_in_its_box_and_what_isn_t_known_is_a_gap(lags: Sequence[float | None]) -> None:
    found = lines([(10.0 * number, lag) for number, lag in enumerate(lags)], 240, 40)
    points = [tuple(map(float, point.split(","))) for line in found for point in line.split()]
    assert all(0 <= x <= 240 and 0 <= y <= 40 for x, y in points)
    assert len(points) <= sum(lag is not None for lag in lags)


def test_a_trail_keeps_an_hour_and_no_more() -> None:
    kept = Trail()
    status = PairStatus("org", passives=[PassiveStatus("mail2", "mirror", lag_seconds=1.0)])
    for number in range(2 * MOST):
        kept.look([status], number * trail.EVERY)
        kept.look([status], number * trail.EVERY + 1.0)
    times = [at for at, _ in kept.of("org", "mail2")]
    assert times == [number * trail.EVERY for number in range(MOST, 2 * MOST)] and kept.of("net", "mail2") == []
