"""What tests of addresses that move share: a service that says where it runs, and the controller's part of a move.

Invariant: a move goes by the product's own rooms, as the journeys use them, on the host of the controller.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from tests.lab import product
from tests.lab.host import Host
from tests.lab.site import Site

INVENTORY = "/etc/mailmirror/inventory.yaml"
PORT = 7777
_NAMED = """
import socket
server = socket.create_server(("", 7777), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready", flush=True)
while True:
    connection, _ = server.accept()
    connection.sendall(socket.gethostname().encode())
    connection.close()
"""
_MOVE = """
import sys, time
from orchestrator.errors import MailmirrorError
from orchestrator.inventory.load import load
from orchestrator.remote.opening import open_conversation
from orchestrator.traffic import holding, vip
[pair] = load("/etc/mailmirror/inventory.yaml").pairs.values()
links = [(host, open_conversation(host)) for host in (pair.primary, pair.mirror)]
ends = [vip.End(host.name, host.vip_interface or pair.vip.interface, vip.asking(link)) for host, link in links]
moving = vip.Vip(pair.vip.addresses, ends)
def move(to, epoch, proof):
    others = [end.host for end in ends if end.host != to]
    proofs = [] if proof == "none" else [moving.release(other, 1 if proof == "old" else epoch) for other in others]
    seen = moving.seen(probing=[to], quick=proof == "released")
    plan = holding.planned(seen, to, pair.vip.addresses, proofs, epoch=epoch, now=time.time())
    return "already" if plan is None else [sight.host for sight in moving.take(plan) if sight.stands]
for step in sys.argv[1:]:
    place, epoch, proof = step.split(",")
    try:
        print(move(pair.at(place).name, int(epoch), proof))
    except MailmirrorError as error:
        print(error)
for _, link in links:
    link.close()
"""
"""What the journeys do: released, seen, planned, taken up, proven."""


def serve(host: Host) -> None:
    """From now on it says its name to whoever connects to PORT."""
    server = host.start(["python3", "-c", _NAMED], stdout=-1)
    assert server.stdout is not None and server.stdout.readline() == b"ready\n"


def lands_on(site: Site, moved: str, within: float = 5.0) -> str:
    """Where a client's connection lands. OSError where it doesn't."""
    with site.client.network(), socket.create_connection((moved.partition("/")[0], PORT), within) as connection:
        return connection.recv(100).decode()


def on(host: Host, act: Callable[..., object], *words: object) -> object:
    """Done on the host's network."""
    with host.network():
        return act(*words)


def lay(site: Site, vip: str) -> None:
    """mm_vip, as an operator would write it down."""
    site.mirror.run(f"sed -i '/mm_vip/d; s|^    mm_state_dir|    mm_vip: {vip}\\n&|' {INVENTORY}")


def move(site: Site, *steps: tuple[str, int, str]) -> list[str]:
    """One line for each (place, epoch, proof): who holds the addresses by then, or why nothing moved. A proof may be
    released, none, old.
    """
    words = [",".join(map(str, step)) for step in steps]
    return site.mirror.run([product.PYTHON, "-c", _MOVE, *words]).splitlines()
