"""Pairs for tests: a source and its sinks with real agents, and a Maildir that is written as Dovecot writes it.

An agent comes in four ways: "memory" (the agent itself in a thread of this process, stores on tmpfs), "local" (a child
process), "ssh" (a real sshd, `tests.support.sshd`) and "python 3.9" (a child process of that). Whatever the way, the
store, the frames and the controller's session are the real ones; a `Gate` between them cuts the links at some frame.

Invariant: what a pair started has ended when `close` returns. Nothing here judges: the tests do.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.agent import marker
from orchestrator.agent.main import Agent
from orchestrator.agent.serve import Desk, Outlet
from orchestrator.agent.wire import HEADER, Frame, Kind
from orchestrator.demo import mailbox, uidlist
from orchestrator.errors import HostUnreachable
from orchestrator.inventory.model import Host, Pair, Store
from orchestrator.remote.host import Conversation
from orchestrator.remote.lines import ChildLine, Line, SocketLine, agent_command, house
from orchestrator.remote.opening import open_conversation
from orchestrator.replication.report import SyncReport, VerifyReport
from orchestrator.replication.session import Session
from tests.support import python39
from tests.support.sshd import Sshd

MEMORY, LOCAL, SSH, OLD = "memory", "local", "ssh", "python 3.9"
PRIMARY = "p"
SINKS = ("m", "a", "b")
_UNCOUNTED = frozenset((Kind.HELLO, Kind.PING, Kind.PONG))

# ---- a Maildir as Dovecot writes it ----------------------------------------------------------------------------------


class Mailbox(mailbox.Account):
    """One account; `fs` is Dovecot's other layout, in which folder A/B is the directory A/B."""

    def __init__(self, root: Path, *, fs: bool = False) -> None:
        super().__init__(root)
        self._fs = fs
        self.create(mailbox.INBOX)

    def folder(self, name: str) -> mailbox.Folder:
        return mailbox.Folder(self.root / name) if self._fs and name != mailbox.INBOX else super().folder(name)

    def names(self) -> list[str]:
        if not self._fs:
            return super().names()
        below = sorted(path.parent.relative_to(self.root).as_posix() for path in self.root.rglob("cur"))
        return [mailbox.INBOX if name == "." else name for name in below]

    def delete(self, name: str) -> None:
        """IMAP DELETE: renamed out of the way, then taken apart."""
        trashed = self.root / "..DOVECOT-TRASHED"
        self.folder(name).path.rename(trashed)
        shutil.rmtree(trashed)

    def copy(self, bases: Sequence[bytes], origin: str, target: str) -> list[int]:
        """IMAP COPY: the same file under the same base name, and a new UID."""
        here, there = self.folder(origin), self.folder(target)
        known = here.messages()
        with uidlist.lock(there.path):
            for base in bases:
                name = known[base].name
                os.link(known[base], there.path / "cur" / (name if ":2," in name else name + ":2,"))
            return uidlist.append(there.path, list(bases))


def snapshot(root: Path) -> dict[str, tuple[int, int, int, int, bytes]]:
    """Every file below a root but our own: path -> (mode, owner, group, mtime in ns, content; of a link its text)."""
    found = {}
    for directory, folders, files in os.walk(os.fsencode(root)):
        folders[:] = [name for name in folders if name != b".mailmirror"]
        for name in files:
            path = os.path.join(directory, name)
            facts = os.lstat(path)
            link = stat.S_ISLNK(facts.st_mode)
            content = os.readlink(path) if link else Path(os.fsdecode(path)).read_bytes()
            when = 0 if link else facts.st_mtime_ns
            shown = os.path.relpath(path, os.fsencode(root)).decode("latin-1")
            found[shown] = (facts.st_mode, facts.st_uid, facts.st_gid, when, content)
    return found


def messages(root: Path) -> dict[str, tuple[int, int, int, int, bytes]]:
    """As `snapshot`, only what stands in new/ and cur/."""
    return {path: facts for path, facts in snapshot(root).items() if path.split("/")[-2:-1] in (["new"], ["cur"])}


# ---- links that can be cut -------------------------------------------------------------------------------------------


class Gate:
    """Lets `frames` more frames pass on its lines, both ways together; cuts them all in the middle of the next one.

    Greetings and heartbeats don't count. Without `frames` everything passes, and `passed` tells how many there were.
    """

    def __init__(self, frames: int | None = None) -> None:
        self.passed = 0
        self.shut = threading.Event()
        self._left = frames
        self._lines: list[Line] = []
        self._guard = threading.Lock()

    def guard(self, line: Line) -> Line:
        self._lines.append(line)
        return _Gated(line, self)

    def lets_pass(self) -> bool:
        with self._guard:
            if self.shut.is_set() or self._left == self.passed:
                self.shut.set()
                return False
            self.passed += 1
            return True

    def cut(self) -> None:
        self.shut.set()
        for line in self._lines:
            line.abort()


