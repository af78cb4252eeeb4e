"""Probes against servers that work, that refuse, and that do what broken ones do."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, AuthResult

from orchestrator.agent import probe as probing
from orchestrator.agent.probe import Reading, Want, probe
from tests.support.sshd import free_port
from tests.support.tls import serving

pytestmark = pytest.mark.issue("4.1 probes")

SECONDS = 0.6
ENDED_BY = 3.0  # before any of these servers gives up, and after any stall of the machine
END = datetime(2031, 5, 6, 7, 8, 9)
CANARY = "canary@example.test"
Act = Callable[[socket.socket], None]


@contextmanager
def server(act: Act) -> Iterator[Want]:
    """A server that does this with each connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return  # the test is over
                with connection:
                    try:
                        act(connection)
                    except ConnectionError:
                        continue  # the probe has left

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield Want("smtp", listening.getsockname()[:2], recipient=CANARY)
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def silent(connection: socket.socket) -> None:
    while connection.recv(1 << 16):
        pass


def dripping(connection: socket.socket) -> None:
    for _ in range(200):
        connection.sendall(b"2")
        time.sleep(0.02)


def babbling(connection: socket.socket) -> None:
    began = time.monotonic()
    while time.monotonic() - began < 4:
        connection.sendall(b"220-welcome\r\n" * 100)


def endless(connection: socket.socket) -> None:
    began = time.monotonic()
    while time.monotonic() - began < 4:
        connection.sendall(bytes(1 << 16))


def closing(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)


