"""A TCP relay that delays, counts, stalls and cuts: the long or broken link between two addresses. No root needed.

Invariant: bytes come out as they went in, in order, each `delay` seconds after it was read. At most `window` bytes a
direction are under way, as on a real link, so a fast sender feels the far end. It loses and reorders nothing: TCP
would hide that anyway.

Also a program, for measurements where Python's lock must not be shared with what is measured:
`python -m tests.support.relay LISTEN_PORT HOST PORT DELAY`, which prints the port that it listens on.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
import threading
from types import TracebackType

_CHUNK = 64 << 10


class Relay:
    """Listens on `host`:`port` (a free one by default) of loopback and passes on to `target`; a context manager.

    `delay` is one way, in seconds: a round trip takes twice that. Its loop runs on a thread of its own.
    """

    def __init__(
        self,
        target: tuple[str, int],
        *,
        delay: float = 0.0,
        window: int = 16 << 20,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._target = target
        self._delay = delay
        self._listen = (host, port)
        self._chunks = max(1, window // _CHUNK)
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()
        self._flows: set[asyncio.Task[None]] = set()
        self._refusing = False
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self.address = self._listen
        self.forward = 0  # bytes passed on to the target
        self.backward = 0  # bytes passed back
        self.broken = 0  # connections that ended by a reset

    def __enter__(self) -> Relay:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._accept, *self._listen, limit=_CHUNK)
        host, port = self._server.sockets[0].getsockname()[:2]
        self.address = (str(host), int(port))

    async def _stop(self) -> None:
        self._server.close()
        self._reset_all()
        for flow in list(self._flows):
            flow.cancel()
        await asyncio.gather(*self._flows, return_exceptions=True)

    def cut(self) -> None:
        """Resets every connection and refuses new ones until `heal`."""
        self._do(refusing=True, flowing=True)
        self.reset()

    def reset(self) -> None:
        """Resets every connection; new ones are welcome."""
        asyncio.run_coroutine_threadsafe(self._reset_soon(), self._loop).result(10)

    def stall(self) -> None:
        """Silence: connections stay open, new ones are accepted, no byte passes until `heal`."""
        self._do(refusing=False, flowing=False)

    def heal(self) -> None:
        """The link is whole again."""
        self._do(refusing=False, flowing=True)

    def _do(self, *, refusing: bool, flowing: bool) -> None:
        async def on_loop() -> None:
            self._refusing = refusing
            if flowing:
                self._flowing.set()
            else:
                self._flowing.clear()

        asyncio.run_coroutine_threadsafe(on_loop(), self._loop).result(10)

    async def _reset_soon(self) -> None:
        self._reset_all()

    def _reset_all(self) -> None:
        for writer in self._open:
            _reset(writer)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        flow = self._loop.create_task(self._carry(reader, writer))
        self._flows.add(flow)
        flow.add_done_callback(self._flows.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        outward: asyncio.StreamWriter | None = None
        try:
            if self._refusing:
                return
            inward, outward = await asyncio.open_connection(*self._target, limit=_CHUNK)
            self._open.add(outward)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_on(reader, outward, True))
                both.create_task(self._pass_on(inward, writer, False))
        except* OSError:
            self.broken += 1  # a reset by either side or by the test: the other side learns it below
        finally:
            for end in (writer, outward):
                if end is not None:
                    self._open.discard(end)
                    (_reset if self._refusing else asyncio.StreamWriter.close)(end)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, forward: bool) -> None:
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(self._chunks)
        async with asyncio.TaskGroup() as both:
            both.create_task(self._take(reader, under_way))
            both.create_task(self._give(under_way, writer, forward))

    async def _take(self, reader: asyncio.StreamReader, under_way: asyncio.Queue[tuple[float, bytes]]) -> None:
        while True:
            data = await reader.read(_CHUNK)
            await under_way.put((self._loop.time() + self._delay, data))
            if not data:
                return

    async def _give(
        self, under_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter, forward: bool
    ) -> None:
        while True:
            due, data = await under_way.get()
            if due > self._loop.time():
                await asyncio.sleep(due - self._loop.time())
            await self._flowing.wait()
            if not data:
                with contextlib.suppress(OSError):
                    writer.write_eof()
                return
            if forward:
                self.forward += len(data)
            else:
                self.backward += len(data)
            writer.write(data)
            await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Closes with RST instead of FIN: linger for zero seconds, see socket(7)."""
    line = writer.get_extra_info("socket")
    if line is not None and line.fileno() >= 0:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def main(words: list[str]) -> int:
    port, host, target_port, delay = words
    with Relay((host, int(target_port)), delay=float(delay), host="0.0.0.0", port=int(port)) as relay:
        print(relay.address[1], flush=True)
        sys.stdin.read()  # until the one who started it closes our input
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
