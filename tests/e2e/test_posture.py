"""A real Postfix put into its queue-only posture and out of it again, with an operator who changes things meanwhile."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.waiting import until
from tests.support import require
from tests.support.postfix import MAIN, STATE, Postfix

pytestmark = pytest.mark.lab

ACTIVE = "192.0.2.11"


@pytest.fixture(scope="module")
def running() -> Iterator[Postfix]:
    require.root()
    with Postfix() as postfix:
        yield postfix


@pytest.fixture
def postfix(running: Postfix) -> Iterator[Postfix]:
    running.call("release")
    running.write(MAIN)
    running.check("postfix reload 2> /dev/null")
    yield running
    running.call("release")


def held(postfix: Postfix) -> str | None:
    """Where it relays; fails unless it only queues, or does so soon."""
    to: str | None = until(lambda: _done(postfix.call("held")), what="held")[1]
    return to


def _done(proof: list[Any]) -> list[Any]:
    return proof if proof[0] == "DONE" else []


@pytest.mark.issue("4.2 queue-only posture of a passive Postfix: put back exactly as it was")
def test_undone_it_is_byte_for_byte_as_it_was(postfix: Postfix) -> None:
    assert postfix.call("held")[0] == "NOT_DONE"
    mode = postfix.check("stat -c '%a %u %g' /etc/postfix/main.cf")
    postfix.call("hold", ACTIVE)
    assert held(postfix) == ACTIVE
    postfix.call("hold", None)
    assert held(postfix) is None
    assert postfix.call("release") == []
    assert postfix.main == MAIN
    assert postfix.check("stat -c '%a %u %g' /etc/postfix/main.cf") == mode
    assert postfix.call("held")[0] == "NOT_DONE"
    assert postfix.check(f"find {STATE} /etc/postfix -name '*-new' -o -name posture.json") == ""


SILENT = """
import socket, sys
server = socket.create_server(("127.0.0.9", 25))
kept = []
print("listens", flush=True)
while True:
    kept.append(server.accept())
    print("asked", flush=True)
