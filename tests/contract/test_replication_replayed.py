"""Agents whose controller is hostile or damaged: frames of an earlier pass again, doubled, left out, out of order.

Whatever comes, an agent ends by itself, changes no message, and its store goes on in the next pass.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator

import pytest

from orchestrator.agent import index
from orchestrator.agent.ledger import Ledger
from orchestrator.agent.wire import Decoder, Frame, Kind, encode
from orchestrator.demo.mailbox import INBOX
from orchestrator.errors import Refused
from orchestrator.remote.lines import Line
from tests.support import pairs, seeds

ROUNDS = 40
PATIENCE = 15  # seconds
POSITIONS = {"live", "dead"}  # in the source's log: no passive place can tell a false one from a true one, see below
LAST = 0xFFFFFFFF  # of the request that ends a replay: when it is answered, all before it has been begun


class _Recorder(pairs.Gate):
    """Keeps what the controller sends."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()

    def guard(self, line: Line) -> Line:
        recorder = self

        class Recording:
            recv, close, abort, settle = line.recv, line.close, line.abort, line.settle

            def sendall(self, data: bytes | memoryview, /) -> None:
                recorder.sent += data
                line.sendall(data)

        return Recording()


@pytest.fixture
def laid() -> Iterator[pairs.Laid]:
    with pairs.in_memory() as memory:
        made = pairs.Laid(memory, pairs.MEMORY)
        made.session.initialise()
        yield made
        made.end()


def recorded(laid: pairs.Laid, host: str) -> list[Frame]:
    """What the controller tells `host` in a pass with a bit of everything."""
    box = pairs.Mailbox(laid.source / "ex.org/ann")
    box.create("Sent")
    for number in range(6):
        box.folder(INBOX).deliver(b"%d\n" % number)
    laid.sync()
    recorder = _Recorder()
    laid.open(pairs.Faults({host: recorder}, {}))
    known = sorted(box.folder(INBOX).messages())
    box.folder(INBOX).flag(known[0], "S")
    box.folder(INBOX).move(known[1:2], box.folder("Sent"))
    box.folder(INBOX).expunge(known[2:3])
    box.folder(INBOX).deliver(bytes(700_000))
    laid.sync()
    laid.verify()
    laid.end()
    return list(Decoder().feed(bytes(recorder.sent)))


def spoilt(frames: list[Frame], rnd: random.Random, host: str) -> list[Frame]:
    """Some of the frames again, in another order, with other numbers, with wrong heads."""
    chosen = [frame for frame in frames if rnd.random() < rnd.choice((0.3, 0.8, 1.0)) or frame.kind is Kind.HELLO]
    chosen = [frame for frame in chosen for _ in range(rnd.choice((1, 1, 2)))]
    if rnd.random() < 0.3:
        rnd.shuffle(chosen)
    for at, frame in enumerate(chosen):
        if rnd.random() < 0.15 and frame.head:
            key = rnd.choice(sorted(set(frame.head) - (POSITIONS if host == "m" else set())) or ["more"])
            wrong: object = rnd.choice((None, -1, 1 << 40, "x", [], [[]], {}, [[0, "x"]], True, 0.5))
            chosen[at] = frame._replace(head={**frame.head, key: wrong})
        elif rnd.random() < 0.05:
            chosen[at] = frame._replace(blob=rnd.randbytes(rnd.choice((0, 1, 50))))
    return chosen


def replay(laid: pairs.Laid, host: str, frames: list[Frame]) -> None:
    """Send these to a fresh agent; returns when it has ended. Raises what it died of."""
    agent = pairs.ThreadAgent(laid.state(host))
    answers = Decoder()
    try:
        for frame in [*frames, Frame(Kind.REQUEST, LAST, {"verb": "store.look"})]:
            agent.line.sendall(encode(frame))
        for _ in range(PATIENCE):
            if _is_answered(agent.line, answers):
                return
        pytest.fail("the agent hangs")
    except ConnectionError:
        return  # it has left
    finally:
        agent.end()
        gc.collect()  # what a process would take along with it when it ends


def _is_answered(line: Line, answers: Decoder) -> bool:
    """Whether the last request was answered or the agent has left; False after a second in which nothing came."""
    try:
        while data := line.recv(1 << 20):
            if any(frame.id == LAST for frame in answers.feed(data)):
                return True
    except TimeoutError:
        return False
    return True


@pytest.mark.issue("2.P hostile frames: cut, swollen, replayed")
@pytest.mark.parametrize("host", ["m", "p"])
def test_replayed_frames_do_no_harm(laid: pairs.Laid, host: str) -> None:
    frames = recorded(laid, host)
    assert {Kind.REQUEST, Kind.CREDIT if host == "p" else Kind.BODY} <= {frame.kind for frame in frames}
    source, mirror = pairs.messages(laid.source), pairs.messages(laid.mirror)
    for turn in range(ROUNDS):
        seed = seeds.drawn(f"replication_replayed {host} {turn}")
        replay(laid, host, spoilt(frames, random.Random(seed), host))
        assert pairs.messages(laid.source) == source, f"seed {seed}"
        there = pairs.messages(laid.mirror)
        assert set(there.values()) <= set(mirror.values()), f"seed {seed}: a message that nobody sent"
    laid.sync()
    report = laid.verify()
    assert report.equal, report.differences
    assert pairs.messages(laid.mirror) == source


@pytest.mark.issue("2.P hostile frames: cut, swollen, replayed")
def test_a_false_position_is_refused_by_the_source(laid: pairs.Laid) -> None:
    recorded(laid, "m")
    source, mirror = pairs.messages(laid.source), pairs.messages(laid.mirror)
    [path] = laid.state("m").glob("*/sink.sqlite")
    ledger = index.opened(Ledger, str(path))  # as a controller's false `live` would leave it
    ledger.begin()
    ledger.meta.set(live=1 << 40)
    ledger.commit()
    ledger.close(clean=True)
    with pytest.raises(Refused, match="an older copy of itself: a passive place has its change 1099511627776"):
        laid.sync()
    assert (pairs.messages(laid.source), pairs.messages(laid.mirror)) == (source, mirror)
