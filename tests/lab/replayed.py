"""What a stranger on the link can do with the guards' datagrams: hear them, and send them again.

Invariant: nothing is forged or changed; whoever sends again has no key.
"""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.lab.host import Host

PORT = 7521  # the guards' own, see mm_guard_port
_ETH_P_IP = 0x0800
_AGAIN = """
import json, socket, sys, time
target, datagrams = json.load(sys.stdin)
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print("begun", flush=True)
while True:
    for each in datagrams:
        out.sendto(bytes.fromhex(each), tuple(target))
        time.sleep(0.01)
"""


@contextmanager
def overheard(host: Host, origins: set[str]) -> Iterator[list[bytes]]:
    """The datagrams that reach a host's guard from these addresses meanwhile, in order."""
    heard: list[bytes] = []
    with host.network():
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_IP))
    over = threading.Event()

    def listen() -> None:
        wire.settimeout(0.2)
        while not over.is_set():
            try:
                packet, origin = wire.recvfrom(4096)
            except TimeoutError:
                continue
            head = (packet[0] & 0x0F) * 4
            is_guards = packet[9] == socket.IPPROTO_UDP and int.from_bytes(packet[head + 2 : head + 4]) == PORT
            if is_guards and socket.inet_ntoa(packet[12:16]) in origins and origin[2] == socket.PACKET_HOST:
                heard.append(packet[head + 8 : head + int.from_bytes(packet[head + 4 : head + 6])])

    thread = threading.Thread(target=listen, name="overheard", daemon=True)
    thread.start()
    try:
        yield heard
    finally:
        over.set()
        thread.join()
        wire.close()


@contextmanager
def again(host: Host, target: str, datagrams: Sequence[bytes]) -> Iterator[None]:
    """A host sends them to a guard's port meanwhile, a hundred a second, over and over."""
    pipe = subprocess.PIPE
    with host.start(["python3", "-c", _AGAIN], stdin=pipe, stdout=pipe, text=True) as sending:
        assert sending.stdin is not None and sending.stdout is not None
        sending.stdin.write(json.dumps([[target, PORT], [each.hex() for each in datagrams]]))
        sending.stdin.close()
        assert sending.stdout.readline() == "begun\n"
        try:
            yield
        finally:
            sending.kill()
