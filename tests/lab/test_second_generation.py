"""The other generation of hosts, in short: it boots, delivers, replicates, and its mirror serves.

The whole suite runs on it by `make test-trixie`.
"""

from __future__ import annotations

import pytest

from tests.lab import post, product
from tests.lab.following import become_equal, follow_live
from tests.lab.generation import TRIXIE, chosen
from tests.lab.site import PAIR, Site
from tests.lab.waiting import until
from tests.support import require

pytestmark = [
    pytest.mark.lab,
    pytest.mark.xdist_group("lab"),
    pytest.mark.skipif(chosen() is TRIXIE, reason="the whole suite runs on it"),
]


@pytest.mark.issue("3.1 a second generation: Debian trixie with Dovecot 2.4, OpenSSH 10, Python 3.13, in short")
def test_a_newer_debian_boots_delivers_and_replicates() -> None:
    require.hosts()
    require.layer(TRIXIE.layer)
    with Site(PAIR, users=3, generation=TRIXIE) as site:
        site.boot()
        assert [unit for host in site.hosts.values() for unit in host.failed()] == []
        versions = site.mirror.run("dovecot --version; ssh -V 2>&1; lab-python -V").splitlines()
        for said, expected in zip(versions, ("2.4.", "OpenSSH_10.", "Python 3.13."), strict=True):
            assert said.startswith(expected)
        follow_live(site)
        for number, user in enumerate(site.users):
            post.send(site, user, f"letter {number}")
        until(lambda: all(post.subjects(site, user) for user in site.users), what="everybody has a letter")
        post.fetch(site, site.users[0], "INBOX", command="UID STORE 1 +FLAGS (\\Flagged $Work)")
        become_equal(site)
        shown = [_shown(site, "mail1", number) for number in range(3)]
        site.mirror.systemctl("stop", product.UNIT)
        site.mirror.systemctl("start", "dovecot")
        assert [_shown(site, "mail2", number) for number in range(3)] == shown
        assert "$Work" in shown[0] and "Error" not in site.mirror.journal("dovecot")


def _shown(site: Site, server: str, number: int) -> str:
    user = site.users[number]
    lines = ("UID FETCH 1:* FLAGS", "STATUS INBOX (UIDVALIDITY MESSAGES)")
    return "".join(post.fetch(site, user, "INBOX", server=server, command=line) for line in lines)
