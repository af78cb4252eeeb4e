"""Roles moved there and back under a real Dovecot: UIDs and flags stay, and Dovecot finds nothing to mend."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.test_roles_turned import move
from tests.e2e.test_dovecot_uidlist import CONFIGURATION
from tests.support import image, pairs, require

pytestmark = pytest.mark.lab


class Mail:
    """One account on either place, as its Dovecot has it."""

    def __init__(self, root: image.Root, laid: pairs.Laid) -> None:
        self._root, self.laid = root, laid
        self.account = "0/ex.org/ann"

    def doveadm(self, host: str, *words: str, stdin: bytes = b"") -> str:
        """The server's only process: it runs, and has ended. Its complaints fail the test."""
        there = ["-c", "/lab/dovecot.conf", "-o", f"mail_location=maildir:/lab/{host}/{self.account}"]
        line = ["env", "USER=vmail", "HOME=/lab", "doveadm", "-f", "tab", *there, *words]
        told = self._root.check(["sh", "-c", 'exec "$@" 2>/lab/said', "sh", *line], stdin=stdin)
        said = (self.laid.base / "said").read_text().splitlines()
        assert [each for each in said if "Info" not in each] == []
        return told.decode()

    def save(self, host: str, subject: str) -> None:
        self.doveadm(host, "save", "-m", "INBOX", stdin=f"Subject: {subject}\n\n{subject}\n".encode())

    def flag(self, host: str, subject: str) -> None:
        self.doveadm(host, "flags", "add", "\\Seen $Work", "mailbox", "INBOX", "subject", subject)

    def expunge(self, host: str, subject: str) -> None:
        self.doveadm(host, "expunge", "mailbox", "INBOX", "subject", subject)

    def rows(self, host: str) -> dict[str, tuple[int, str]]:
        """Subject -> UID and flags, as an IMAP client would be told."""
        told = self.doveadm(host, "fetch", "uid flags hdr.subject", "mailbox", "INBOX", "all").splitlines()[1:]
        split = (line.split("\t") for line in told)
        return {subject: (int(uid), " ".join(flags.replace("\\Recent", "").split())) for uid, flags, subject in split}

    def validity(self, host: str) -> str:
        return self.doveadm(host, "mailbox", "status", "uidvalidity", "INBOX").splitlines()[-1]


@pytest.fixture(scope="module")
def mail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mail]:
    require.root()
    place = tmp_path_factory.mktemp("turned")
    place.chmod(0o755)
    (place / "dovecot.conf").write_text(CONFIGURATION)
    laid = pairs.Laid(place, pairs.LOCAL)
    for directory in (laid.source, laid.mirror, *(Path(place, host) for host in "pm")):
        os.chown(directory, 5000, 5000)
    with image.Root(binds=[(place, "/lab")], net=image.LOOPBACK) as root:
        yield Mail(root, laid)
    laid.end()


@pytest.mark.issue("5.2 roles move: a real Dovecot finds each UID, flag and UIDVALIDITY as the other place had them")
def test_dovecot_finds_everything_as_the_other_place_had_it(mail: Mail) -> None:
    laid = mail.laid
    laid.session.initialise()
    for subject in ("one", "two", "three"):
        mail.save("p", subject)
    mail.flag("p", "two")
    laid.session.sync()
    first, validity = mail.rows("p"), mail.validity("p")
    assert first == {"one": (1, ""), "two": (2, "\\Seen $Work"), "three": (3, "")}

    move(laid, 2, "m")
    mail.save("m", "of the mirror")
    mail.flag("m", "three")
    mail.expunge("m", "one")
    there = mail.rows("m")
    assert there == {"two": first["two"], "three": (3, "\\Seen $Work"), "of the mirror": (2 << 20, "")}
    laid.session.sync()
    assert laid.session.last_pass().lacking == []

    move(laid, 3, "p")
    assert mail.rows("p") == there
    assert mail.validity("p") == mail.validity("m") == validity
    mail.save("p", "back")
    back = mail.rows("p")
    assert back.items() - there.items() == {("back", (4 << 20, ""))}
    laid.session.sync()
    move(laid, 4, "m")
    assert mail.rows("m") == back
