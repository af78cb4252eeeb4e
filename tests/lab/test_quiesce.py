"""An active place on a real host made quiet for a switchover, and left alone by whoever asked for it."""

from __future__ import annotations

import functools
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab import post
from tests.lab.guarded import TTL, answers, guarded_site, order, serves, status, wait_armed
from tests.lab.plan import PORTS, User
from tests.lab.site import Site
from tests.lab.waiting import until
from tests.support import require

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("guards")]

ASK = """
import json, sys
sys.path.append("/usr/lib/mailmirror/code/current")
from orchestrator.agent import services
from orchestrator.agent.serve import Fault
try:
    work = services.done(json.load(sys.stdin))
    while True:
        next(work)
except StopIteration as end:
    print(json.dumps(end.value.head))
except Fault as fault:
    print(json.dumps({"code": fault.code, "why": str(fault), "remedy": fault.remedy}))
"""
SOON = 2 * TTL + 10
"""Seconds within which an active that may serve does, on a machine that stalls too."""


@pytest.fixture(scope="module")
def whole() -> Iterator[Site]:
    require.hosts()
    with guarded_site() as site:
        yield site


class Active:
    """The primary, quiet by an operation of this test's own."""

    def __init__(self, site: Site, operation: str) -> None:
        self.site, self.host, self.operation = site, site.primary, operation

    def quiesce(self, seconds: float) -> None:
        told = order(self.host, verb="quiesce", operation=self.operation, epoch=1, seconds=seconds)
        assert told["quiet"]["operation"] == self.operation, told

    def ask(self, do: str, **head: object) -> dict[str, Any]:
        """What the agent there answers."""
        line = json.dumps({"do": do, "operation": self.operation, "epoch": 1, **head})
        told: dict[str, Any] = json.loads(
            self.host.run(["/usr/bin/python3", "-I", "-S", "-c", ASK], stdin=line, timeout=60)
        )
        return told

    def stop(self) -> None:
        self.ask("reject", seconds=60)
        self.ask("drain")
        told = self.ask("stop")
        assert (told["state"], told["why"]) == ("DONE", [])

    def resume(self) -> None:
        order(self.host, verb="resume", epoch=1)


@pytest.fixture
def active(whole: Site, request: pytest.FixtureRequest) -> Iterator[Active]:
    it = Active(whole, request.node.name)
    yield it
    it.resume()
    until(lambda: serves(whole) and status(it.host)["hands"]["done"], within=SOON, what="it serves again")


def connected(site: Site, port: str) -> socket.socket:
    with site.client.network():
        there = socket.create_connection((site.primary.address, PORTS[port]), 5)
    there.settimeout(10)
    there.recv(500)
    return there


def in_data(site: Site, user: User, subject: str) -> socket.socket:
    """A session in the middle of a letter."""
    there = connected(site, "smtp")
    for line in ("EHLO client", "MAIL FROM:<s@elsewhere.test>", f"RCPT TO:<{user.address}>", "DATA"):
        there.sendall(line.encode() + b"\r\n")
        assert there.recv(2000)[:1] in b"23"
    there.sendall(f"Date: Mon, 1 Jan 2024 00:00:00 +0000\r\nSubject: {subject}\r\n\r\nhel".encode())
    return there


def logged_in(site: Site, user: User) -> socket.socket:
    there = connected(site, "imap")
    there.sendall(f"a LOGIN {user.address} {user.password}\r\n".encode())
    assert b"a OK" in there.recv(2000)
    there.sendall(b"b SELECT INBOX\r\n")
    until(lambda: b"b OK" in there.recv(4000), what="its INBOX is open")
    there.sendall(b"c IDLE\r\n")
    assert there.recv(500).startswith(b"+")
    return there


def ended(there: socket.socket) -> bytes:
    """What comes until the other end closes, or nothing comes for a while."""
    said = b""
    try:
        while data := there.recv(4000):
            said += data
    except (TimeoutError, ConnectionError):
        return said
    return said


def has(site: Site, user: User, subject: str) -> None:
    """Waits until a letter is in the INBOX, once, of a primary that serves or soon does."""
    until(lambda: serves(site), within=SOON, what="it serves")
    site.primary.attempt("postqueue -f")  # what was put off needn't wait for its turn
    until(lambda: post.subjects(site, user).count(subject) == 1, within=40, every=0.5, what=f"{subject!r} is there")


@pytest.mark.issue("5.2 letter in DATA gets its 250, new connections are refused, idle IMAP is kicked, no writer left")
def test_whoever_is_in_the_middle_is_answered_and_nobody_new_gets_in(active: Active) -> None:
    site, user = active.site, active.site.users[0]
    letter, idle = in_data(site, user, "in data"), [logged_in(site, user) for _ in range(5)]
    assert active.ask("reject", seconds=60)["code"] == "refused", "the guard comes first"
    assert active.ask("look")["left"] == [1, 0, 5]
    active.quiesce(90)
    told = active.ask("reject", seconds=60)
    assert set(told["rejects"]) >= {"24", "25", "110", "143", "587", "993", "4190"} and told["quiet"]["left"] > 60
    for port in ("smtp", "submission", "imap", "imaps", "pop3", "sieve"):
        with pytest.raises(ConnectionRefusedError):
            connected(site, port)
    assert active.host.run("exec 3<>/dev/tcp/127.0.0.1/143 && head -c4 <&3; true".join(["bash -c '", "'"])) == "* OK"
    letter.sendall(b"lo\r\n.\r\n")
    assert letter.recv(500).startswith(b"250")
    letter.sendall(b"QUIT\r\n")
    began = time.monotonic()
    told = active.ask("drain")
    print(f"drained in {time.monotonic() - began:.2f} s with the agent's start")
    assert not told["cut"] and told["left"] == [0, 0, 0]
    assert all(b"* BYE" in ended(there) for there in idle)
    began = time.monotonic()
    told = active.ask("stop")
    print(f"stopped in {time.monotonic() - began:.2f} s with the agent's start")
    assert (told["state"], told["why"]) == ("DONE", [])
    told = active.ask("look")
    assert told["writers"] == [] and {(state, count) for _, state, count in told["units"]} == {("inactive", 0)}
    active.host.attempt("systemctl start dovecot.service postfix.service")
    assert active.ask("look")["writers"] == [], "the boot gate keeps them down"
    assert status(active.host)["serves"] and status(active.host)["armed"], "it holds its lease"
    assert active.ask("open")["state"] == "NOT_DONE", "the guard forbids it"
    active.resume()
    until(lambda: active.ask("open")["state"] == "DONE", what="it is open again")
    assert active.ask("open")["rejects"] == {}
    has(site, user, "in data")


