"""A TCP relay that adds delay: `python -m bench.relay PORT HOST:PORT SECONDS`.

netem isn't in every kernel, so the round trip is made here. Every chunk is handed on `SECONDS` after it was read, in
order; reading goes on meanwhile, so bandwidth isn't limited, until 64 MB are under way in one direction. It delays what
the two ends say to each other; TCP's own slow start doesn't see the delay, which favours nobody.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from collections import deque

UNDER_WAY = 64 << 20  # bytes in flight per direction, far above what the delay times any real window needs
CHUNK = 256 << 10


class Direction:
    """One direction of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
        self._reader, self._writer, self._delay = reader, writer, delay
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._held = 0
        self._moved = asyncio.Condition()
        self._clock = asyncio.get_running_loop().time

    async def carry(self) -> None:
        """Carry everything until the end of file, and then that end, too. Raises OSError when an end hangs up."""
        await asyncio.gather(self._read(), self._write())

    async def _read(self) -> None:
        chunk = b"-"
        while chunk:
            chunk = await self._reader.read(CHUNK)
            async with self._moved:
                await self._moved.wait_for(lambda: self._held < UNDER_WAY)
                self._held += len(chunk)
                self._waiting.append((self._clock() + self._delay, chunk))
                self._moved.notify_all()

    async def _write(self) -> None:
        while True:
            async with self._moved:
                await self._moved.wait_for(lambda: bool(self._waiting))
                due, chunk = self._waiting.popleft()
            await asyncio.sleep(due - self._clock())
            if not chunk:
                break
            self._writer.write(chunk)
            await self._writer.drain()
            async with self._moved:
                self._held -= len(chunk)
                self._moved.notify_all()
        if self._writer.can_write_eof():
            self._writer.write_eof()


async def serve(port: int, host: str, target: int, delay: float) -> None:
    """Listen on loopback and relay every connection, until cancelled."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(host, target, limit=4 << 20)
        for end in (writer, far_writer):
            end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            there, back = Direction(reader, far_writer, delay), Direction(far_reader, writer, delay)
            await asyncio.gather(there.carry(), back.carry())
        except OSError as problem:  # ENOTCONN is the usual end: ssh hangs up without waiting for the other side
            if problem.errno != errno.ENOTCONN:
                print(f"relay: {problem}", file=sys.stderr)
        finally:
            writer.close()
            far_writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", port, limit=4 << 20)
    async with server:
        await server.serve_forever()


def main() -> None:
    """Run the relay as the command line says."""
    port, target, delay = sys.argv[1:]
    host, _, target_port = target.rpartition(":")
    asyncio.run(serve(int(port), host, int(target_port), float(delay)))


if __name__ == "__main__":
    main()