class _Meter:
    """Finds the frames in one direction of a line."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._head = bytearray()
        self._rest = 0

    def allowed(self, data: bytes | memoryview) -> int:
        """How many of these bytes may pass; fewer than all of them when the gate has shut."""
        at = 0
        while at < len(data):
            if self._rest:
                step = min(self._rest, len(data) - at)
                self._rest -= step
                at += step
                continue
            step = min(HEADER.size - len(self._head), len(data) - at)
            self._head += data[at : at + step]
            at += step
            if len(self._head) == HEADER.size:
                size, _, kind, _, _ = HEADER.unpack(self._head)
                self._head.clear()
                self._rest = int(size)
                if kind not in _UNCOUNTED and not self._gate.lets_pass():
                    return min(at + self._rest // 2, len(data) - 1)
        return at


class _Gated:
    """A line whose frames are counted."""

    def __init__(self, line: Line, gate: Gate) -> None:
        self._line, self._gate = line, gate
        self._in, self._out = _Meter(gate), _Meter(gate)

    def recv(self, size: int, /) -> bytes:
        data = self._line.recv(size)
        count = self._in.allowed(data)
        if count < len(data):
            self._gate.cut()
        return data[:count]

    def sendall(self, data: bytes | memoryview, /) -> None:
        count = self._out.allowed(data)
        self._line.sendall(data[:count])
        if count < len(data):
            self._gate.cut()
            raise ConnectionAbortedError("the gate has shut")

    def close(self) -> None:
        self._line.close()

    def abort(self) -> None:
        self._line.abort()

    def settle(self) -> str:
        return self._line.settle()


# ---- agents ----------------------------------------------------------------------------------------------------------


class HeldDesk(Desk):
    """A desk that tells when its reader has let go of the inlet, so that the descriptor may be closed."""

    def __init__(self, sock: socket.socket, hello: dict[str, object]) -> None:
        super().__init__(sock.fileno(), Outlet(sock.fileno()), hello)
        self._let_go = threading.Event()
        self._sock = sock

    def _read(self) -> None:
        try:
            super()._read()
        finally:
            self._let_go.set()

    def release(self) -> None:
        """Close the socket; the desk's run has ended."""
        self._sock.shutdown(socket.SHUT_RDWR)
        if not self._let_go.wait(10):
            raise RuntimeError("an agent's reader didn't end with its conversation")
        self._sock.close()


class ThreadAgent:
    """The agent in a thread of this process, at the far end of a socket pair."""

    def __init__(self, state: Path) -> None:
        ours, theirs = socket.socketpair()
        self.line = SocketLine(ours)
        self._state = str(state)
        hello = {"python": "here", "host": "here", "boot": marker.boot_id(), "uid": os.geteuid(), "stores": None}
        self._desk = HeldDesk(theirs, hello)
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=f"agent {state.name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        agent = Agent(self._desk, self._state, None, ["replication", "services"])
        try:
            self._desk.run()
        except Exception as error:  # noqa: BLE001 - told by `end`
            self._failure = error
        finally:
            agent.close()
            self._desk.release()

    def end(self) -> None:
        """Wait until it has left its stores. Raises what it died of, if it didn't end as an agent should."""
        self.line.abort()
        self._thread.join(15)
        if self._thread.is_alive():
            raise RuntimeError(f"{self._thread.name} didn't end with its conversation")
        if self._failure is not None:
            raise self._failure


_DYING = """
import os, signal, sys
sys.path.append(sys.argv.pop(1))
from orchestrator.agent.main import main
left = [int(sys.argv.pop(1))]
ACTS = frozenset(("open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.chmod", "os.utime", "os.rmdir"))
def watch(event, args):
    if event in ACTS:
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
sys.exit(main(sys.argv[1:]))
"""
"""An agent that kills itself (SIGKILL) before its n-th act upon the file system, opening included."""

IMMORTAL = 1 << 60


def dying_command(acts: int, state: Path) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", _DYING, house(), str(acts), "--state", str(state)]


# ---- pairs -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Faults:
    """What happens to the next conversations: a gate before a host's line; the acts after which its agent, a child
    process then, is killed. A child process behind a gate is killed when the gate shuts."""

    gates: dict[str, Gate]
    deaths: dict[str, int]

    @classmethod
    def of(cls, gate: Gate, hosts: Sequence[str], *, kill: bool = False) -> Faults:
        """A gate before these hosts; with `kill` their agents are child processes that die with it."""
        return cls(dict.fromkeys(hosts, gate), dict.fromkeys(hosts, IMMORTAL) if kill else {})


NONE = Faults({}, {})


