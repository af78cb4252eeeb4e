"""docs/tutorial.md, followed as it is written: two hosts with mail become a pair whose users have moved once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import product
from tests.lab.following import is_live
from tests.lab.generation import chosen
from tests.lab.guarded import INVENTORY, status
from tests.lab.guide import Guide
from tests.lab.plan import DOMAIN, SERVICE_ADDRESS
from tests.lab.site import Site
from tests.lab.waiting import until
from tests.support import require

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("tutorial")]
GUIDE = Guide(
    "docs/tutorial.md",
    {
        "192.0.2.10": SERVICE_ADDRESS,
        "192.0.2.11": "10.20.0.11",
        "192.0.2.12": "10.20.0.12",
        "mail1.example.org": f"mail1.{DOMAIN}",
        "mail2.example.org": f"mail2.{DOMAIN}",
    },
)
IMAP = "import imaplib,sys; i=imaplib.IMAP4(sys.argv[1], timeout=5); print(i.welcome.decode()); "
IMAP += "i.starttls(); i.login(*sys.argv[2:4]); print(i.select()[1][0].decode())"
NOT_FOLLOWED = {"as root on mail2, once", "on mail2, and only then"}


@pytest.fixture
def site() -> Iterator[Site]:
    require.hosts()
    with Site(("primary", "mirror", "client"), users=2) as site:
        binds, files = product.for_everybody(chosen())
        site.mirror.binds += binds
        site.mirror.lay(files)
        site.boot()
        # What keeps the lab's own mirror from delivering goes: here it is the guard that does.
        site.mirror.run("postconf -X defer_transports && postfix reload")
        site.primary.run(f"doveadm save -u u01@{DOMAIN}", stdin="Subject: of before\n\nHello.\n")
        site.mirror.lay({INVENTORY: GUIDE.files("yaml")[0]})
        yield site


def typed(site: Site, block: str, within: float = 120.0) -> str:
    said = str(site.mirror.run(f"set -e\n{block}", timeout=within))
    print(block, said, sep="\n")
    return said


def read_by_address(site: Site) -> str:
    """What IMAP says at the address that moves: a greeting, and how many letters there are."""
    user = site.users[0]
    words = ["python3", "-c", IMAP, SERVICE_ADDRESS, user.address, user.password]
    return str(until(lambda: site.client.attempt(words).stdout.strip(), within=20, what="IMAP answers"))


@pytest.mark.issue("6.7 a tutorial from two hosts to a tested pair, whose commands are executed in the lab")
def test_who_follows_it_has_a_pair_whose_users_moved_and_came_home(site: Site) -> None:
    assert set(GUIDE.places()) - NOT_FOLLOWED == {"on mail2", "on mail2, empty", "on mail2, with a copy"}
    pins, check, verify, install, look, there, home = GUIDE.blocks("on mail2")
    [first] = GUIDE.blocks("on mail2, empty")
    assert "SHA256:" in typed(site, pins)
    typed(site, check)
    typed(site, first)
    assert "is equal" in typed(site, verify)
    typed(site, install, 240)
    until(lambda: is_live(site), within=60, what="it follows live")
    assert "live" in typed(site, look)
    assert read_by_address(site).endswith("1")
    assert "switchover" in typed(site, there)
    assert status(site.mirror)["role"] == "active" and status(site.primary)["role"] == "passive"
    assert read_by_address(site).endswith("1"), "the same mail, from the other host"
    until(lambda: is_live(site), within=60, what="it follows the other way")
    assert "failback" in typed(site, home)
    assert status(site.primary)["role"] == "active" and read_by_address(site).endswith("1")


@pytest.mark.issue("6.7 a tutorial: two hosts that already hold mail")
def test_a_mirror_that_holds_a_copy_already_is_adopted(site: Site) -> None:
    pins, check, verify, *_ = GUIDE.blocks("on mail2")
    [adopt] = GUIDE.blocks("on mail2, with a copy")
    typed(site, pins)
    key = "-i /etc/mailmirror/id_ed25519 -o UserKnownHostsFile=/etc/mailmirror/known_hosts"
    typed(site, f"ssh {key} root@10.20.0.11 tar -C /var/vmail -c . | tar -C /var/vmail -x")
    typed(site, check)
    typed(site, adopt)
    assert "is equal" in typed(site, verify)
