"""The agent's front door: arguments in, one conversation on standard input and output.

    python3 -m orchestrator.agent.main [--state DIR] [--guard DIR] [--stores A,B] [--allow replication] [--group NAME]

Bound by a forced command, `--stores` and `--allow` say what the key behind it can do: the
replication verbs on these stores, and with `services` looking at the mail services, stopping and
starting them as their guard allows, and moving addresses and letters, whatever the controller asks
for. There is no verb that starts a command of the controller's choice. Behind the Unix socket of its own unit
`--group` says who may speak to it.

Invariant: a store that isn't in `--stores` is never opened; a request that is refused says so
on standard error too, where sshd's and systemd's logs find it.
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import socket
import sys
from contextlib import ExitStack
from importlib import import_module
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Union

from . import VERSION, cut, marker
from .beneath import Root
from .homes import PLAIN, Home
from .lanes import LaneListener
from .marker import Marker
from .peer import refusal
from .serve import Answer, Desk, Fault, Outlet, Verb, Work, args
from .sink import Sink
from .source import Source
from .waker import Waker
from .wire import Frame, Garbled, Kind

if TYPE_CHECKING:
    from .observe import Observer

Side = Union[Source, Sink]
NOT_PERMITTED = 77
GUARD_WITHIN = 2.0
"""Seconds for the guard's word before a store is written."""
Late = Callable[[str, str, Dict[str, Any], Frame], Union[Answer, Work]]

COMING_HOME = {
    "cuts": "cut.known", "cut_rows": "cut.rows", "drop_cut": "cut.drop", "differences": "differences.listed",
    "aside": "aside.laid", "read_aside": "aside.read", "drop_aside": "aside.dropped", "reclaim_area": "aside.known",
    "deliver": "delivery.deliver", "apply": "delivery.apply",
    "indexes": "indexes.listed", "read_indexes": "indexes.read", "lay_indexes": "indexes.lay",
    "settle_indexes": "indexes.settle",
}  # fmt: skip
"""What a rejoin and a switchover ask for, and where it is: loaded when it is."""