def resetting(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def saying(*lines: bytes) -> Act:
    """Say the first line, and one more after each command."""

    def act(connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            for line in lines:
                connection.sendall(line + b"\r\n")
                if not stream.readline():
                    return

    return act


def asked(act: Act, service: str, **words: Any) -> Reading:
    with server(act) as want:
        return probe(want._replace(service=service, **words), SECONDS)


@pytest.mark.parametrize("service", ["smtp", "submission", "lmtp", "imap", "pop3"])
@pytest.mark.parametrize("act", [silent, dripping, babbling, endless, closing, resetting])
def test_a_broken_server_fails_within_the_time_for_the_whole_probe(act: Act, service: str) -> None:
    found = asked(act, service, user="u", password="p")
    assert not found.ok
    assert found.how in (probing.TIMEOUT, probing.BROKEN, probing.REJECTED), found
    assert found.seconds < ENDED_BY
    if act in (silent, dripping):
        assert found.how == probing.TIMEOUT


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
def test_a_handshake_that_never_comes_ends_too(tls: str) -> None:
    lines = [b"220 hi", b"250-me\r\n250 STARTTLS", b"220 go on"] if tls == "starttls" else []

    def act(connection: socket.socket) -> None:
        saying(*lines)(connection)
        silent(connection)

    found = asked(act, "smtp", tls=tls)
    assert (found.how, found.seconds < ENDED_BY) == (probing.TIMEOUT, True)


def test_nothing_that_listens_is_told_from_nothing_that_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = gone.getsockname()[:2]
    assert probe(Want("imap", address), SECONDS).how == probing.REFUSED
    assert probe(Want("lmtp", "/nowhere/at/all"), SECONDS).how == probing.UNREACHABLE


@pytest.mark.parametrize(
    ("service", "lines", "how", "why"),
    [
        ("smtp", [b"421 4.3.2 shutting down"], "temporary", "421 4.3.2 shutting down"),
        ("smtp", [b"554 no"], "rejected", "554 no"),
        ("smtp", [b"220 hi", b"250 me", b"250 ok", b"451 4.3.0 no database"], "temporary", "451 4.3.0 no database"),
        ("smtp", [b"220 hi", b"250 me", b"250 ok", b"550 who?"], "rejected", "550 who?"),
        ("smtp", [b"220 hi", b"250 me", b"250 ok", b"999 what"], "broken", "999 what"),
        ("submission", [b"220 hi", b"250 me"], "rejected", "SMTP AUTH extension not supported by server."),
        ("submission", [b"220 hi", b"250-me\r\n250 AUTH PLAIN", b"454 4.7.0 later"], "temporary", "454 4.7.0 later"),
        ("submission", [b"220 hi", b"250-me\r\n250 AUTH PLAIN", b"535 5.7.8 no"], "rejected", "535 5.7.8 no"),
        ("pop3", [b"+OK hi", b"+OK", b"-ERR [SYS/TEMP] index"], "temporary", "-ERR [SYS/TEMP] index"),
        ("pop3", [b"+OK hi", b"+OK", b"-ERR [AUTH] no"], "rejected", "-ERR [AUTH] no"),
    ],
)  # fmt: skip
def test_a_refusal_is_told_with_what_the_server_said(service: str, lines: list[bytes], how: str, why: str) -> None:
    found = asked(saying(*lines), service, user="u", password="p")
    assert (found.ok, found.how, found.why) == (False, how, why)


def imap_server(select: bytes) -> Act:
    """As much of an IMAP server as a probe meets."""

    def act(connection: socket.socket) -> None:
        connection.sendall(b"* OK [CAPABILITY IMAP4rev1] ready\r\n")
        with connection.makefile("rb") as stream:
            for line in stream:
                tag, verb = line.split()[:2]
                said = select if verb == b"EXAMINE" else b"OK done"
                before = b"* CAPABILITY IMAP4rev1\r\n" if verb == b"CAPABILITY" else b""
                connection.sendall(before + tag + b" " + said + b"\r\n")

    return act


@pytest.mark.parametrize(
    ("select", "how"),
    [
        (b"OK [READ-ONLY] selected", ""),
        (b"NO [UNAVAILABLE] Internal error", "temporary"),
        (b"NO [SERVERBUG] Internal error", "temporary"),
        (b"NO [NONEXISTENT] no such mailbox", "rejected"),
    ],
)
def test_an_inbox_that_cant_be_opened_fails_the_imap_probe(select: bytes, how: str) -> None:
    found = asked(imap_server(select), "imap", user="u", password='p"\\')
    assert (found.ok, found.how) == (not how, how), found


def test_no_error_shows_a_password() -> None:
    """imaplib's own encodes what it is given in ASCII, and its error quotes all of it."""
    found = asked(imap_server(b"OK"), "imap", user="u", password="geheimniß")
    assert not found.ok
    assert "geheim" not in str(found)


# --- servers that work ----------------------------------------------------------------------------


class Lets:
    """Knows one recipient."""

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any
    ) -> str:
        if address != CANARY:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"


def knows(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
    right = (data.login, data.password) == (b"canary", b"secret")
    return AuthResult(success=right, handled=right)  # aiosmtpd says 535 only where nobody has "handled" it


class Front(Controller):
    def factory(self) -> SMTP:
        words = dict(self.SMTP_kwargs)
        return LMTP(self.handler, hostname="lmtp") if words.pop("lmtp", False) else SMTP(self.handler, **words)


@contextmanager
def working(tmp_path: Path, **words: Any) -> Iterator[Want]:
    if not words.get("lmtp"):
        words = {"tls_context": serving(tmp_path, end=END), "authenticator": knows, **words}
    front = Front(Lets(), hostname="127.0.0.1", port=free_port(), **words)
    front.start()
    try:
        yield Want("smtp", (front.hostname, front.port), recipient=CANARY)
    finally:
        front.stop()


def test_a_working_server_is_ok_and_tells_when_its_certificate_ends(tmp_path: Path) -> None:
    with working(tmp_path) as want:
        plain, secured = probe(want, 5), probe(want._replace(tls="starttls"), 5)
        stranger = probe(want._replace(recipient="stranger@example.test"), 5)
        login = want._replace(service="submission", tls="starttls", user="canary")
        right, wrong = (probe(login._replace(password=word), 5) for word in ("secret", "wrong"))
    assert (plain.ok, plain.expires) == (True, None)
    assert (secured.ok, secured.expires) == (True, END.replace(tzinfo=UTC).timestamp())
    assert (stranger.ok, stranger.how, stranger.why) == (False, "rejected", "550 no such user")
    assert (right.ok, wrong.how) == (True, "rejected")


def test_lmtp_is_asked_as_lmtp(tmp_path: Path) -> None:
    with working(tmp_path, lmtp=True) as want:
        assert probe(want._replace(service="lmtp"), 5).ok
        assert not probe(want, 5).ok


def test_where_a_name_is_given_its_certificate_is_checked_before_the_password_goes(tmp_path: Path) -> None:
    with working(tmp_path) as want:
        found = probe(
            want._replace(service="submission", tls="starttls", name="mail.example.test", user="u", password="p"), 5
        )
    assert (found.ok, found.how) == (False, "untrusted")
    assert "self" in found.why


def pop3(*capabilities: bytes) -> Act:
    return saying(b"+OK hi", b"\r\n".join([b"+OK", *capabilities, b"."]), b"+OK bye")


@pytest.mark.issue("4.1 a pair without a canary is probed by banner EHLO STARTTLS CAPABILITY")
def test_without_an_account_it_goes_as_far_as_a_stranger_may(tmp_path: Path) -> None:
    with working(tmp_path) as want:
        stranger = want._replace(recipient="", tls="offered")
        found = [probe(stranger._replace(service=service), 5) for service in ("smtp", "submission")]
    assert [(each.ok, each.expires is not None) for each in found] == [(True, True)] * 2, found
    assert asked(imap_server(b"NO"), "imap", tls="offered").ok
    assert asked(pop3(b"UIDL"), "pop3").ok
    assert asked(saying(b"220 hi", b"250 me", b"250 ok", b"221 bye"), "smtp", recipient="", tls="offered").ok
    late = asked(saying(b"220 hi", b"250 me", b"421 4.3.2 full"), "smtp", recipient="", tls="offered")
    assert (late.ok, late.how) == (False, "temporary")


@pytest.mark.parametrize("service", ["submission", "imap", "pop3"])
def test_no_password_is_sent_where_tls_is_only_taken_when_offered(service: str) -> None:
    act = {
        "submission": saying(b"220 hi", b"250-me\r\n250 AUTH PLAIN", b"235 in"),
        "imap": imap_server(b"OK"),
        "pop3": pop3(b"USER"),
    }[service]
    found = asked(act, service, tls="offered", user="u", password="p")
    assert (found.ok, found.why) == (False, "it doesn't offer STARTTLS"), found
