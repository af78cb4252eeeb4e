"""Bodies over several channels of one real SSH connection: where they pay, in order, refused, broken, and fenced in."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from orchestrator.agent.wire import Decoder, Frame, Kind, encode
from orchestrator.demo.mailbox import Folder
from orchestrator.errors import HostUnreachable, LinkLost
from orchestrator.inventory import Host, Store
from orchestrator.remote import bootstrap, ssh
from orchestrator.remote.host import Conversation
from orchestrator.remote.install import install, key_line
from orchestrator.remote.opening import open_conversation
from orchestrator.replication import width
from orchestrator.replication.report import Progress
from orchestrator.replication.session import Session
from tests.support import pairs, require
from tests.support.relay import Relay
from tests.support.sshd import Sshd, make_key, running_sshd

pytestmark = pytest.mark.lab
MANY, LARGE = 100, 400_000
"""Messages and their bytes: several batches, the first of which is sent before there are lanes."""
STORE = "/srv/store"


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    require.root()
    with running_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@dataclass
class Far:
    """A pair whose both ends are 30 ms away, with mail that isn't copied yet."""

    laid: pairs.Laid
    sshd: Sshd
    inbox: Folder
    events: list[tuple[str, str]] = field(default_factory=list)

    @property
    def sink(self) -> Conversation:
        return self.laid.links[pairs.SINKS[0]]

    def sync(self, between: Callable[[Progress], None] | None = None) -> None:
        self.laid.session  # noqa: B018 - opens the links
        Session(self.laid.pair, self.laid.links, on_event=lambda *event: self.events.append(event)).sync(between)

    def lanes(self) -> list[int]:
        """The processes that lend their input to an agent, by their pid outside."""
        found = []
        for pid in self.sshd.sessions():
            with suppress(OSError):  # it left meanwhile
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                found += [pid] if b"lane" in words[-3:] else []
        return found


@contextmanager
def far_pair(sshd: Sshd, name: str, delay: float = 0.015) -> Iterator[Far]:
    with Relay(("127.0.0.1", sshd.port), delay=delay) as relay:
        known = sshd.known_hosts.with_name(f"known-{name}")
        known.write_text(sshd.known_hosts.read_text().replace(str(sshd.port), str(relay.address[1])))
        base = sshd.log.parent / name
        laid = pairs.Laid(base, pairs.SSH, sshd=replace(sshd, port=relay.address[1], known_hosts=known))
        try:
            laid.session.initialise()
            inbox = pairs.Mailbox(laid.source / "ex.org/ann").folder("INBOX")
            for number in range(MANY):
                inbox.deliver(b"Subject: %d\n\n" % number + os.urandom(LARGE))
            yield Far(laid, sshd, inbox)
        finally:
            laid.end()


@pytest.fixture
def far(sshd: Sshd, tmp_path: Path) -> Iterator[Far]:
    with far_pair(sshd, tmp_path.name) as made:
        yield made


@pytest.mark.issue("2.3 several channels where one sshd window would be the limit: by itself, to a far place")
def test_a_far_place_gets_lanes_and_a_true_copy(far: Far) -> None:
    seen: list[int] = []
    far.sync(lambda _: seen.append(len(far.lanes())))
    assert (far.sink.widened, far.sink.narrow, max(seen)) == (True, "", width.LANES)
    assert far.sink.rtt >= 0.03 and far.events == []
    pairs.equal(far.laid)
    far.laid.end()
    deadline = time.monotonic() + 10
    while far.lanes() and time.monotonic() < deadline:
        time.sleep(0.02)  # processes of another namespace: nothing to wait for
    assert far.lanes() == []


def test_a_near_place_gets_none(sshd: Sshd, tmp_path: Path) -> None:
    with far_pair(sshd, tmp_path.name, delay=0.0) as near:
        near.laid.session  # noqa: B018 - opens the links
        deadline = time.monotonic() + 10
        while not 0 < near.sink.rtt < width.FAR and time.monotonic() < deadline:
            time.sleep(0.1)  # the first PING may meet a busy machine
        near.sync()
        assert not near.sink.widened and near.sink.rtt < width.FAR
        pairs.equal(near.laid)


def test_a_pass_with_little_to_send_opens_none(far: Far) -> None:
    far.sync()
    far.laid.open()
    far.inbox.deliver(b"one more\n")
    far.sync()
    assert not far.sink.widened and far.sink.rtt >= 0.03


