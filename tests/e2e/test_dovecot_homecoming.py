"""What comes home as a real Dovecot sees it: known UIDs stay, what is new gets a UID that was never given out."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.e2e.test_dovecot_uidlist import CONFIGURATION
from tests.support import image, pairs, require
from tests.support.outage import ANN, Loss

pytestmark = [
    pytest.mark.lab,
    pytest.mark.issue("5.4 rejoin: cut, differences, aside, reclaim by delivery, with a real Dovecot"),
]
VMAIL = 5000


class Pair(Loss):
    """Two stores, each with a Dovecot of its own."""

    def __init__(self, laid: pairs.Laid, root: image.Root) -> None:
        super().__init__(laid)
        self._root = root

    def dovecot(self, host: str, *words: str, stdin: bytes = b"") -> list[list[str]]:
        """What doveadm says, in rows without the heading."""
        where = f"maildir:/lab/{host}/0/{ANN}"
        command = ["doveadm", "-f", "tab", "-c", "/lab/dovecot.conf", "-o", f"mail_location={where}", *words]
        out = self._root.check(["env", "USER=vmail", "HOME=/lab", *command], stdin=stdin)
        return [line.split("\t") for line in out.decode().splitlines()[1:]]

    def save(self, host: str, folder: str, body: bytes) -> None:
        self.dovecot(host, "save", "-m", folder, stdin=b"Message-ID: <%s>\n\n%s\n" % (body, body))

    def shows(self, host: str, folder: str) -> dict[str, tuple[int, str]]:
        """Message-ID -> (UID, flags)."""
        rows = self.dovecot(host, "fetch", "hdr.message-id uid flags", "mailbox", folder, "all")
        return {name: (int(uid), flags) for name, uid, flags in rows}

    def validity(self, host: str, folder: str) -> str:
        return self.dovecot(host, "mailbox", "status", "uidvalidity", folder)[0][1]


@pytest.fixture
def pair() -> Iterator[Pair]:
    require.root()
    with pairs.in_memory() as place:
        place.chmod(0o755)
        (place / "dovecot.conf").write_text(CONFIGURATION)
        laid = pairs.Laid(place, pairs.MEMORY)
        for host in (laid.source, laid.mirror):
            os.chown(host, VMAIL, VMAIL)
        (laid.source / "ex.org").mkdir()
        os.chown(laid.source / "ex.org", VMAIL, VMAIL)
        with image.Root(binds=[(place, "/lab")], net=image.LOOPBACK) as root:
            yield Pair(laid, root)
        laid.end()


def test_dovecot_shows_what_came_home_once_and_renumbers_nothing(pair: Pair) -> None:
    pair.dovecot("p", "mailbox", "create", "Archive")
    for body in (b"one", b"two", b"three"):
        pair.save("p", "INBOX", body)
    pair.laid.session.initialise()
    pair.laid.sync()
    pair.save("p", "INBOX", b"alone")
    pair.dovecot("p", "flags", "add", "\\Seen $Own", "mailbox", "INBOX", "header", "message-id", "<one>")
    pair.dovecot("p", "move", "Archive", "mailbox", "INBOX", "header", "message-id", "<two>")
    pair.promote()
    pair.save("m", "INBOX", b"later")
    before, validity = pair.shows("m", "INBOX"), pair.validity("m", "INBOX")
    assert before["<later>"][0] > 1 << 20, "the next UID was installed raised"
    plan, outcome = pair.rejoin()
    assert plan.counts == {"message": 1, "flags": 1, "move": 1}
    assert outcome.outrun == []
    after = pair.shows("m", "INBOX")
    assert after.keys() == {"<one>", "<three>", "<later>", "<alone>"}
    assert {name: after[name][0] for name in ("<one>", "<three>", "<later>")} == {
        name: before[name][0] for name in ("<one>", "<three>", "<later>")
    }
    assert "\\Seen" in after["<one>"][1]
    assert after["<alone>"][0] > before["<later>"][0]
    assert pair.shows("m", "Archive").keys() == {"<two>"}
    assert pair.validity("m", "INBOX") == validity
    pair.laid.open()
    assert pair.rejoin()[1].again == 1, "asked for once more, it is known to have come"
    assert pair.shows("m", "INBOX") == after
