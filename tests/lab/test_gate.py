"""The gate in a real kernel, seen by a client behind a cable: shut, open, run out, flushed, and its guard dead."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agent.gate import boottime
from tests.lab import generation
from tests.lab.waiting import until
from tests.support import image, require, seeds
from tests.support.netns import Network, new_namespace

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("gate")]

SERVER = """
import socket, sys, threading, time
def answer(there):
    for line in there.makefile("rb"):
        time.sleep(float(line))
        there.sendall(b"yes\\n")
def serve(port):
    here = socket.create_server(("", port), backlog=50)
    print(port, flush=True)
    while True:
        threading.Thread(target=answer, args=(here.accept()[0],), daemon=True).start()
threads = [threading.Thread(target=serve, args=(int(port),)) for port in sys.argv[1:]]
[thread.start() for thread in threads]
"""
"""Answers each line, a number, after so many seconds."""
OPEN, SHUT = "open", "shut"
TICKET = 0.25  # seconds: by so much a deadline may be passed, see gate.TICKET


class Far:
    """A host with a server on three ports and a process that holds the gate."""

    def __init__(self, root: image.Root, net: Network) -> None:
        self.root, self.net = root, net
        self.server = root.run(["python3", "-c", SERVER, "143", "25", "8080"], stdout=subprocess.PIPE)
        assert self.server.stdout is not None
        for _ in range(3):
            self.server.stdout.readline()
        self.start()

    def start(self, *before: str) -> None:
        """`before`: a program that starts it. It enters no pid namespace: what is stopped must be the keeper itself."""
        words = ["nsenter", f"--target={self.root.pid}", "--mount", "--net", "--", "env", "-C", "/opt", *before]
        words += ["python3", "-B", "-m", "tests.lab.gatekeeper"]
        pipe = subprocess.PIPE
        self.keeper = subprocess.Popen(words, env={"PATH": image.PATH}, stdin=pipe, stdout=pipe, text=True)

    def tell(self, method: str, argument: Any = None, stall: list[float] | None = None) -> Any:
        self.order(method, argument, stall)
        return self.answer()

    def order(self, method: str, argument: Any = None, stall: list[float] | None = None) -> None:
        assert self.keeper.stdin is not None
        self.keeper.stdin.write(json.dumps([method, argument, stall]) + "\n")
        self.keeper.stdin.flush()

    def answer(self) -> Any:
        assert self.keeper.stdout is not None
        return json.loads(self.keeper.stdout.readline())

    def open(self, seconds: float | None) -> float:
        """From now on; again when this machine stalled between a ticket and its use, which opens nothing. Returns a
        time (time.monotonic) that isn't before the one from which the seconds count.
        """
        until(lambda: self.tell("open", seconds) is True, what="the gate is open")
        return time.monotonic()

    def dies(self) -> None:
        self.keeper.kill()
        self.keeper.communicate()

    def state(self, port: int = 143) -> str:
        """What a client finds at a port."""
        try:
            with socket.create_connection((self.net.far, port), timeout=5) as there:
                return OPEN if ask(there) == b"yes\n" else SHUT
        except ConnectionRefusedError:
            return SHUT

    def nft(self, words: str) -> str:
        return self.root.check(["nft", *words.split()]).decode()

    def connect(self) -> socket.socket:
        return socket.create_connection((self.net.far, 143), timeout=10)


def ask(there: socket.socket, seconds: float = 0) -> bytes:
    """What is answered; nothing when the connection was reset."""
    try:
        there.sendall(b"%f\n" % seconds)
        return there.recv(10)
    except ConnectionError:
        return b""


@pytest.fixture(scope="module")
def host() -> Iterator[Far]:
    require.root()
    checkout = Path(__file__).resolve().parents[2]
    binds, packages = [(checkout, "/opt")], generation.PACKAGES
    with Network() as net, image.Root(binds=binds, net=net.path, packages=packages) as root:
        net.check(["ip", "link", "set", "lo", "up"])
        far = Far(root, net)
        yield far
        far.dies()


@pytest.fixture
def far(host: Far) -> Far:
    """With a gate that was just laid."""
    if host.keeper.poll() is not None:
        host.start()
    host.tell("remove")
    host.tell("lay")
    return host


def test_a_shut_gate_answers_nothing_and_leaves_all_else_alone(far: Far) -> None:
    assert far.tell("stands") and far.tell("left") is None
    assert [far.state(port) for port in (143, 25, 8080)] == [SHUT, SHUT, OPEN]
    assert far.root.check(["python3", "-c", "import socket; socket.create_connection(('127.0.0.1', 143))"]) == b""


@pytest.mark.issue("4.2 the kernel ends the lease at its deadline: next packet reset, new connections refused")
def test_an_open_gate_ends_at_its_deadline_and_takes_standing_connections_with_it(far: Far) -> None:
    began = time.monotonic()
    opened = far.open(2.0)
    with far.connect() as there, far.connect() as late:
        assert ask(there) == b"yes\n"
        late.sendall(b"2.5\n")  # is answered half a second too late
        last = until_shut(there)
        assert time.monotonic() >= began + 1.8, "not before"
        assert last <= opened + 2.0 + TICKET, "nor after"
        assert late_answer(late) == b""
    assert far.state() == SHUT


def until_shut(there: socket.socket) -> float:
    """When the last question was asked that was answered: however long this machine stalls, the gate was open then."""
    asked = time.monotonic()
    while True:
        now = time.monotonic()
        if ask(there) != b"yes\n":
            return asked
        asked = now
        time.sleep(0.02)


def late_answer(there: socket.socket) -> bytes:
    """What still comes out, within a second and a half."""
    there.settimeout(1.5)
    try:
        return there.recv(10)
    except (TimeoutError, ConnectionError):
        return b""


@pytest.mark.issue("4.2 the lab stopping nft and the guard at every point of a renewal")
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_renewal_that_stands_still_at_any_point_opens_nothing_after_its_deadline(
    far: Far, number: int, when: str
) -> None:
    """Transaction 1 lays the ticket, 2 opens. It goes on 1.5 s later, 1 s after the deadline that it was given."""
    told = far.tell("open", 0.5, [number, *((1.5, 0.0) if when == "before" else (0.0, 1.5))])
    opened = (number, when) == (2, "after")
    assert told is opened
    assert far.tell("left") is None and far.state() == SHUT
    far.open(5.0)
    assert far.state() == OPEN, "the next one does"


@pytest.mark.issue(
    "4.2 the lab stopping nft and the guard at every point of a renewal: inside nftables, before a commit"
)
@pytest.mark.parametrize("commit", [2, 3], ids=["of the ticket", "of the opening"])
def test_a_renewal_that_stands_still_inside_nftables_opens_nothing(far: Far, commit: int) -> None:
    """The system call that commits is held for 1.5 s by strace, half a second beyond the deadline. 1 lays."""
    far.tell("remove")
    far.dies()
    delay = f"inject=sendmsg:delay_enter=1500000:when={commit}"
    far.start("strace", "-qq", "-o", "/dev/null", "-e", "trace=sendmsg", "-e", delay)
    far.tell("lay")
    began = time.monotonic()
    assert far.tell("open", 1.0) is False
    assert time.monotonic() - began > 1.4, "the commit was held"
    assert far.tell("left") is None and far.state() == SHUT
    far.open(5.0)
    assert far.state() == OPEN, "the next one does"
    far.keeper.communicate("")  # strace wouldn't take the keeper with it


@pytest.mark.issue("4.2 the lab stopping nft and the guard at every point of a renewal: wherever it was")
def test_a_guard_that_is_stopped_wherever_it_was_opens_nothing_after_its_deadline(far: Far) -> None:
    dice = random.Random(seeds.drawn("stopped_wherever"))
    for _ in range(6):
        moment, deadline = dice.uniform(0, 0.002), boottime() + 0.5
        far.order("open_until", deadline)
        time.sleep(moment)
        far.keeper.send_signal(signal.SIGSTOP)
        try:
            time.sleep(max(0.0, deadline + 0.5 - boottime()))
            assert far.state() == SHUT, f"stopped after {moment * 1000:.2f} ms"
        finally:
            far.keeper.send_signal(signal.SIGCONT)
        far.answer()
        assert far.tell("left") is None and far.state() == SHUT


@pytest.mark.issue("4.2 a commit later than the ticket fails whole")
def test_a_commit_that_comes_later_than_the_ticket_changes_nothing_though_the_deadline_is_far(far: Far) -> None:
    assert far.tell("open", 60.0, [2, 0.6, 0.0]) is False
    assert far.tell("left") is None and far.tell("stands")


@pytest.mark.issue("4.P guard killed; guard hung: the gate shuts at the deadline")
@pytest.mark.parametrize("how", ["killed", "hung"])
def test_a_guard_that_dies_or_hangs_leaves_a_gate_that_shuts(far: Far, how: str) -> None:
    opened = far.open(2.0)
    if how == "killed":
        far.dies()
    else:
        far.keeper.send_signal(signal.SIGSTOP)
    try:
        with far.connect() as there:
            assert until_shut(there) <= opened + 2.0 + TICKET
        assert far.state() == SHUT
    finally:
        if how == "hung":
            far.keeper.send_signal(signal.SIGCONT)


@pytest.mark.issue("4.P ruleset flushed")
def test_a_foreign_flush_takes_one_table_and_the_other_still_holds(far: Far) -> None:
    far.nft("flush ruleset")
    assert far.state() == SHUT and not far.tell("stands")
    assert str(far.tell("open", 5.0)).startswith("refused"), "it isn't opened by half"
    assert far.state() == SHUT
    far.tell("lay")
    assert far.tell("stands") and far.state() == SHUT
    far.open(2.0)
    far.nft("flush ruleset")
    with far.connect() as there:
        until_shut(there)
    assert far.state() == SHUT, "the table that the guard owns ends it too"


def test_tables_that_went_while_it_was_open_are_laid_again_and_nobody_is_cut_off(far: Far) -> None:
    assert far.tell("lay_open", 3.0) is True and far.tell("stands")
    with far.connect() as there:
        far.nft("flush ruleset")
        assert ask(there) == b"yes\n" and not far.tell("stands")
        assert far.tell("lay_open", 2.0) is True
        opened = time.monotonic()
        assert far.tell("stands") and ask(there) == b"yes\n"
        assert until_shut(there) <= opened + 2.0 + TICKET
    assert far.tell("lay_open", 60.0, [2, 0.6, 0.0]) is False, "later than its ticket"
    assert far.tell("left") is None and far.state() == SHUT


def test_laying_again_what_went_cuts_off_nobody_who_is_talking(far: Far) -> None:
    assert far.tell("lay_open", 60.0) is True
    over = threading.Event()

    def talk() -> int:
        count = 0
        with far.connect() as there:
            while not over.is_set():
                assert ask(there) == b"yes\n", f"cut off after {count} answers"
                count += 1
        return count

    with ThreadPoolExecutor(1) as aside:
        talking = aside.submit(talk)
        try:
            for _ in range(15):
                far.nft("flush ruleset")
                until(lambda: far.tell("lay_open", 60.0) is True and far.tell("stands"))
        finally:
            over.set()
        assert talking.result(30) > 15


@pytest.mark.issue("4.2 only both tables gone at once open the gate")
def test_only_a_flush_and_the_guards_death_together_open_it_and_the_next_guard_shuts_it(far: Far) -> None:
    far.dies()
    assert far.state() == SHUT
    far.start()
    far.tell("lay")
    far.nft("flush ruleset")
    far.dies()
    until(lambda: far.state() == OPEN, what="the kernel has removed the dead one's table")
    far.start()
    far.tell("lay")
    assert far.state() == SHUT


@pytest.mark.issue("4.2 a guard that is restarted doesn't cut the connections of a place that serves")
def test_a_guard_that_starts_again_keeps_what_the_last_one_left_open_and_no_longer(far: Far) -> None:
    opened = far.open(4.0)
    with far.connect() as there:
        assert ask(there) == b"yes\n"
        far.dies()
        far.start()
        far.tell("resume")
        assert ask(there) == b"yes\n"
        assert until_shut(there) <= opened + 4.0 + TICKET
    far.tell("resume")
    assert far.state() == SHUT
    far.open(None)
    assert far.tell("left") == float("inf")


@pytest.mark.issue("4.2 queue-only: port 25 answers, deliveries go to the active's fixed address alone")
def test_a_passive_place_takes_mail_and_hands_it_to_the_active_alone(far: Far) -> None:
    relay = socket.create_server((far.net.near, 24))
    with contextlib.closing(relay):
        reach = f"import socket; socket.create_connection(({far.net.near!r}, 24), 5)"
        far.tell("lay", far.net.near)
        assert [far.state(25), far.state(143)] == [OPEN, SHUT]
        far.root.check(["python3", "-c", reach])
        far.tell("lay", "198.51.100.1")
        with pytest.raises(subprocess.CalledProcessError) as refused:
            far.root.check(["python3", "-c", reach])
        assert b"ConnectionRefusedError" in refused.value.stderr or b"ConnectionReset" in refused.value.stderr


def test_a_redirected_port_is_judged_by_the_port_that_the_client_asked_for(far: Far) -> None:
    far.nft("add table ip site")
    far.nft("add chain ip site turns { type nat hook prerouting priority -100 ; }")
    far.nft("add rule ip site turns tcp dport 143 redirect to :8080")
    try:
        assert [far.state(port) for port in (143, 8080)] == [SHUT, OPEN]
        far.open(2.0)
        with far.connect() as there, far.connect() as late:
            late.sendall(b"2.5\n")
            until_shut(there)
            assert late_answer(late) == b""
    finally:
        far.nft("delete table ip site")


@contextlib.contextmanager
def published(far: Far) -> Iterator[None]:
    """A container on the host that answers at the host's port 143, as a container engine publishes it."""
    inside = new_namespace()
    path = f"/proc/{os.getpid()}/fd/{inside}"
    enter = ["nsenter", f"--net={path}", "--"]
    link = ["ip", "link", "add", "ct0", "type", "veth", "peer", "name", "eth0", "netns", path]
    try:
        far.net.check(link)
        far.net.check(["ip", "address", "add", "10.88.0.1/24", "dev", "ct0"])
        far.net.check(["ip", "link", "set", "ct0", "up"])
        far.net.check(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])
        for words in ("address add 10.88.0.2/24 dev eth0", "link set eth0 up", "route add default via 10.88.0.1"):
            subprocess.run([*enter, "ip", *words.split()], check=True)
        far.nft("add table ip published")
        far.nft("add chain ip published turns { type nat hook prerouting priority -100 ; }")
        far.nft(f"add rule ip published turns ip daddr {far.net.far} tcp dport 143 dnat to 10.88.0.2:8143")
        command = [*enter, sys.executable, "-c", SERVER, "8143"]
        with image.running(subprocess.Popen(command, stdout=subprocess.PIPE)) as server:
            assert server.stdout is not None
            server.stdout.readline()
            yield
    finally:
        far.nft("add table ip published")
        far.nft("delete table ip published")
        os.close(inside)


