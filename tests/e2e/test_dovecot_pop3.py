"""A POP3 user who empties the mailbox each day is no alarm, though it is more than any budget: a real Dovecot, live.

One root holds all of it: Dovecot, the primary's store that it serves, the mirror's store, and `mailmirror run`. So it
also shows what a Dovecot that could reach the mirror's store means for its uidlists.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.demo.mailbox import INBOX
from tests.support import image, pairs, require
from tests.unit.daemon.test_follower import until

pytestmark = pytest.mark.lab

VMAIL = 5000
MESSAGES = 300
"""More than mm_delete_budget lets pass of one account: 200, or a fifth."""
WITHIN = 30.0

INVENTORY = """\
mailmirror:
  children:
    org:
      vars:
        mm_stores: [{base}/there]
        mm_state_dir: {base}/state
        mm_services: {{pop3: dovecot}}
        mm_ports: {{pop3: 110}}
        mm_watch: fanotify
      hosts:
        mail1: {{mm_place: primary, ansible_connection: local, mm_stores: [{base}/here]}}
        mail2: {{mm_place: mirror, ansible_connection: local, mm_other_dovecot: {other}}}
"""
DOVECOT = """\
protocols = pop3
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
log_path = {base}/dovecot.log
mail_location = maildir:{base}/here/%u
first_valid_uid = {vmail}
default_internal_user = dovecot
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = static
  args = uid={vmail} gid={vmail} home={base}/here/%u
}}
"""
POP3 = """
import poplib, sys
box = poplib.POP3("127.0.0.1", timeout=30)
box.user(sys.argv[1]); box.pass_("x")
count = len(box.list()[1])
for number in range(1, count + 1):
    box.dele(number)
box.quit()
print(count)
"""


class Host:
    """A mail host with its mirror beside it, and an operator."""

    def __init__(self, base: Path, root: image.Root, other: bool) -> None:
        self.base, self.root = base, root
        self.environment = {"PATH": image.PATH, "HOME": str(base), "PYTHONPATH": str(image.CHECKOUT)}
        for name in ("here", "there"):
            (base / name).mkdir()
            os.chown(base / name, VMAIL, VMAIL)
        (base / "dovecot.conf").write_text(DOVECOT.format(base=base, vmail=VMAIL))
        (base / "inventory.yaml").write_text(INVENTORY.format(base=base, other=str(other).lower()))

    def deliver(self, user: str, count: int = MESSAGES) -> None:
        box = self.base / "here" / user
        for part in ("", "tmp", "new", "cur"):
            (box / part).mkdir(exist_ok=True)
            os.chown(box / part, VMAIL, VMAIL)
        for number in range(count):
            path = box / "tmp" / f"1700000000.M{number}P1.mail1"
            path.write_text(f"Subject: {number}\n\nbody\n")
            os.chown(path, VMAIL, VMAIL)
            path.rename(box / "new" / path.name)

    def there(self, user: str) -> int:
        """How many messages stand on the mirror."""
        return sum(1 for part in ("new", "cur") for _ in (self.base / "there" / user / part).glob("*"))

    def line(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "orchestrator", "-i", str(self.base / "inventory.yaml"), *words]

    def type(self, *words: str) -> str:
        with self.root.run(
            self.line(*words), env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as done:
            out, complaint = done.communicate(timeout=60)
        assert done.returncode == 0, complaint
        return str(out)

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.type("status", "--format", "json"))["pairs"][0])

    def empty(self, user: str) -> int:
        """Delete everything by POP3, as a client does that leaves nothing on the server; how much that was."""
        return int(self.root.check([sys.executable, "-c", POP3, user]))

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Dovecot, from listening to its end."""
        with image.running(self.root.run(["dovecot", "-F", "-c", str(self.base / "dovecot.conf")])):
            listens = ["sh", "-c", "ss -ltn | grep -q :110 && echo yes || echo no"]
            until(lambda: self.root.check(listens) == b"yes\n", WITHIN)
            yield

    @contextmanager
    def mirrored(self) -> Iterator[None]:
        """`mailmirror run`, from following live to its end."""
        with (self.base / "run.log").open("ab") as log:
            running = self.root.run(self.line("run"), env=self.environment, stderr=log)
        with image.running(running):
            until(lambda: self.status()["link"] == "live", WITHIN)
            yield