class Agent:
    """One conversation's stores, and the verbs that work on them."""

    def __init__(
        self, desk: Desk, state: str, stores: Optional[List[str]], allow: List[str], home: Home = PLAIN
    ) -> None:
        self._desk = desk
        self._state = state
        self._home = home
        self._stores = stores
        self._allow = allow
        self._open: Dict[str, Side] = {}
        self._waker: Optional[Waker] = None
        self._lanes: Optional[LaneListener] = None
        self._observer: Optional[Observer] = None
        desk.verbs.update(self._verbs())
        desk.oneway[Kind.BODY] = self._body
        desk.oneway[Kind.CREDIT] = self._credit
        desk.background = self._background

    def close(self) -> None:
        if self._lanes is not None:
            self._lanes.close()
        if self._waker is not None:
            self._waker.close()
        with ExitStack() as stack:  # one that can't be closed well doesn't keep the others open
            for side in self._open.values():
                stack.callback(side.close)
        self._open.clear()

    def _verbs(self) -> Dict[str, Verb]:
        source: Dict[str, Callable[[Source, Dict[str, Any], Frame], Union[Answer, Work]]] = {
            "status": lambda s, h, _: s.status(h),
            "offer": lambda s, h, _: s.offer(h),
            "fetch": lambda s, h, f: s.fetch(h, f),
            "audit": lambda s, h, _: s.audit(h),
            "again": lambda s, h, _: s.again(h["rows"]),
            "retire": lambda s, h, _: s.retire(h["account"]),
            "digests": lambda s, h, _: s.digests(h),
            "accept-file-system": lambda s, _h, _: s.accept_file_system(),
        }
        sink: Dict[str, Callable[[Sink, Dict[str, Any], Frame], Union[Answer, Work]]] = {
            "status": lambda s, h, _: s.status(h),
            "consider": lambda s, h, f: s.consider(h, f),
            "plan": lambda s, h, f: s.plan(h, f),
            "permit": lambda s, h, _: s.permit(float(h["seconds"])),
            "sweep": lambda s, h, _: s.sweep(h.get("hold") or {}, bool(h.get("count_only"))),
            "adopt": lambda s, _h, _: s.adopt(),
            "set-aside": lambda s, h, _: s.set_aside(bool(h.get("count_only"))),
            "release": lambda s, h, _: s.release(h["account"]),
            "recall": lambda s, h, _: s.recall(h["account"], float(h["seconds"]), h["reason"]),
            "undelete": lambda s, h, _: s.undelete(h),
            "digests": lambda s, h, _: s.digests(h),
            "cut": lambda s, h, _: cut.make(s, self._state, h),
        }
        verbs: Dict[str, Verb] = {
            "store.look": self._look,
            "store.init": self._init,
            "store.open": self._open_store,
            "store.close": self._close_store,
            "store.turn": self._turn,
            "lane": self._lane,
            "observe": self._observe,
            "address": self._address,
            "guard": self._guard,
            "services": self._services,
            "queue": self._queue,
            "advertised": self._advertised,
        }
        for name, of_source in source.items():
            verbs[f"source.{name}"] = self._on(Source, of_source)
        for name, of_sink in sink.items():
            verbs[f"sink.{name}"] = self._on(Sink, of_sink)
        for name, action in COMING_HOME.items():
            verbs[f"store.{name}"] = self._at(*action.split("."))
        return verbs

    def _on(self, kind: type, action: Callable[[Any, Dict[str, Any], Frame], Union[Answer, Work]]) -> Verb:
        def verb(head: Dict[str, Any], frame: Frame) -> Union[Answer, Work]:
            (store,) = args(head, store=str)
            side = self._open.get(store)
            if not isinstance(side, kind):
                raise Fault("not-open", f"store {store!r:.200} isn't open as {kind.__name__.lower()}")
            try:
                return action(side, head, frame)
            except (KeyError, TypeError, ValueError) as error:
                raise _bad(head, error) from error

        return verb

    def _at(self, module: str, action: str) -> Verb:
        """A verb on a store that isn't opened for replication."""

        def verb(head: Dict[str, Any], frame: Frame) -> Union[Answer, Work]:
            path = self._permitted(head)
            if module == "delivery":
                self._of_services("write a store that is active")
            if not os.path.isdir(path):
                raise Fault("no-root", f"{path} isn't a directory on this host", "Mount it, or correct mm_stores.")
            called: Late = getattr(import_module(f"{__package__}.{module}"), action)
            try:
                found = called(path, self._state, head, frame)
            except (KeyError, TypeError, ValueError) as error:
                raise _bad(head, error) from error
            return found if isinstance(found, Answer) else _work(head, found)

        return verb

    def _observe(self, head: Dict[str, Any], _: Frame) -> Work:
        self._of_services("look at services")
        if self._observer is None:
            # Late: the mail libraries take 30 ms to load, and most conversations carry mail and ask for no looks.
            self._observer = import_module(f"{__package__}.observe").Observer()
        return self._observer.observe(head)

    def _address(self, head: Dict[str, Any], _: Frame) -> Work:
        self._of_services("look at addresses, nor move them")
        moved: Callable[[Dict[str, Any]], Work] = import_module(f"{__package__}.vip").moved  # late, as above
        return moved(head)

    def _guard(self, head: Dict[str, Any], _: Frame) -> Work:
        self._of_services("ask the guard, nor order it anything")
        asked: Callable[..., Work] = import_module(f"{__package__}.guardtalk").asked  # late, as above
        return asked(head, self._home.alone)

    def _services(self, head: Dict[str, Any], _: Frame) -> Work:
        self._of_services("stop mail services, nor start them")
        done: Callable[..., Work] = import_module(f"{__package__}.services").done  # late, as above
        return done(head, self._home)

    def _queue(self, head: Dict[str, Any], frame: Frame) -> Work:
        self._of_services("look at queues, nor move letters")
        late = import_module(f"{__package__}.mailqueue")  # as above
        asked: Callable[..., Work] = late.asked
        return asked(head, frame, self._home.settings, self._home.run)

    def _advertised(self, head: Dict[str, Any], _: Frame) -> Work:
        self._of_services("look at what Dovecot advertises, nor change it")
        done: Callable[..., Work] = import_module(f"{__package__}.modseqs").done  # late, as above
        return done(head, self._home)

    def _of_services(self, what: str) -> None:
        """Raises Fault for a key that replicates only."""
        if "services" not in self._allow:
            remedy = "Add `services` to --allow in its authorized_keys line, or in its unit."
            raise Fault("not-allowed", f"this key may not {what}", remedy)

    # --- stores -----------------------------------------------------------------------

    def _permitted(self, head: Dict[str, Any]) -> str:
        (store,) = args(head, store=str)
        path: str = os.path.normpath(store)
        if "replication" not in self._allow or (self._stores is not None and path not in self._stores):
            raise Fault(
                "not-allowed",
                f"this key may not work on {path}",
                "See the stores that its authorized_keys line, or its unit, names.",
            )
        return path

    def _look(self, head: Dict[str, Any], _: Frame) -> Answer:
        """What stands at a root: its marker, whether it is empty, whether it is a Maildir itself."""
        path = self._permitted(head)
        if not os.path.isdir(path):
            raise Fault("no-root", f"{path} isn't a directory on this host", "Create it, or correct mm_stores.")
        root = Root(path)
        try:
            found = marker.read(root)
            names = [name for name in os.listdir(root.fd) if name not in (".mailmirror", "lost+found")]
            maildir = "cur" in names and "new" in names
            return Answer({"marker": found.head() if found else None, "empty": not names, "maildir": maildir})
        finally:
            root.close()

    def _init(self, head: Dict[str, Any], _: Frame) -> Answer:
        """Lay the first marker down. One that is there already is never changed by this."""
        path = self._permitted(head)
        store, pair, place, role, epoch = args(head, store_id=str, pair=str, place=str, role=str, epoch=int)
        if role not in (marker.ACTIVE, marker.PASSIVE):
            raise Fault("bad-request", f"no role {role!r:.40}")
        root = Root(path)
        try:
            found = marker.read(root)
            if found is not None:
                if (found.store, found.role) != (store, role):
                    raise Fault(
                        "marked", f"{path} is marked already: store {found.store}, {found.role}",
                        "Look at ROOT/.mailmirror/store.json; only an operator may remove it.",
                    )  # fmt: skip
                return Answer({"marker": found.head(), "made": False})
            fresh = Marker(store, pair, place, role, epoch, 0, "", "").raised(marker.boot_id())
            marker.write(root, fresh)
            return Answer({"marker": fresh.head(), "made": True})
        finally:
            root.close()

    def _turn(self, head: Dict[str, Any], _: Frame) -> Work:
        path = self._permitted(head)
        if path in self._open:
            raise Fault("busy", f"{path} is open in this very conversation", "Close it first (store.close).")
        turned: Callable[..., Work] = import_module(f"{__package__}.turning").turned  # late
        return turned(path, self._state, head, guard=self._home.settings, run=self._home.run)

    def _open_store(self, head: Dict[str, Any], _: Frame) -> Answer:
        path = self._permitted(head)
        (side,) = args(head, side=str)
        if side not in ("source", "sink"):
            raise Fault("bad-request", f"a store is opened as source or sink, not {side!r:.40}")
        if path in self._open:
            self._open.pop(path).close()
        if side == "source":
            source = Source(self._desk, path, self._state, head)
            self._open[path] = source
            return Answer(source.describe())
        _not_served(path, self._home)
        sink = Sink(self._desk, path, self._state, head)
        self._open[path] = sink
        lost = [[fid, base.decode("latin-1"), False] for fid, base in sink.lost[:5000]]
        return Answer({**sink.describe(), "again": lost})

    def _close_store(self, head: Dict[str, Any], _: Frame) -> Answer:
        side = self._open.pop(self._permitted(head), None)
        if side is not None:
            side.close()
        return Answer({})

    def _lane(self, _: Dict[str, Any], __: Frame) -> Answer:
        """Let bodies come in by lanes too, from whoever of this user knows the token. Once in a conversation."""
        if "replication" not in self._allow:
            raise Fault("not-allowed", "this key may not replicate", "See what its authorized_keys line allows.")
        if self._lanes is not None:
            raise Fault("bad-request", "there are lanes already")
        self._lanes = LaneListener(self._desk.take, self._desk.break_off)
        self._desk.order = self._lanes.main
        return Answer({"token": self._lanes.token})

    # --- what comes unasked -----------------------------------------------------------

    def _body(self, frame: Frame) -> None:
        for side in self._open.values():
            if isinstance(side, Sink) and side.expects(frame.head.get("b")):
                side.body(frame)
                return
        raise Garbled(f"bodies of a batch that nobody waits for: {frame.head.get('b')!r:.20}")

    def _credit(self, frame: Frame) -> None:
        side = self._open.get(str(frame.head.get("store", "")))
        if isinstance(side, Source):
            side.offers.credit(int(frame.head["g"]), int(frame.head["bytes"]))

    def _background(self) -> Optional[float]:
        delays = []
        watches = []
        for side in list(self._open.values()):
            delay = side.background()
            if delay is not None:
                delays.append(delay)
            if isinstance(side, Source):
                watches.append(side.watch)
        if watches and self._waker is None:
            self._waker = Waker(self._desk.wake)
        if self._waker is not None:
            self._waker.rearm(watches)
        return min(delays) if delays else None


