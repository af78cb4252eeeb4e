"""mailmirror on real hosts: what Dovecot delivers on the primary stands on the mirror, equal, also after faults."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import post, product
from tests.lab.following import become_equal, follow_live, is_live
from tests.lab.plan import STORE, User
from tests.lab.site import PAIR, Site
from tests.lab.waiting import until
from tests.support import require

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab")]


@pytest.fixture(scope="module")
def pair() -> Iterator[Site]:
    """A site of its own, which follows live; everybody has a letter. No test needs another to have run before it."""
    require.hosts()
    with Site(PAIR, users=5) as site:
        site.boot()
        site.mirror.run("mailmirror config check")
        follow_live(site)
        for number, user in enumerate(site.users):
            post.send(site, user, f"letter {number}")
        pattern = f"{STORE}/example.test/*/Maildir/new/*.mail1,*"
        until(
            lambda: len(site.mirror.attempt(f"ls {pattern}").stdout.split()) == len(site.users), what="they are there"
        )
        yield site


@pytest.mark.issue("3.2 install the product: the controller on the mirror, a checked inventory, a unit")
def test_the_product_is_installed_as_an_operator_would(pair: Site) -> None:
    assert "no problems" in pair.mirror.run("mailmirror config check")
    assert pair.mirror.run(["systemctl", "is-active", product.UNIT]).strip() == "active"
    assert "/opt/mailmirror" not in pair.primary.run("cat /proc/mounts")  # a mail host has only what was shipped to it
    assert pair.mirror.attempt("touch /opt/mailmirror/x").returncode != 0


@pytest.mark.issue("3.5 replication proven on real hosts: a letter on the primary appears on the mirror")
def test_a_letter_appears_on_the_mirror_and_both_are_equal(pair: Site) -> None:
    for user in pair.users:
        found = f"ls {user.home}/Maildir/new {user.home}/Maildir/cur"
        assert ".mail1," in pair.mirror.run(found)
    assert "in 5 folders" in become_equal(pair)


@pytest.mark.issue("3.5 a Dovecot started on the mirror shows the same UIDs")
def test_the_mirrors_dovecot_shows_what_the_primarys_shows(pair: Site) -> None:
    user = pair.users[0]
    post.fetch(pair, user, "INBOX", command="STORE 1 +FLAGS (\\Flagged marked)")
    post.fetch(pair, user, "", command="CREATE Kept")
    post.fetch(pair, user, "INBOX", command="COPY 1 Kept")
    become_equal(pair)
    asked = ("FETCH 1:* (UID FLAGS)", "STATUS INBOX (UIDVALIDITY MESSAGES)", "STATUS Kept (UIDVALIDITY MESSAGES)")
    on_primary = [post.fetch(pair, user, "INBOX", server="mail1", command=line) for line in asked]
    pair.mirror.systemctl("stop", product.UNIT)
    pair.mirror.systemctl("start", "dovecot")
    on_mirror = [post.fetch(pair, user, "INBOX", server="mail2", command=line) for line in asked]
    pair.mirror.systemctl("stop", "dovecot")
    assert on_mirror == on_primary
    assert "marked" in on_mirror[0]
    assert "Error" not in pair.mirror.journal("dovecot")
    pair.mirror.systemctl("start", product.UNIT)
    become_equal(pair)


@pytest.mark.issue("3.5 the mirror is power-cut while it follows")
def test_replication_survives_the_mirrors_power_cut(pair: Site) -> None:
    before = len(post.subjects(pair, pair.users[1]))
    post.send(pair, pair.users[1], "before")
    pair.mirror.power_cut()
    post.send(pair, pair.users[1], "while it was off")
    pair.mirror.boot()
    pair.mirror.systemctl("start", product.UNIT)
    until(lambda: len(post.subjects(pair, pair.users[1])) == before + 2, what="both are delivered")
    until(lambda: is_live(pair), within=30, what="it follows live")
    become_equal(pair)


@pytest.mark.issue("3.5 the primary is power-cut while it is followed")
def test_replication_goes_on_after_the_primarys_power_cut(pair: Site) -> None:
    """The letters are counted in the store: such a cut can leave a lock of Dovecot's behind, and until it is old enough
    (two minutes) that account is neither shown nor delivered to.
    """
    cut, other = pair.users[3:5]

    def messages() -> int:
        return len(pair.primary.run(f"ls {cut.home}/Maildir/new").split())  # one may stand twice (RFC 1047)

    before = messages()
    for number in range(3):
        post.send(pair, cut, f"just before {number}")
    pair.primary.power_cut()
    pair.primary.boot()
    pair.point_at(pair.primary)
    until(lambda: messages() >= before + 3, what="all that was acknowledged is there")
    post.send(pair, other, "after")
    until(lambda: "after" in post.subjects(pair, other), what="and what came later")
    until(lambda: is_live(pair), within=40, what="it follows live")
    become_equal(pair)


@pytest.mark.issue("3.5 the link is cut, the agent and the controller are killed")
def test_replication_survives_a_cut_link_and_kills(pair: Site) -> None:
    before = len(post.subjects(pair, pair.users[2]))
    pair.cut(pair.primary, pair.mirror)
    post.send(pair, pair.users[2], "while the link was cut")
    pair.heal()
    pair.primary.kill_command("--allow replication")
    post.send(pair, pair.users[2], "after the agent was killed")
    pair.mirror.kill(product.UNIT)
    post.send(pair, pair.users[2], "after the controller was killed")
    until(lambda: is_live(pair), within=40, what="it follows live")
    become_equal(pair)
    assert len(post.subjects(pair, pair.users[2])) == before + 3


@pytest.mark.issue("3.2 step_clock on the product's own processes")
@pytest.mark.issue("3.5 replication goes on while the clocks of both hosts are stepped")
def test_replication_doesnt_mind_a_stepped_clock(pair: Site) -> None:
    user = pair.users[2]
    for host in (pair.primary, pair.mirror):
        host.fake_clock()
    pair.primary.kill_command("--allow replication")
    pair.mirror.systemctl("restart", product.UNIT)
    until(lambda: is_live(pair), within=20, what="it follows live, with clocks of its own")
    for host in (pair.primary, pair.mirror):
        assert host.run("grep --files-with-matches lab-clock /proc/[0-9]*/maps 2> /dev/null || true"), host
    try:
        for host, seconds in ((pair.primary, 3600), (pair.primary, -3600), (pair.mirror, 86400), (pair.mirror, -86400)):
            host.step_clock(seconds)
            subject = f"{host.name} {seconds:+}"
            post.send(pair, user, subject)
            _arrived(pair, user, subject)
            post.fetch(pair, user, "INBOX", command="STORE 1 +FLAGS (\\Deleted)")
            post.fetch(pair, user, "INBOX", command="EXPUNGE")
            become_equal(pair, within=20)
            assert is_live(pair)
    finally:
        for host in (pair.primary, pair.mirror):
            host.step_clock(0)


def _arrived(pair: Site, user: User, subject: str) -> None:
    until(lambda: subject in post.subjects(pair, user), what=f"{subject} is delivered")
