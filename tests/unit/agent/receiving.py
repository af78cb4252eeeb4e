"""A passive store on its own, and a source that says what the test says."""

from __future__ import annotations

import queue
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agent import marker
from orchestrator.agent.beneath import Root
from orchestrator.agent.ledger import Ledger
from orchestrator.agent.serve import Desk, Outlet
from orchestrator.agent.sink import SMALL, Sink
from orchestrator.agent.wire import Decoder, Frame, Kind, pack, unpack

MANY = SMALL + 4
"""So many bodies wait for a syncfs; fewer are made durable one by one."""
SOURCE = {"index": "one", "epoch": 1, "generation": 1, "nonce": "n", "head": 0, "horizon": 0}
ANN, SENT = 1, 2
FOLDERS = [[ANN, "ann", "ann", True, 0o700, 0, 0], [SENT, "ann", "ann/.Sent", True, 0o700, 0, 0]]


def arrived(ours: socket.socket, decoder: Decoder) -> list[Frame]:
    """What stands in a socket that doesn't block, as frames."""
    found: list[Frame] = []
    while True:
        try:
            found += decoder.feed(ours.recv(1 << 20))
        except BlockingIOError:
            return found


class Receiving:
    """A passive store, and a source that says what the test says."""

    def __init__(self, base: Path) -> None:
        self.base, self.path = base, base / "store"
        self.path.mkdir()
        with Root(str(self.path)) as root:
            marker.write(root, marker.Marker("s", "pair", "m", marker.PASSIVE, 1, 1, "n", ""))
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        fd = self._theirs.fileno()
        self.desk = Desk(fd, Outlet(fd), {})
        self._decoder = Decoder()
        self.live = 0
        self.open()

    def open(self) -> None:
        head = {"store_id": "s", "source": SOURCE}
        self.sink = Sink(self.desk, str(self.path), str(self.base / "state"), head)

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()

    # -- the source's side

    def offer(
        self, number: int, messages: dict[str, bytes], *, fid: int = ANN, sub: int = 1, removals: tuple[Any, ...] = (),
        hold: dict[str, str] | None = None, group: int = 0, mtime: int = 5, folders: list[list[Any]] = FOLDERS,
    ) -> dict[str, Any]:  # fmt: skip
        """Offer messages by name (base, and info behind a colon) and content; what is asked for."""
        rows = []
        for name, body in messages.items():
            base, _, info = name.partition(":")
            inode = 1_000 + sum(map(ord, base))
            rows.append([base, sub, f":{info}" if info else "", inode, len(body), mtime, 0o600, 0, 0, None, 7])
        self.live += 1
        head = {
            "batch": number, "items": len(rows), "live": self.live, "dead": self.live, "epoch": 1, "group": group,
            "hold": hold or {},
        }  # fmt: skip
        blob, deflated = pack({"folders": folders, "placements": [[fid, rows]], "removals": removals})
        answer = self.sink.consider(head, Frame(Kind.REQUEST, 1, head, blob, deflated))
        needs: dict[str, Any] = unpack(Frame(Kind.REPLY, 1, {}, answer.blob, answer.deflated))
        return needs

    def send(self, number: int, bodies: dict[int, bytes], **head: Any) -> None:
        whole = [each for item, body in bodies.items() for each in (item, len(body))]
        self.sink.body(Frame(Kind.BODY, 1, {"b": number, "w": whole, **head}, b"".join(bodies.values())))

    def deliver(self, number: int, messages: dict[str, bytes], **words: Any) -> None:
        """Offer messages and send all of them."""
        self.offer(number, messages, **words)
        self.send(number, dict(enumerate(messages.values())))

    def copy(self, number: int, messages: dict[str, bytes], **words: Any) -> list[dict[str, Any]]:
        self.deliver(number, messages, **words)
        self.settle()
        return self.told()

    # -- the passive's side

    def settle(self) -> None:
        """Have everything applied that is complete, waiting for the disk."""
        while (delay := self.sink.background()) in (None, 0.0):
            if delay is None:
                self.woken()

    def woken(self) -> None:
        try:
            self.desk._inbox.get(timeout=10)
        except queue.Empty:
            pytest.fail("the worker isn't woken")

    def frames(self) -> list[Frame]:
        return arrived(self._ours, self._decoder)

    def told(self) -> list[dict[str, Any]]:
        return [frame.head for frame in self.frames() if frame.kind is Kind.NOTICE]

    def done(self) -> list[int]:
        return [head["done"] for head in self.told()]

    def cur(self, folder: str = "ann") -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.path / folder / "cur").iterdir()}

    def kept(self) -> list[bytes]:
        found = (self.path / ".mailmirror/quarantine").rglob("*")
        return sorted(path.read_bytes() for path in found if path.is_file())

    def lids(self) -> list[int]:
        """The two folders, as the ledger calls them."""
        by_path = self.sink.ledger.by_path
        return [by_path[path].lid for path in (b"ann", b"ann/.Sent")]

    def ledger_elsewhere(self) -> Ledger:
        """The ledger as it would be found if the power went now."""
        shutil.rmtree(self.base / "copy", ignore_errors=True)
        shutil.copytree(self.base / "state", self.base / "copy")
        return Ledger(str(self.base / "copy/s/sink.sqlite"))