@pytest.mark.issue("2.3 several channels: one that breaks ends the conversation, and the next goes on")
def test_a_lane_that_is_killed_ends_the_conversation_and_the_next_pass_goes_on(far: Far) -> None:
    killed: list[int] = []

    def kill(_: Progress) -> None:
        if not killed and len(far.lanes()) == width.LANES:
            killed.append(far.lanes()[0])
            os.kill(killed[0], signal.SIGKILL)

    with pytest.raises(LinkLost, match="a lane"):
        far.sync(kill)
    assert killed
    held = {path: facts[-1] for path, facts in pairs.messages(far.laid.mirror).items()}
    assert 0 < len(held) < MANY
    assert held.items() <= {path: facts[-1] for path, facts in pairs.messages(far.laid.source).items()}.items()
    far.laid.open()
    far.sync()
    pairs.equal(far.laid)
    assert pairs.messages(far.laid.mirror).keys() >= held.keys()


@pytest.mark.issue("2.3 several channels: a host that opens no more is no failure")
@pytest.mark.parametrize(("sessions", "lanes"), [(1, 0), (3, 2)])
def test_a_host_that_opens_fewer_channels_is_told_of_once(tmp_path: Path, sessions: int, lanes: int) -> None:
    require.root()
    with running_sshd(tmp_path, options=[f"MaxSessions {sessions}"]) as strict, far_pair(strict, "pair") as far:
        seen: list[int] = []
        far.sync(lambda _: seen.append(len(far.lanes())))
        assert max(seen) == lanes
        [(event, sentence)] = far.events
        assert event == "lanes" and f"over {max(1, lanes)} instead of {width.LANES} channels" in sentence
        assert "sshd starts no command" in sentence
        pairs.equal(far.laid)


# ---- a key that is bound to the agent --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bound(sshd: Sshd) -> Host:
    sshd.root.check(["mkdir", "-p", STORE])
    key = make_key(sshd.client_key.with_name("bound"))
    host = sshd.host(key_file=key, stores=(Store(STORE),), forced=True)
    install(sshd.host(), key_line(host, ssh.public_half(key)))
    return host


def heard(host: Host, command: str) -> tuple[list[Kind], str]:
    """What a command gives with a key that is bound: the first frames, and how it ended."""
    trunk = ssh.connect(host)
    try:
        line = bootstrap.greet(trunk.run(command), host.name, bootstrap.archive())
        decoder, kinds = Decoder(), list[Kind]()
        while not kinds and (data := line.recv(1 << 16)):
            kinds += [frame.kind for frame in decoder.feed(data) if frame.head.get("lane")]
        line.close()
        return kinds, line.settle()
    finally:
        trunk.close()


@pytest.mark.issue("2.3 forced command verb by verb: lane")
def test_a_bound_key_opens_lanes_of_its_own_conversation(bound: Host) -> None:
    with open_conversation(bound) as talk:
        assert (talk.widen(3), talk.narrow) == (3, "")
        assert talk.request("store.look", {"store": STORE}, timeout=20).head["empty"]
        assert talk.widen(3) == 0, "once"


@pytest.mark.issue("2.P two ssh ends forced command: running anything else by way of a lane")
@pytest.mark.parametrize("asked", ["touch /srv/evil; lane {}", "/bin/sh -c 'touch /srv/evil' lane {}", "x\nlane {}"])
def test_what_stands_before_a_lane_is_not_run(sshd: Sshd, bound: Host, asked: str) -> None:
    with open_conversation(bound) as talk:
        token = talk.request("lane", timeout=20).head["token"]
        assert heard(bound, asked.format(token))[0] == [Kind.HELLO]
    assert os.listdir(sshd.root.path("/srv")) == [STORE.rsplit("/", 1)[1]]


@pytest.mark.parametrize("token", ["0" * 32, "x"])
def test_a_token_that_no_agent_made_opens_nothing(bound: Host, token: str) -> None:
    with open_conversation(bound) as talk:
        talk.request("lane", timeout=20)
        kinds, ended = heard(bound, f"lane {token}")
        assert kinds == [] and "exit status 75" in ended and "no agent takes this lane" in ended
        assert talk.request("store.look", {"store": STORE}, timeout=20).head["empty"]


def test_a_lane_carries_bodies_and_nothing_else(bound: Host) -> None:
    """A request on a lane would pass by the order; it ends the conversation."""
    with open_conversation(bound) as talk:
        token = talk.request("lane", timeout=20).head["token"]
        trunk = ssh.connect(bound)
        try:
            line = bootstrap.greet(trunk.run(f"lane {token}"), bound.name, bootstrap.archive())
            line.sendall(encode(Frame(Kind.REQUEST, 1, {"verb": "store.look", "store": STORE})))
            assert talk.lost.wait(10)
            assert "a REQUEST on a lane" in talk.why
        finally:
            trunk.close()


def test_a_host_that_is_gone_opens_no_lane(bound: Host) -> None:
    trunk = ssh.connect(bound)
    trunk.close()
    with pytest.raises(HostUnreachable):
        trunk.run("lane x", alone=False)