@contextmanager
def host(base: Path, *, other: bool) -> Iterator[Host]:
    require.root()
    base.chmod(0o755)
    binds = [(place, place) for place in {str(base), str(image.CHECKOUT), sys.prefix, sys.base_prefix}]
    with image.Root(binds=binds, net=image.LOOPBACK) as root:
        yield Host(base, root, other)


@pytest.mark.issue("2.P firewall: a POP3 user's daily emptying passes, and the same by rm doesn't")
def test_what_a_pop3_user_deletes_passes_and_the_same_number_by_rm_waits(tmp_path: Path) -> None:
    with host(tmp_path, other=True) as mail:
        for user in ("jane", "joe"):
            mail.deliver(user)
        mail.type("init")
        with mail.serving(), mail.mirrored():
            assert mail.status()["watch"] == "fanotify"
            assert (mail.there("jane"), mail.there("joe")) == (MESSAGES, MESSAGES)
            assert mail.empty("jane") == MESSAGES
            until(lambda: mail.there("jane") == 0, WITHIN)
            assert mail.status()["passives"][0]["waiting"] == [], "no alarm"
            assert len(json.loads(mail.type("undelete", "--list", "--format", "json"))[0]["found"]) == MESSAGES
            assert (tmp_path / "there/jane/dovecot-uidlist").exists(), (
                "that Dovecot serves other mail, said the operator"
            )
            mail.root.check(["sh", "-c", f"rm {tmp_path}/here/joe/new/*"])
            until(lambda: bool(mail.status()["passives"][0]["waiting"]), WITHIN)
            until(lambda: mail.status()["passives"][0]["waiting"][0]["count"] == MESSAGES, WITHIN)
            assert mail.there("joe") == MESSAGES
            told = mail.type("status")
            assert f"{MESSAGES} deletions of joe held back" in told and "mailmirror ack org " in told


@pytest.mark.issue("2.5 sidecars wait while a Dovecot runs that can reach the mirror's store, and status says so")
def test_a_dovecot_that_can_reach_the_mirror_holds_its_uidlists_up_until_it_stops(tmp_path: Path) -> None:
    with host(tmp_path, other=False) as mail:
        mail.deliver("jane", 3)
        mail.type("init")
        arrived = tmp_path / "there/jane/dovecot-uidlist"
        with mail.mirrored():
            with mail.serving():
                assert mail.empty("joe") == 0  # its login makes Dovecot write joe's uidlist
                mail.root.check(["doveadm", "-c", str(tmp_path / "dovecot.conf"), "fetch", "-u", "jane", "uid", "all"])
                until(lambda: mail.status()["passives"][0]["sidecars_wait"] > 0, WITHIN)
                assert "held back: a Dovecot runs on mail2 that can reach the store." in mail.type("status")
                assert not arrived.exists() and mail.there("jane") == 3
            until(arrived.exists, WITHIN)
            until(lambda: mail.status()["passives"][0]["sidecars_wait"] == 0, WITHIN)


@pytest.mark.issue("2.5 sidecars don't wait for a Dovecot in a container that can't reach the store")
@pytest.mark.parametrize("bound", [False, True], ids=["sees nothing of it", "has it mounted"])
def test_a_dovecot_in_a_container_counts_only_where_the_store_is_mounted(tmp_path: Path, bound: bool) -> None:
    """The agents run outside of the container and see its processes, as on a host with containers."""
    require.root()
    with pairs.in_memory() as memory:
        laid = pairs.Laid(memory, pairs.MEMORY)
        laid.session.initialise()
        pairs.Mailbox(laid.source / "ex.org/ann").folder(INBOX).deliver(b"Subject: x\n\n")
        binds = [(str(tmp_path), str(tmp_path))] + ([(str(laid.mirror), "/srv/mail")] if bound else [])
        with image.Root(binds=binds, net=image.LOOPBACK) as root, Host(tmp_path, root, other=False).serving():
            laid.sync()
            assert bool(laid.session.status().passives[0].sidecars_wait) == bound
            assert (laid.mirror / "ex.org/ann/dovecot-uidlist").exists() != bound
        laid.end()
        laid.sync()
        laid.end()