@pytest.mark.issue("4.2 published container ports are gated in forward: refused, reset, and no late answer")
def test_a_port_that_is_published_from_a_container_is_gated_too(far: Far) -> None:
    with published(far):
        assert far.state() == SHUT
        opened = far.open(2.0)
        assert far.state() == OPEN
        counted = far.net.check(["cat", "/proc/net/snmp"]).split("\nIp: ")[1].split()
        assert int(counted[5]) > 0, "it was forwarded"
        with far.connect() as there, far.connect() as late:
            late.sendall(b"2.5\n")
            assert until_shut(there) <= opened + 2.0 + TICKET
            assert late_answer(late) == b""
        assert far.state() == SHUT
    far.open(1.0)
    assert far.state() == OPEN, "by the host's own server again"


def test_no_other_firewall_lets_pass_what_is_shut(far: Far) -> None:
    far.nft("add table inet site")
    try:
        for hook, priority in (("input", -300), ("input", 300), ("output", -300), ("output", 300)):
            chain = f"{hook}{abs(priority)}{'late' if priority > 0 else ''}"
            far.nft(f"add chain inet site {chain} {{ type filter hook {hook} priority {priority} ; policy accept ; }}")
            far.nft(f"add rule inet site {chain} accept")
        assert far.state() == SHUT
    finally:
        far.nft("delete table inet site")


@pytest.mark.parametrize(
    "change",
    [
        "flush table inet mailmirror_gate",
        "add table inet mailmirror_gate { flags dormant ; }",
        "insert rule inet mailmirror_gate leaves accept",
    ],
)
def test_a_foreign_change_of_the_plain_table_opens_nothing_and_is_noticed(far: Far, change: str) -> None:
    assert far.tell("stands")
    far.nft(change)
    assert far.state() == SHUT and not far.tell("stands")
    far.tell("lay")
    assert far.tell("stands") and far.state() == SHUT


def test_a_renewal_cuts_nobody_and_may_shorten(far: Far) -> None:
    far.open(3.0)
    began = time.monotonic()
    with far.connect() as there:
        while time.monotonic() - began < 4.0:
            far.tell("open", 3.0)
            assert ask(there) == b"yes\n"
    far.open(0.3)
    until(lambda: far.state() == SHUT, within=5.0)


def test_removed_it_leaves_no_table(far: Far) -> None:
    far.tell("remove")
    assert "mailmirror" not in far.nft("list ruleset")
    assert far.state() == OPEN
