"""The ways that reach people, each with a real other end on loopback: an HTTP server, an SMTP server, a program."""

from __future__ import annotations

import email
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from orchestrator.alerts import channels
from orchestrator.alerts.conditions import PAGE, WARNING, Condition
from orchestrator.alerts.ledger import FIRING, RESOLVED, Notice
from orchestrator.errors import HostError
from orchestrator.inventory.model import AlertChannel, AlertProgram, Secret, Smarthost, Webhook

DOWN = Condition(
    "down mail1", PAGE, "mail1 is down: SMTP says nothing.", "`mailmirror status org` shows who sees what."
)
BEHIND = Condition("behind mail2", WARNING, "mail2 lacks 40 s.", "Look.")
FIRES = Notice("pager", FIRING, "org", DOWN, 1_796_000_000.0)
ENDS = Notice("pager", RESOLVED, "org", BEHIND, 1_796_000_000.0, 1_796_000_060.0)


class Hook:
    """An HTTP server that answers `code` and keeps what it was sent."""

    def __init__(self) -> None:
        self.code, self.got = 200, list[tuple[dict[str, str], Any]]()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                hook.got.append((dict(self.headers), body))
                self.send_response(hook.code)
                if hook.code == 302:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """The test's output is for its own words."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"


@pytest.fixture
def hook() -> Iterator[Hook]:
    found = Hook()
    found.thread.start()
    yield found
    found.server.shutdown()
    found.server.server_close()


def way(**said: Any) -> channels.Channel:
    return channels.of(AlertChannel("pager", "page", **said))


@pytest.mark.issue("6.5 alerts webhook Alertmanager-compatible")
def test_a_webhook_gets_what_alertmanager_sends(hook: Hook, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    token.chmod(0o600)
    way(webhook=Webhook(hook.url, Secret("file", str(token)))).send([FIRES, ENDS])
    [(headers, body)] = hook.got
    assert headers["Authorization"] == "Bearer s3cret"
    assert (body["version"], body["status"], body["receiver"]) == ("4", "firing", "pager")
    first, second = body["alerts"]
    assert first["labels"] == {"alertname": "down mail1", "severity": "page", "pair": "org", "job": "mailmirror"}
    assert first["annotations"]["description"] == DOWN.remedy and first["startsAt"] == "2026-11-30T00:53:20Z"
    assert (second["status"], second["endsAt"]) == ("resolved", "2026-11-30T00:54:20Z")


@pytest.mark.issue("6.4 a link that an alert carries leads to a page with evidence, expected loss and buttons")
def test_a_question_carries_its_link_by_every_way(hook: Hook) -> None:
    asked = FIRES._replace(link="https://mailmirror.example.net/confirm/x")
    way(webhook=Webhook(hook.url)).send([asked, ENDS])
    [(_, body)] = hook.got
    first, second = body["alerts"]
    assert first["generatorURL"] == first["annotations"]["answer"] == asked.link
    assert second["generatorURL"] == "" and "answer" not in second["annotations"]
    assert asked.link in channels.text([asked])[1] and "https" not in channels.text([ENDS])[1]


@pytest.mark.parametrize("code", [302, 401, 500])
def test_what_a_webhook_doesnt_take_is_lost_and_the_token_goes_nowhere_else(hook: Hook, code: int) -> None:
    hook.code = code
    with pytest.raises(HostError, match=f"it answers {code}"):
        way(webhook=Webhook(hook.url)).send([FIRES])
    assert len(hook.got) == 1, "no redirect is followed"


def test_nobody_listens_there(hook: Hook) -> None:
    hook.server.shutdown()
    hook.server.server_close()
    with pytest.raises(HostError, match="refused") as lost:
        way(webhook=Webhook(hook.url)).send([FIRES])
    assert "mailmirror alerts test" in lost.value.remedy


class Box:
    """What an SMTP server does with letters: takes or refuses them."""

    def __init__(self) -> None:
        self.letters: list[tuple[list[str], email.message.Message]] = []
        self.refuses = False

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        if self.refuses:
            return "451 try later"
        self.letters.append((envelope.rcpt_tos, email.message_from_bytes(envelope.content)))
        return "250 taken"


@pytest.mark.issue("6.5 alerts SMTP by a smarthost")
def test_a_smarthost_gets_a_letter_that_a_person_understands() -> None:
    box = Box()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        said = Smarthost("127.0.0.1", "mm@example.net", ("a@example.net", "b@example.net"), port, "none")
        way(smtp=said).send([FIRES])
        way(smtp=said).send([ENDS])
        [(to, letter), (_, ended)] = box.letters
        assert to == ["a@example.net", "b@example.net"] and letter["Auto-Submitted"] == "auto-generated"
        assert letter["Subject"] == "[mailmirror] page: org: down mail1"
        body = letter.get_payload()
        assert "mail1 is down" in body and DOWN.remedy in body and "2026-11-30T00:53:20Z" in body
        assert ended["Subject"] == "[mailmirror] over: org: behind mail2"
        box.refuses = True
        with pytest.raises(HostError, match="try later"):
            way(smtp=said).send([FIRES])
        with pytest.raises(HostError, match="STARTTLS"):
            way(smtp=Smarthost("127.0.0.1", "mm@example.net", ("a@example.net",), port)).send([FIRES])
    finally:
        controller.stop()


@pytest.mark.issue("6.5 alerts exec")
def test_a_program_gets_the_same_on_its_standard_input(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    script = f'cat > {kept}; echo "$MAILMIRROR_SUBJECT" >> {kept}'
    way(program=AlertProgram(("/bin/sh", "-c", script))).send([FIRES])
    body, subject = kept.read_text().split("\n}")[0], kept.read_text().rstrip("\n")
    assert json.loads(body.split("[mailmirror]")[0])["alerts"][0]["labels"]["alertname"] == "down mail1"
    assert subject.endswith("[mailmirror] page: org: down mail1")
    with pytest.raises(HostError, match="ended with 3: no"):
        way(program=AlertProgram(("/bin/sh", "-c", "echo no >&2; exit 3"))).send([FIRES])
    with pytest.raises(HostError, match="took more than"):
        way(program=AlertProgram(("/bin/sh", "-c", "sleep 20"), 0.2)).send([FIRES])
    with pytest.raises(HostError, match="can't be started"):
        way(program=AlertProgram(("/nonexistent",))).send([FIRES])