def _bad(head: Dict[str, Any], error: Exception) -> Fault:
    return Fault("bad-request", f"{head.get('verb')}: {type(error).__name__}: {error}")


def _work(head: Dict[str, Any], work: Work) -> Work:
    try:
        return (yield from work)
    except (KeyError, TypeError, ValueError) as error:
        raise _bad(head, error) from error


def default_state() -> str:
    """Where the agent keeps its indexes: a system directory for root, the user's own otherwise."""
    if os.geteuid() == 0:
        return "/var/lib/mailmirror-agent"
    return os.path.join(os.path.expanduser("~"), ".local/state/mailmirror-agent")


def _not_served(path: str, home: Home) -> None:
    """Raises Fault where the guard here says that this place is the active one, though the store's marker doesn't yet:
    its users write into the store. A guard that is silent lets nobody serve, so that is no reason.
    """
    if not os.path.exists(home.settings):
        return
    guardtalk = import_module(f"{__package__}.guardtalk")  # late, as above
    try:
        told = guardtalk.ask({"verb": "status"}, home.run, GUARD_WITHIN)
    except guardtalk.Silent:
        return
    if told["active"] == told["place"]:
        remedy = "A journey is under way: let it go on, and turn the store's marker."
        raise Fault(
            "served", f"{path} isn't written: by its guard this place is active in epoch {told['epoch']}", remedy
        )


