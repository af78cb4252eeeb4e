"""The demo's SMTP front: 250 means that it stands in the Maildir, and the ledger says where."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.demo import guard, watch
from orchestrator.demo.control import Servant
from orchestrator.demo.letters import IN_TURN, Writer
from orchestrator.demo.mailbox import INBOX, Account
from orchestrator.demo.sender import OPTIONS

START = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)


class Site:
    def __init__(self, directory: Path, port: int) -> None:
        self.anna = Account(directory / "vmail" / "example.org" / "anna")
        self.ledger = directory / "ledger"
        self.port = port

    def send(self, to: str, raw: bytes) -> None:
        with smtplib.SMTP("127.0.0.1", self.port, timeout=20) as smtp:
            smtp.sendmail("zoe@example.net", to, raw, OPTIONS)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("smtp")
    account = Account(directory / "vmail" / "example.org" / "anna")
    account.create(INBOX)
    account.create("Sent")
    arguments = ["127.0.0.1", "0", "mail1.example.org", str(directory / "vmail"), str(directory / "ledger")]
    servant = Servant("smtp", "orchestrator.demo.smtpfront", arguments, log=directory / "log")
    try:
        yield Site(directory, int(str(servant.ready()["port"])))
    finally:
        servant.stop()


@pytest.mark.parametrize("kind", IN_TURN)
def test_every_kind_of_letter_is_stored_as_it_was_sent(site: Site, kind: str) -> None:
    letter = Writer(3, START).write(kind)
    site.send("anna@example.org", letter.raw)
    delivery = watch.deliveries(site.ledger)[-1]
    assert (delivery.identity, delivery.account) == (letter.identity, "example.org/anna")
    stored = site.anna.folder(INBOX).messages()[delivery.base.encode()].read_bytes()
    head, _, rest = stored.partition(b"; ")
    assert head.startswith(b"Return-Path: <zoe@example.net>\nDelivered-To: anna@example.org\nReceived: ")
    assert rest.partition(b"\n")[2] == letter.raw.replace(b"\r\n", b"\n")


def test_a_detail_in_the_address_names_the_folder(site: Site) -> None:
    site.send("anna+Sent@example.org", Writer(4, START).write().raw)
    assert watch.deliveries(site.ledger)[-1].folder == "example.org/anna/.Sent"
    assert len(site.anna.folder("Sent").messages()) == 1


@pytest.mark.parametrize("to", ["nobody@example.org", "anna@example.com", "anna+Nowhere@example.org", "..@example.org",
                                "anna+../../x@example.org", "anna@../example.org"])  # fmt: skip
def test_whoever_isnt_there_is_refused_while_the_sender_waits(site: Site, to: str) -> None:
    before = site.ledger.read_text() if site.ledger.exists() else ""
    with pytest.raises((smtplib.SMTPRecipientsRefused, smtplib.SMTPResponseException)):
        site.send(to, b"x\r\n")
    assert (site.ledger.read_text() if site.ledger.exists() else "") == before


def test_it_serves_by_its_guards_leave_and_turns_everybody_away_without_it(tmp_path: Path) -> None:
    guard.lay(tmp_path / "guard", "k" * 32, "org", "primary", dict.fromkeys(("primary", "mirror"), "127.0.0.1"), 0)
    Account(tmp_path / "vmail" / "example.org" / "anna").create(INBOX)
    arguments = ["127.0.0.1", "0", "mail1.example.org", *map(str, (tmp_path / "vmail", tmp_path / "ledger"))]
    front = Servant(
        "smtp", "orchestrator.demo.smtpfront", [*arguments, str(tmp_path / "guard")], log=tmp_path / "smtp.log"
    )
    standing = Servant("guard", "orchestrator.demo.guard", [str(tmp_path / "guard")], log=tmp_path / "guard.log")
    try:
        standing.ready()
        port = int(str(front.ready()["port"]))
        with pytest.raises(smtplib.SMTPConnectError, match="serves nobody"):
            smtplib.SMTP("127.0.0.1", port, timeout=20)
        standing.kill()
        with pytest.raises(smtplib.SMTPConnectError, match="serves nobody"):
            smtplib.SMTP("127.0.0.1", port, timeout=20)
        assert not (tmp_path / "ledger").exists()
    finally:
        standing.stop()
        front.stop()
