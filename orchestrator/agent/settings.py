"""What a guard is told about itself: its guard.json (`homes` says where), laid down by `mailmirror agent install`.

Invariant: what `load` returns is whole; a file that isn't is told with its path and the field. A pair that somebody
asks for is looked up among those that are there, and never made a path of.
"""

from __future__ import annotations

import json
import os
from typing import Any, Dict, Mapping, NamedTuple, Tuple

from . import homes
from .guard import Rules
from .homes import PLAIN, Home
from .lease import Terms
from .serve import Fault

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


def load(file: str, key: str) -> Tuple[Settings, bytes]:
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


def has_postfix(file: str) -> bool:
    """Whether Postfix is of this host's services; where no guard says that it isn't, it may be. Raises Unusable."""
    try:
        with open(file, encoding="utf-8") as opened:
            return bool(json.load(opened)["postfix"])
    except FileNotFoundError:
        return True
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unusable(f"{file}: {error!r}. Run `mailmirror agent install` for this host again.") from error


# --- of which pair ----------------------------------------------------------------------------------------------------


def there() -> Dict[str, Home]:
    """The guards that have settings on this host, by pair. One whose settings can't be read is called as it lies."""
    pairs = f"{homes.ETC}/{homes.PAIRS}"
    found = [PLAIN, *map(Home, sorted(os.listdir(pairs)) if os.path.isdir(pairs) else ())]
    return {pair_of(home): home for home in found if os.path.exists(home.settings)}


def pair_of(home: Home) -> str:
    """Whose guard it is, by its settings; the home's own name where they can't be read."""
    try:
        with open(home.settings, encoding="utf-8") as file:
            return str(json.load(file)["pair"])
    except (OSError, ValueError, KeyError, TypeError):
        return home.named


def chosen(pair: str) -> Home:
    """The home of the pair's guard; with "" the only one, and the plain one where there is none at all.

    Raises Fault: which-pair, unguarded.
    """
    found = there()
    known = ", ".join(sorted(found))
    if pair and pair not in found:
        raise Fault(
            "unguarded",
            f"no guard of {pair} is on this host" + (f", but of {known}" if known else ""),
            "Correct the name, or lay it down: `mailmirror agent install PAIR HOST --guard`; it takes root.",
        )
    if not pair and len(found) > 1:
        raise Fault("which-pair", f"guards of several pairs are on this host: {known}", "Name one, with --pair.")
    return found[pair] if pair else next(iter(found.values()), PLAIN)
