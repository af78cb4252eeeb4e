"""The verb with which any observer looks at a mail host: probes, canary, disks, clock and queue in one answer.

Each look runs in a thread of its own: a disk that hangs or a server that drips delays neither another look nor
replication. One that isn't back in time is reported as late, and its thread is left to end by itself: a call into a
dead NFS server can't be cut off from outside.

Invariant: the answer comes within `seconds` and a moment, and has every look that was asked for, exactly once.
"""

from __future__ import annotations

import threading
import time
from typing import Any, Callable, Dict, Generator, List, Optional, Tuple

from .canary import CANARY, canary
from .probe import IMPLICIT, NO_TLS, OFFERED, SERVICES, STARTTLS, TIMEOUT, Reading, Want, probe
from .serve import Answer, Fault, args
from .vitals import Disk, Queue, Virtual, clock, disk, queue, virtual

MOST_LOOKS = 64
"""In one request, and threads that may be out at a time."""
LONGEST = 60.0
MOMENT = 0.25
"""Seconds that a look may be late: it has to come back through a scheduler."""
TICK = 0.02
_LATE = "no answer in time, not even that it failed"

Look = Tuple[Callable[[], Any], Any]
"""What to do, and what to answer where that doesn't come back."""


class Observer:
    """An agent's looks."""

    def __init__(self) -> None:
        self._out: List[threading.Thread] = []

    def observe(self, head: Dict[str, Any]) -> Generator[Optional[float], None, Answer]:
        """Look. The head: `seconds` for everything; `probes`, a list of wants (see `_want`); `disks`, paths; `queue`,
        whether to count it; `virtual`, whether to find out what the host runs in; `canary`, {"sender": word, "send":
        want, "read": want} or nothing. Raises Fault.

        The answer: `probes` and `canary` as Reading, `disks` as Disk, `queue` as Queue, `virtual` as Virtual, `clock`
        as Clock, each a list of its fields.
        """
        (seconds,) = args(head, seconds=float)
        if not 0 < seconds <= LONGEST:
            raise Fault("bad-request", f"a look takes more than 0 and at most {LONGEST:g} s, not {seconds:g}")
        looks = _looks(head, seconds)
        self._out = [thread for thread in self._out if thread.is_alive()]
        if sum(map(len, looks.values())) + len(self._out) > MOST_LOOKS:
            raise Fault(
                "busy",
                f"{len(self._out)} earlier looks hang on this host; at most {MOST_LOOKS} may be out",
                "Find what hangs (a network file system, a name server), or have the agent start anew.",
            )
        return self._all(looks, time.monotonic() + seconds + MOMENT)

    def _all(self, looks: Dict[str, List[Look]], until: float) -> Generator[Optional[float], None, Answer]:
        found = {kind: [late for _, late in some] for kind, some in looks.items()}
        threads = [
            threading.Thread(target=_keep, args=(act, found[kind], number), name=f"look-{kind}", daemon=True)
            for kind, some in looks.items()
            for number, (act, _) in enumerate(some)
        ]
        self._out += threads
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads) and time.monotonic() < until:
            yield TICK
        head: Dict[str, Any] = {kind: [list(each) for each in some] for kind, some in found.items()}
        return Answer({**head, "clock": list(clock())})


def _keep(act: Callable[[], Any], found: List[Any], number: int) -> None:
    found[number] = act()


def _looks(head: Dict[str, Any], seconds: float) -> Dict[str, List[Look]]:
    wants = [_want(each) for each in _listed(head, "probes")]
    looks: Dict[str, List[Look]] = {
        "probes": [(_probing(want, seconds), Reading(want.service, False, TIMEOUT, _LATE, seconds)) for want in wants],
        "disks": [(_weighing(path), Disk(path, why=_LATE)) for path in map(_path, _listed(head, "disks"))],
        "canary": [],
        "queue": [],
        "virtual": [],
    }
    if head.get("queue"):
        looks["queue"].append((lambda: queue(seconds), Queue(why=_LATE)))
    if head.get("virtual"):
        looks["virtual"].append((lambda: virtual(seconds), Virtual(why=_LATE)))
    if head.get("canary"):
        looks["canary"].append((_sending(head["canary"], seconds), Reading(CANARY, False, TIMEOUT, _LATE, seconds)))
    return looks


def _listed(head: Dict[str, Any], name: str) -> List[Any]:
    found = head.get(name) or []
    if not isinstance(found, list):
        raise Fault("bad-request", f"{name!r} must be a list")
    return found


def _path(value: Any) -> str:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise Fault("bad-request", f"a disk is named by an absolute path, not {value!r:.60}")
    return value


def _probing(want: Want, seconds: float) -> Callable[[], Reading]:
    return lambda: probe(want, seconds)


def _weighing(path: str) -> Callable[[], Disk]:
    return lambda: disk(path)


def _sending(asked: Any, seconds: float) -> Callable[[], Reading]:
    if not isinstance(asked, dict):
        raise Fault("bad-request", "'canary' must say sender, send and read")
    (sender,) = args(asked, sender=str)
    if not sender.isascii() or not sender.replace("-", "").replace(".", "").isalnum():
        raise Fault("bad-request", f"a canary's sender is a plain word, not {sender!r:.60}")
    send, read = _want(asked.get("send")), _want(asked.get("read"))
    if send.service not in ("smtp", "submission", "lmtp") or read.service != "imap":
        raise Fault("bad-request", "a canary is sent by smtp, submission or lmtp and read by imap")
    return lambda: canary(sender, send, read, seconds)


def _want(asked: Any) -> Want:
    """{"service", "host" and "port" or "socket", "tls", "name", "user", "password", "recipient"}."""
    if not isinstance(asked, dict):
        raise Fault("bad-request", f"a probe is an object, not {type(asked).__name__}")
    (service,) = args(asked, service=str)
    if service not in SERVICES:
        raise Fault("bad-request", f"no service {service!r:.40}", f"There are {', '.join(SERVICES)}.")
    words = {name: asked.get(name, "") for name in ("name", "user", "password", "recipient")}
    tls = asked.get("tls", NO_TLS)
    if tls not in (NO_TLS, STARTTLS, IMPLICIT, OFFERED) or not all(isinstance(word, str) for word in words.values()):
        raise Fault("bad-request", f"{service}: tls is none, offered, starttls or implicit; the other words are text")
    if any(not word.isprintable() for word in words.values()):
        raise Fault("bad-request", f"{service}: a control character in name, user, password or recipient")
    if "socket" in asked:
        return Want(service, _path(asked["socket"]), tls, **words)
    host, port = args(asked, host=str, port=int)
    if not host or not 0 < port < 65536:
        raise Fault("bad-request", f"{service}: no such address: {host!r:.60} port {port}")
    return Want(service, (host, port), tls, **words)
