"""Real mail programs over a change of the serving host: what they have stays true, nothing comes twice or again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import post, product
from tests.lab.clients import Mbsync, Mutt
from tests.lab.following import become_equal, follow_live
from tests.lab.plan import PORTS, User
from tests.lab.site import PAIR, Site
from tests.lab.waiting import until
from tests.support import require

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab")]


@pytest.fixture
def pair() -> Iterator[Site]:
    """A site that replicates live; the test turns it over, so it is its own."""
    require.hosts()
    with Site(PAIR, users=2) as site:
        site.boot()
        follow_live(site)
        yield site


def _deliver(site: Site, user: User, subjects: list[str], server: str) -> None:
    for subject in subjects:
        words = ["--protocol", "LMTP", "--port", str(PORTS["lmtp"]), "--header", f"Subject: {subject}", "--silent", "2"]
        site.client.run(["swaks", "--server", server, "--to", user.address, "--from", post.STRANGER, *words])


def _serve_from_the_mirror(site: Site) -> None:
    """What a switchover does, by hand: no more writers here, everything there, then users there."""
    site.primary.systemctl("stop", "dovecot", "postfix")
    become_equal(site)
    site.mirror.systemctl("stop", product.UNIT)
    site.mirror.systemctl("start", "dovecot")
    site.point_at(site.mirror)


# One is flagged and read, one is moved (a copy without mbsync's UID, under a name of its own), one is deleted.
_AT_HOME = """
mkdir -p Work/cur Work/new Work/tmp
set -- INBOX/new/*
mv "$1" "INBOX/cur/$(basename "$1" :2,):2,FS"
mv "$2" Work/cur/moved.by.hand:2,S
mv "$3" "INBOX/cur/$(basename "$3" :2,):2,T"
"""


@pytest.mark.issue(
    "3.4 mbsync, mutt and swaks as users; mbsync before, during and after without duplicates or re-downloads"
)
def test_what_mail_programs_have_is_true_on_the_mirror(pair: Site) -> None:
    anna, ben = pair.users
    mbsync, mutt = Mbsync(pair.client, anna), Mutt(pair.client, ben)

    _deliver(pair, anna, [f"letter {number}" for number in range(12)], "mail1")
    _deliver(pair, ben, [f"note {number}" for number in range(5)], "mail1")
    assert mbsync.sync() == 12
    assert mutt.keys("<first-entry><display-message><exit><flag-message>") == (5, 1)

    # While replication is hurt, both go on working.
    pair.primary.kill_command("--allow replication")
    mutt.send(anna, "from mutt")
    until(lambda: "from mutt" in post.subjects(pair, anna), what="mutt's letter")
    mbsync.shell(_AT_HOME)
    assert mbsync.sync() == 1
    assert mbsync.sync() == 0
    before = mbsync.messages()
    assert len(before) == 12 and sum("./Work/" in line for line in before) == 1

    _serve_from_the_mirror(pair)
    assert mbsync.sync() == 0, "nothing is downloaded again"
    assert mbsync.messages() == before, "and nothing came twice, or went"
    assert mutt.keys("<first-entry><display-message><exit>") == (0, 0), "both caches are true on the mirror"
    flags = post.fetch(pair, ben, "INBOX", command="UID FETCH 1:* FLAGS")
    assert flags.count("\\Seen") == 1 and flags.count("\\Flagged") == 1

    _deliver(pair, anna, ["on the mirror"], "mail2")
    assert mbsync.sync() == 1
    assert len(mbsync.messages()) == 13
    assert "Error" not in pair.mirror.journal("dovecot")