"""


@pytest.mark.issue("5.2 inbound mail that the second MX took is delivered at once when it becomes the active")
def test_what_hangs_at_a_dead_active_is_delivered_as_soon_as_it_is_released(postfix: Postfix) -> None:
    """An active that is frozen takes connections and says nothing: a client waits for it five minutes."""
    dead = postfix.root.run(["/usr/bin/python3", "-c", SILENT], stdout=subprocess.PIPE, text=True)
    try:
        assert dead.stdout and dead.stdout.readline() == "listens\n"
        postfix.call("hold", "127.0.0.9")
        assert held(postfix) == "127.0.0.9"
        postfix.check("printf 'Subject: to be relayed\\n\\nHello.\\n' | sendmail -f a@b.test ann@example.test")
        assert dead.stdout.readline() == "asked\n"
        assert postfix.call("soften") == []
        found = "grep -rl 'to be relayed' /var/vmail | wc -l"
        until(lambda: postfix.check(found).strip() == "1", within=10, what="the letter is in its mailbox")
        postfix.call("release")
        assert postfix.check(found).strip() == "1", "and there once"
    finally:
        dead.kill()
        dead.wait()
        postfix.check("rm -rf /var/vmail/*")


@pytest.mark.issue("5.2 soft_bounce on a fresh active alone, put back byte for byte")
def test_a_fresh_active_keeps_soft_bounce_alone_until_it_is_released(postfix: Postfix) -> None:
    before = postfix.values()
    assert postfix.call("soften") == [] and postfix.main == MAIN, "nothing was held"
    postfix.call("hold", ACTIVE)
    held(postfix)
    for _ in range(2):
        assert postfix.call("soften") == []
        assert set(postfix.values().splitlines()) - set(before.splitlines()) == {"soft_bounce = yes"}
    postfix.call("hold", None)
    assert held(postfix) is None, "demoted meanwhile"
    postfix.call("soften")
    postfix.check("postconf -e relayhost=[new.example.test]")
    assert "relayhost = [new.example.test] is left as it is" in postfix.call("release")[0]
    assert postfix.values() == before.replace("[smarthost.example.test]:587", "[new.example.test]")


def test_a_second_time_nothing_is_written_and_nothing_is_reloaded(postfix: Postfix) -> None:
    postfix.call("hold", ACTIVE)
    held(postfix)
    look = "stat -c '%i %Y' /etc/postfix/main.cf; pgrep -x qmgr"
    before = postfix.check(look)
    assert postfix.call("hold", ACTIVE)[0] == "DONE"
    assert postfix.check(look) == before


def test_what_an_operator_changed_meanwhile_is_told_and_kept(postfix: Postfix) -> None:
    postfix.call("hold", None)
    postfix.check("postconf -e relayhost=[new.example.test] myorigin=example.test soft_bounce=no")
    assert held_not(postfix) == ["/etc/postfix: relayhost = [new.example.test]", "/etc/postfix: soft_bounce = no"]
    told = postfix.call("hold", ACTIVE)[3]
    assert [line.partition(": ")[2] for line in told] == [
        "relayhost = [new.example.test] is put back later",
        "soft_bounce = no is put back later",
    ]
    assert held(postfix) == ACTIVE
    postfix.check("postconf -e virtual_transport=lmtp:unix:private/other")
    left = postfix.call("release")
    assert (
        len(left) == 1 and "virtual_transport = lmtp:unix:private/other is left as it is; it was (not set)" in left[0]
    )
    values = postfix.values()
    assert "relayhost = [new.example.test]\n" in values and "myorigin = example.test\n" in values
    assert "soft_bounce = no\n" in values and "default_transport" not in values and "partner.test=" in values


def held_not(postfix: Postfix) -> list[str]:
    proof = postfix.call("held")
    assert proof[0] == "NOT_DONE"
    return [line for line in proof[2] if "old values" not in line]


def test_a_value_of_a_service_of_its_own_is_refused(postfix: Postfix) -> None:
    postfix.check("postconf -P smtp/unix/smtp_fallback_relay=[elsewhere.test]")
    try:
        fault = postfix.call("hold", None)
        assert fault["code"] == "overridden" and "smtp/unix/smtp_fallback_relay = [elsewhere.test]" in fault["message"]
    finally:
        postfix.check("postconf -PX smtp/unix/smtp_fallback_relay")
    assert postfix.main == MAIN


def test_an_active_that_is_no_address_changes_nothing(postfix: Postfix) -> None:
    for odd in ("", "a b", "x]:25, other", "-x"):
        assert postfix.call("hold", odd)["code"] == "bad-request"
    assert postfix.main == MAIN


@pytest.mark.issue("4.2 queue-only posture of a passive Postfix: every instance")
def test_every_instance_is_held(postfix: Postfix) -> None:
    postfix.check(
        "postmulti -e init 2> /dev/null && postmulti -I postfix-out -e create && postmulti -i postfix-out -e enable"
    )
    second = "/etc/postfix-out"
    try:
        before, first = postfix.values(second), postfix.values()
        proof = postfix.call("hold", ACTIVE)
        assert sorted(proof[4]) == ["/etc/postfix", second]
        assert held(postfix) == ACTIVE
        assert f"virtual_transport = smtp:[{ACTIVE}]:25" in postfix.values(second)
        postfix.call("release")
        assert (postfix.values(second), postfix.values()) == (before, first)
    finally:
        postfix.check("postmulti -i postfix-out -e disable; postmulti -i postfix-out -e destroy")


def test_a_delivery_that_had_begun_isnt_held_yet(postfix: Postfix) -> None:
    """It ends as it began; until then the posture isn't proven."""
    postfix.check("postconf -e 'virtual_transport=lmtp:inet:127.0.0.1:2424' && postfix reload 2> /dev/null")
    deaf = postfix.root.run(["/usr/bin/python3", "-c", SLOW])
    try:
        until(lambda: "listening" in postfix.check("ss -ltn 'sport = 2424' | grep -c LISTEN | sed 's/1/listening/'"))
        postfix.check("echo hello | sendmail -f a@b.test u@example.test")
        until(lambda: postfix.check("pgrep -x lmtp || true"), what="a delivery is on")
        assert any("lmtp[" in line for line in postfix.call("hold", None)[2])
        assert postfix.call("held")[0] == "NOT_DONE"
    finally:
        deaf.terminate()
        deaf.wait()
    assert held(postfix) is None
    postfix.check("postsuper -d ALL 2> /dev/null")


SLOW = """
import socket, time
listening = socket.create_server(("127.0.0.1", 2424))
talk, _ = listening.accept()
time.sleep(120)
"""


@pytest.mark.issue("4.2 queue-only posture of a passive Postfix: final transports held, whatever is typed")
def test_postqueue_flush_delivers_nothing(postfix: Postfix) -> None:
    postfix.call("hold", None)
    held(postfix)
    for to in ("u@example.test", "root@mail.example.test", "someone@partner.test", "someone@elsewhere.test"):
        postfix.check(f"echo hello | sendmail -f a@b.test {to}")
    reasons = "postqueue -j | grep -c 'mailmirror-no-active-known' || true"
    until(lambda: (postfix.check("postqueue -f"), postfix.check(reasons))[1] == "4\n", what="all four wait")
    boxes = "find /var/vmail /var/mail -name yes -o -name root"
    assert postfix.check(boxes) == ""
    postfix.call("release")
    postfix.check("postqueue -f")
    until(lambda: postfix.check(boxes), what="it is delivered afterwards")
    postfix.check("postsuper -d ALL 2> /dev/null")