class Laid:
    """A pair below `base`: host h's n-th store is base/h/n, its agent's state base/state/h."""

    def __init__(
        self, base: Path, way: str, *, sinks: int = 1, accounts: Sequence[str | None] = (None,),
        sshd: Sshd | None = None, **pair: object,
    ) -> None:  # fmt: skip
        self.base, self.way = base, way
        self._sshd = sshd
        self._agents: list[ThreadAgent] = []
        self._session: Session | None = None
        self.lines: dict[str, Line] = {}
        names = (PRIMARY, *SINKS[:sinks])
        for name in names:
            for number in range(len(accounts)):
                (base / name / str(number)).mkdir(parents=True, exist_ok=True)
        hosts = {name: self._host(name, accounts) for name in names}
        self.pair = replace(Pair("pair", hosts, hosts[PRIMARY].stores), **pair)  # type: ignore[arg-type]
        self.links: dict[str, Conversation] = {}

    def _host(self, name: str, accounts: Sequence[str | None]) -> Host:
        stores = tuple(Store(str(self.base / name / str(n)), glob) for n, glob in enumerate(accounts))
        place = "primary" if name == PRIMARY else "mirror" if name == SINKS[0] else "archive"
        if self._sshd is not None:
            return self._sshd.host(name, place=place, stores=stores)
        return Host(name, place, name, connection="local", stores=stores)

    @property
    def source(self) -> Path:
        return self.base / PRIMARY / "0"

    @property
    def mirror(self) -> Path:
        return self.base / SINKS[0] / "0"

    def mirrors(self) -> list[Path]:
        return [self.base / name / "0" for name in self.pair.hosts if name != PRIMARY]

    def state(self, host: str) -> Path:
        return self.base / "state" / host

    # -- conversations

    @property
    def session(self) -> Session:
        return self._session or self.open()

    def open(self, faults: Faults = NONE) -> Session:
        """Begin conversations with every host, in place of those there were. Raises HostUnreachable."""
        self.end()
        try:
            for name in self.pair.hosts:
                self.links[name] = self._converse(name, faults)
        except HostUnreachable:
            self.end()
            raise
        self._session = Session(self.pair, self.links)
        return self._session

    def _converse(self, name: str, faults: Faults) -> Conversation:
        gate = faults.gates.get(name)
        mortal = name in faults.deaths
        if self.way == SSH or (self.way == LOCAL and gate is None and not mortal):
            return open_conversation(self.pair.hosts[name], state=self.state(name))
        line: Line
        if self.way == MEMORY and not mortal:
            self._agents.append(ThreadAgent(self.state(name)))
            line = self._agents[-1].line
        elif self.way == OLD:
            line = ChildLine([*python39.command(), *agent_command(["--state", str(self.state(name))])[1:]])
        else:
            line = ChildLine(dying_command(faults.deaths.get(name, IMMORTAL), self.state(name)))
        self.lines[name] = line
        return Conversation(gate.guard(line) if gate else line, name=name, dead_after=20.0)

    def end(self) -> None:
        """End the conversations, and wait until every agent has left its stores."""
        for link in self.links.values():
            link.close()
        for agent in self._agents:
            agent.end()
        self._agents.clear()
        self.links, self.lines, self._session = {}, {}, None

    # -- what tests do

    def sync(self, **words: bool) -> SyncReport:
        """One pass; the first passive place's report."""
        return self.session.sync(**words)[0]  # type: ignore[arg-type]

    def verify(self, deep: bool = True) -> VerifyReport:
        """The verdict; the first passive place that differs has the word."""
        reports = self.session.verify(deep)
        return next((report for report in reports if not report.equal), reports[0])


def equal(laid: Laid) -> None:
    """Assert that every passive place equals the source: by the product's own deep proof, and by ours, bit by bit."""
    reports = laid.session.verify(deep=True)
    assert [report.differences for report in reports if not report.equal] == []
    for mirror in laid.mirrors():
        assert messages(mirror) == messages(laid.source)


@contextmanager
def bodies(laid: Laid) -> Iterator[list[int]]:
    """The sizes of the BODY frames that the source sends meanwhile."""
    seen: list[int] = []

    def look(frame: Frame) -> None:
        if frame.kind is Kind.BODY:
            seen.append(len(frame.blob))

    laid.session  # noqa: B018 - opens the links
    leave = laid.links[PRIMARY].subscribe(look)
    try:
        yield seen
    finally:
        leave()


@contextmanager
def in_memory() -> Iterator[Path]:
    """A directory on tmpfs where there is one, and the umask that an agent has."""
    shared = Path("/dev/shm")
    before = os.umask(0)
    place = Path(tempfile.mkdtemp(prefix="pair-", dir=shared if shared.is_dir() else None))
    try:
        yield place
    finally:
        os.umask(before)
        shutil.rmtree(place, ignore_errors=True)