def main(argv: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(prog="mailmirror-agent", description="mailmirror's part on a mail host")
    parser.add_argument("--state", default="", help="directory for indexes (default: by user)")
    parser.add_argument("--guard", default="", help="the one directory of this host's guard, where none is installed")
    parser.add_argument("--stores", default=None, help="roots, comma-separated; without it any that is asked for")
    parser.add_argument(
        "--allow", default=None, help="what may be done: replication,services (with --stores: replication)"
    )
    parser.add_argument(
        "--group", default=None, help="standard input is a Unix socket: whom its other end has to be of"
    )
    parser.add_argument("--version", action="version", version=VERSION)
    options = parser.parse_args(argv)
    refused = "" if options.group is None else refusal(0, options.group)
    if refused:
        sys.stderr.write(f"mailmirror agent: {refused}\n")
        return NOT_PERMITTED
    # Frames own the real standard output; a stray print must not tear one.
    outlet = os.dup(1)
    os.dup2(2, 1)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    stores = None if options.stores is None else [os.path.normpath(each) for each in options.stores.split(",") if each]
    unsaid = "replication,services" if stores is None else "replication"
    allow = [each for each in (unsaid if options.allow is None else options.allow).split(",") if each]
    hello = {
        "python": "%d.%d.%d" % sys.version_info[:3], "host": socket.gethostname(), "boot": marker.boot_id(),
        "uid": os.geteuid(), "allow": allow, "stores": stores,
    }  # fmt: skip
    desk = Desk(0, Outlet(outlet), hello)
    home = Home(alone=os.path.abspath(options.guard)) if options.guard else PLAIN
    agent = Agent(desk, os.path.abspath(options.state or default_state()), stores, allow, home)
    # Rows are made by the ten thousand and die by count of references; looking for cycles among them costs a tenth.
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    os.umask(0)
    try:
        desk.run()
    finally:
        agent.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