@pytest.mark.issue("5.2 drain with a cap: who still sends is cut before its 250 and never after")
def test_a_letter_that_does_not_end_is_cut_and_one_that_has_ended_is_answered(active: Active) -> None:
    """The one whose last dot came is held up in `cleanup` until clients are silenced, and has its 250 all the same."""
    site, user = active.site, active.site.users[1]
    ends, does_not = in_data(site, user, "ends"), in_data(site, user, "does not end")
    active.quiesce(90)
    active.ask("reject", seconds=60)
    active.host.run("pkill -STOP -x cleanup")
    ends.sendall(b"lo\r\n.\r\n")
    silenced = "while ! nft list set inet mailmirror_quiet silenced | grep -q expires; do sleep 0.01; done"
    thaws = active.host.start(["sh", "-c", f"{silenced}; pkill -CONT -x cleanup"])
    told = active.ask("drain", seconds=0.3)
    assert thaws.wait(10) == 0
    assert told["cut"] and set(told["silenced"]) >= {"25", "587"} and "143" not in told["silenced"]
    assert ends.recv(500).startswith(b"250")
    does_not.sendall(b"lo\r\n.\r\n")
    assert active.ask("stop")["state"] == "DONE"
    assert b"250" not in ended(does_not)
    active.resume()
    has(site, user, "ends")


@pytest.mark.issue("5.3 before the point of no return agents roll back by timer when the controller vanishes")
@pytest.mark.parametrize("how", ["drained", "stopped, and the guard killed"])
def test_when_nobody_asks_any_more_it_serves_again_by_itself(active: Active, how: str) -> None:
    active.quiesce(8)
    if how == "drained":
        active.ask("reject", seconds=60)
        assert not active.ask("drain")["cut"]
    else:
        active.stop()
        active.host.kill("mailmirror-guard.service")
        until(lambda: active.host.attempt("mailmirror-guard status").returncode == 0, what="the guard is back")
        assert status(active.host)["quiet"] is not None
    assert not answers(active.site, active.host)
    for port in ("imap", "smtp"):
        until(functools.partial(answers, active.site, active.host, port), within=SOON, what=f"{port} answers")
    assert status(active.host)["quiet"] is None
    until(lambda: "mailmirror_quiet" not in active.host.run("nft list tables"), what="nobody is refused any more")
    post.send(active.site, active.site.users[2], how)
    has(active.site, active.site.users[2], how)


@pytest.mark.issue("5.3 before the point of no return a reboot rolls back too")
def test_after_a_reboot_it_serves_again(active: Active) -> None:
    active.quiesce(300)
    active.stop()
    active.host.power_cut()
    active.host.switch_on()
    active.host.wait_booted()
    until(lambda: serves(active.site), within=SOON, what="it serves")
    assert status(active.host)["quiet"] is None
    wait_armed(active.site)


@pytest.mark.issue("5.2 soft_bounce on a fresh active, ended by timer")
def test_a_fresh_active_bounces_nothing_for_good_for_a_while(whole: Site) -> None:
    """The last test: the mirror is active afterwards."""
    mirror = whole.mirror
    path = "/etc/mailmirror/guard.json"
    settings = json.loads(mirror.run(f"cat {path}"))
    mirror.run(f"cat > {path}", stdin=json.dumps({**settings, "soft": 15}))
    mirror.systemctl("restart", "mailmirror-guard.service")
    until(lambda: status(mirror)["hands"]["queues"], within=30, what="the mirror queues again")
    before = mirror.run("cat /var/lib/mailmirror-guard/posture.json")
    told = order(whole.primary, verb="quiesce", operation="switch", epoch=1, seconds=60)
    order(whole.primary, verb="tombstone", operation="switch tombstone", epoch=2, quiet="switch")
    for host in (whole.witness, mirror):
        told = order(host, verb="advance", operation="switch", epoch=2, active="mirror", proof="a tombstone")
        assert told["epoch"] == 2
    value = "postconf -h soft_bounce"
    until(lambda: answers(whole, mirror, "imap"), within=SOON, what="the mirror serves")
    refused = post.attempt(whole, User("nobody@example.test", ""), "for nobody", server="mail2")
    assert " 450 " in refused.stdout and status(mirror)["soft"], refused.stdout
    until(lambda: mirror.run(value) == "no\n", within=30, what="its time is over")
    assert status(mirror)["soft"] == 0
    [kept] = json.loads(before)["instances"].values()
    assert mirror.run("cat /etc/postfix/main.cf") == kept["whole"], "as it was before it was ever held"
    record = "test -e /var/lib/mailmirror-guard/posture.json"  # it goes after Postfix has read its configuration
    until(lambda: mirror.attempt(record).returncode != 0, within=10, what="nothing is held")
