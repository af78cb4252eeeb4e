"""What the two ends of a flow send unasked: bodies, credit, what is done, what has to come again, what is new.

Frames come in on the readers' threads; the flow's thread takes what is meant for it. Bodies go straight on to the
passive place, credit straight back to the source.

Invariant: nothing here grows by what a peer says as often as it likes: each kind has a bound, beyond which the peer's
conversation ends as garbled.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from orchestrator.agent.wire import Frame, Garbled, Kind
from orchestrator.remote.host import Conversation

CREDIT = 32 << 20
"""Bytes of bodies that may be on their way beyond what the passive place has taken."""
MOST_DONE = 64
MOST_AGAIN = 200_000


@dataclass
class End:
    """One store on one host: its conversation and the path there."""

    host: str
    link: Conversation
    path: str


class Unasked:
    """One flow's share of the frames that come in. `wake` has the flow run soon."""

    def __init__(self, source: End, sink: End, group: int, wake: Callable[[], None]) -> None:
        self.source, self.sink, self.group = source, sink, group
        self.expected: set[int] = set()  # batches whose bodies may come
        self.dirty = False  # something changed since the flow last began
        self.done: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.arrived = 0  # bytes of bodies
        self._again: list[Any] = []
        self._wake = wake
        self._unsubscribe = (source.link.subscribe(self._from_source), sink.link.subscribe(self._from_sink))

    def close(self) -> None:
        for unsubscribe in self._unsubscribe:
            unsubscribe()

    def _from_source(self, frame: Frame) -> None:
        if frame.kind is Kind.BODY:
            number = frame.head.get("b")
            if isinstance(number, int) and number in self.expected:
                self.arrived += len(frame.blob)
                self.sink.link.send(frame)
        elif frame.kind is Kind.NOTICE and frame.head.get("changed") == self.source.path:
            self._stir()

    def _from_sink(self, frame: Frame) -> None:
        if frame.head.get("store") != self.sink.path:
            return
        if frame.kind is Kind.CREDIT and frame.head.get("g") == self.group:
            count = frame.head.get("bytes")
            if not isinstance(count, int) or not 0 <= count <= CREDIT:
                raise Garbled(f"a credit of {count!r:.40}")
            self.give_credit(count)
        elif frame.kind is Kind.NOTICE and "done" in frame.head:
            if self.done.qsize() >= MOST_DONE:
                raise Garbled("batches that are done and weren't on their way")
            self.done.put(frame.head)
        elif frame.kind is Kind.NOTICE and "again" in frame.head:
            self.once_more(frame.head["again"])
            self._stir()

    def _stir(self) -> None:
        """Have the flow run soon. Once is enough until it has begun."""
        if not self.dirty:
            self.dirty = True
            self._wake()

    def give_credit(self, count: int) -> None:
        """Let the source send so many bytes more."""
        head = {"g": self.group, "bytes": count, "store": self.source.path}
        self.source.link.send(Frame(Kind.CREDIT, 0, head))

    def once_more(self, rows: Any) -> None:
        """Rows that the passive place wants to be offered again. Raises Garbled for what are no rows, or too many."""
        if not isinstance(rows, list) or len(self._again) + len(rows) > MOST_AGAIN:
            raise Garbled(f"rows to be offered again that are none, or more than {MOST_AGAIN}")
        self._again += rows

    def take_again(self) -> list[Any]:
        """The rows that are to be offered again, each time once."""
        rows, self._again = self._again, []
        return rows
