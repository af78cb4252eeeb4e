"""A site with guards on both mail hosts and the witness, as `mailmirror agent install` lays them; questions to them.

Invariant: it asks what an operator could ask, on the host itself or from the client.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import yaml

from tests.lab import product
from tests.lab.host import Host
from tests.lab.plan import DOMAIN, PORTS, SERVICE_ADDRESS
from tests.lab.site import PAIR, Site
from tests.lab.waiting import until

PLACES = (*PAIR, "witness")
TTL = 4.0
NAMES = {"primary": f"mail1.{DOMAIN}", "mirror": f"mail2.{DOMAIN}", "witness": f"wit.{DOMAIN}"}
INVENTORY = "/etc/mailmirror/inventory.yaml"
CONNECT = "import socket,sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).recv(1)"


@contextmanager
def guarded_site(
    users: int = 3, ttl: float = TTL, prepare: Callable[[Site], None] = lambda site: None
) -> Iterator[Site]:
    """Booted, with an armed lease of `ttl` seconds; `prepare` is called before the boot."""
    with Site(PLACES, users=users) as site:
        prepare(site)
        site.boot()
        inventory: Any = product.inventory(PLACES)
        variables = inventory["mailmirror"]["vars"]
        variables["mm_lease"] = {"ttl": f"{ttl:.0f}s"}
        variables["mm_vip"] = {"addresses": [f"{SERVICE_ADDRESS}/24"], "interface": "eth0"}
        hosts = inventory["mailmirror"]["children"][product.PAIR]["hosts"]
        hosts[NAMES["mirror"]]["ansible_host"] = "10.20.0.12"
        site.mirror.lay({INVENTORY: yaml.safe_dump(inventory, sort_keys=False)})
        site.mirror.run("mailmirror init --yes", timeout=60)
        # What keeps the lab's own mirror from delivering goes: here it is the guard that does, and puts nothing back.
        site.mirror.run("postconf -X defer_transports && postfix reload")
        for place, words in (("primary", ["--guard"]), ("mirror", []), ("witness", ["--guard"])):
            site.mirror.run(["mailmirror", "agent", "install", NAMES[place], "--yes", *words], timeout=90)
        wait_armed(site)
        yield site


def wait_armed(site: Site) -> None:
    until(lambda: status(site.primary)["armed"] and serves(site), within=30, what="the lease is armed")


def status(host: Host) -> dict[str, Any]:
    """What the guard on a host says of itself."""
    told: dict[str, Any] = json.loads(host.run("mailmirror-guard status --format json"))
    return told


def order(host: Host, **head: Any) -> dict[str, Any]:
    """What its guard answers to an order, as the journeys give them."""
    ask = "import json,socket,sys; s=socket.socket(socket.AF_UNIX); s.connect('/run/mailmirror-guard/control.sock');"
    ask += " s.sendall(sys.stdin.read().encode()+b'\\n'); print(s.makefile().readline())"
    told: dict[str, Any] = json.loads(host.run(["python3", "-c", ask], stdin=json.dumps(head)))
    return told


def answers(site: Site, host: Host, port: str = "imap") -> bool:
    """Whether a service greets the client."""
    words = ["python3", "-c", CONNECT, host.address, str(PORTS[port])]
    return site.client.attempt(words).returncode == 0


def serves(site: Site, host: Host | None = None) -> bool:
    return answers(site, host or site.primary)
