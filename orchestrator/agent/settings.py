"""What a guard is told about itself: /etc/mailmirror/guard.json, laid down by `mailmirror agent install`.

Invariant: what `load` returns is whole; a file that isn't is told with its path and the field.
"""

from __future__ import annotations

import json
from typing import Any, Dict, Mapping, NamedTuple, Tuple

from .guard import Rules
from .lease import Terms

FILE, KEY = "/etc/mailmirror/guard.json", "/etc/mailmirror/guard.key"
STATE = "/var/lib/mailmirror-guard"
RUN = "/run/mailmirror-guard"
SMTP, LMTP = 25, 24


class Unusable(Exception):
    """The message says which file, what is wrong with it, and what to do."""


class Settings(NamedTuple):
    """`peers`: place -> (address, port) of the other guards. `ttl` 0: no lease. `served`: TCP ports of the mail
    services. `units`: what serves mailboxes and takes mail; `postfix`: whether Postfix is among them. `addresses`:
    (address/prefix, interface) that the active holds. `fixed`: the mail hosts' own addresses by place. `listen`: the
    address at which datagrams are heard, every one if it isn't said. `soft`: seconds after a promotion in which
    Postfix bounces nothing for good.
    """

    pair: str
    place: str
    peers: Mapping[str, Tuple[str, int]]
    port: int
    ttl: float
    drift: float
    stop: float
    served: Tuple[int, ...]
    units: Tuple[str, ...]
    postfix: bool
    addresses: Tuple[Tuple[str, str], ...]
    stores: Tuple[str, ...]
    fixed: Mapping[str, str]
    listen: str = ""
    soft: float = 600.0

    @property
    def rules(self) -> Rules:
        return Rules(self.place, tuple(self.peers), self.ttl, Terms(self.drift, self.stop), self.soft)

    @property
    def witness(self) -> bool:
        """Whether this host is the witness, and serves no mail."""
        return self.place == "witness"


def parse(raw: str) -> Settings:
    """Raises ValueError, KeyError or TypeError."""
    told: Dict[str, Any] = json.loads(raw)
    peers = {str(place): (str(address), int(port)) for place, (address, port) in told["peers"].items()}
    return Settings(
        str(told["pair"]),
        str(told["place"]),
        peers,
        int(told["port"]),
        float(told["ttl"]),
        float(told["drift"]),
        float(told["stop"]),
        tuple(int(port) for port in told["served"]),
        tuple(str(unit) for unit in told["units"]),
        bool(told["postfix"]),
        tuple((str(address), str(interface)) for address, interface in told["addresses"]),
        tuple(str(root) for root in told["stores"]),
        {str(place): str(address) for place, address in told["fixed"].items()},
        str(told.get("listen", "")),
        float(told.get("soft", 600.0)),
    )


def load(file: str = FILE, key: str = KEY) -> Tuple[Settings, bytes]:
    """The settings and the pair's key. Raises Unusable."""
    remedy = "Run `mailmirror agent install` for this host again."
    try:
        with open(file, encoding="utf-8") as opened:
            settings = parse(opened.read())
        with open(key, "rb") as opened_key:
            secret = opened_key.read().strip()
    except OSError as error:
        raise Unusable(f"{error}. {remedy}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise Unusable(f"{file}: {type(error).__name__}: {error}. {remedy}") from error
    if len(secret) < 32:
        raise Unusable(f"{key} is too short to be a key. {remedy}")
    return settings, secret
