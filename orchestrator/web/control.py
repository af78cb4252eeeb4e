"""The control socket: a Unix socket through which commands ask the daemon. It lies in `mm_state_dir`; under systemd in
the unit's runtime directory (/run/mailmirror), and `mm_state_dir` has a link to it, so that commands find both alike.

One connection carries one request frame, then NOTICE frames while it is worked on, then a
REPLY or a FAULT (frames: `agent.wire`). Who asks is read from the kernel (SO_PEERCRED):
root, the daemon's own user, and members of the socket's group may.

Invariant: a client can't hurt the daemon. Requests are small and have to come within
seconds, connections are few, each is served by a thread of its own, and sending to a
client that doesn't read never blocks the thread that works. A socket file is only removed
when nobody listens behind it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from orchestrator.agent import peer
from orchestrator.agent.wire import Decoder, Frame, Garbled, Kind, encode
from orchestrator.errors import MailmirrorError, NotPermitted, TryAgain, UsageError
from orchestrator.records.lock import state_dir
from orchestrator.web import unixpath
from orchestrator.web.desk import Caller, Json, Outlet

log = logging.getLogger(__name__)

NAME = "control.sock"
MAX_REQUEST = 64 << 10  # bytes
REQUEST_WITHIN = 5.0  # seconds from connecting to a whole request
SEND_WITHIN = 10.0  # seconds for one frame
MAX_CONNECTIONS = 32

Answer = Callable[[Mapping[str, Json], Caller, Outlet], Json]


def place(state: Path) -> Path:
    """Where the socket lies: in the runtime directory that systemd gave, see systemd.exec(5), else in the state's."""
    given = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    return (Path(given) if given.startswith("/") else state) / NAME


def link(state: Path, socket_path: Path) -> Callable[[], None]:
    """Have the state directory lead to a socket that lies elsewhere; returns what takes the link away.

    Raises TryAgain where somebody listens there already, and UsageError where something is in the way.
    """
    where = state_dir(state) / NAME
    if where == socket_path:
        return lambda: None

    def leads_there() -> bool:
        return where.is_symlink() and os.readlink(where) == str(socket_path)

    def away() -> None:
        if leads_there():
            where.unlink(missing_ok=True)

    if leads_there():  # one that was killed left it, and it is this one that answers there now
        return away
    if _somebody_listens(where):
        raise TryAgain(f"Another daemon listens on {where}.", remedy="Stop it, or give this one another mm_state_dir.")
    try:
        _clear(where)
        where.symlink_to(socket_path)
    except OSError as error:
        raise UsageError(f"{where} can't lead to {socket_path}: {error}.", remedy="Mend mm_state_dir.") from error
    return away


class Control:
    """The listening socket and its connections. `answer` is called on a thread per connection."""

    def __init__(self, path: Path, answer: Answer) -> None:
        self.path = path
        self._answer = answer
        self._places = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._socket = _listen(path)
        self._identity, self._group = _identity(path), os.stat(path).st_gid
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._accept, name=f"control {path}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Listen no more. Requests that are being worked on go on; the socket file goes if it is still ours."""
        self._closing.set()
        with contextlib.suppress(OSError):  # shutting down wakes accept(2); a socket that is closed already is fine
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(1.0)
        self._socket.close()
        if _identity(self.path) == self._identity:
            self.path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError as error:
                if self._closing.wait(0.1):  # out of file descriptors, say: it may pass
                    return
                log.warning("The control socket took no connection: %s", error)
                continue
            if not self._places.acquire(blocking=False):
                self._refuse(connection)
                continue
            threading.Thread(target=self._serve, args=(connection,), name="control request", daemon=True).start()

    def _refuse(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):  # it is turned away: whether it hears why is its own affair
            connection.settimeout(0.0)
            connection.sendall(_fault(0, TryAgain("Too many ask the daemon at once.")))

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                self._converse(connection)
        except (OSError, Garbled) as error:
            log.info("A request on the control socket came to nothing: %s", error)
        finally:
            self._places.release()

    def _converse(self, connection: socket.socket) -> None:
        number, outlet = 0, Pipe(connection)
        try:
            caller = _caller(connection)
            self._check(caller)
            request = _read_request(connection)
            number = request.id
            outlet.number = number
            head = {"verb": "?", **request.head}
            last = _reply(number, self._answer(head, caller, outlet))
        except MailmirrorError as error:
            last = _fault(number, error)
        except (OSError, Garbled):
            raise
        except Exception:  # a fault of ours: the client learns of it, the log gets the traceback, the daemon goes on
            log.exception("A request on the control socket failed")
            last = _fault(number, MailmirrorError("The daemon failed to answer.", remedy="Its log has the traceback."))
        outlet.finish(last)

    def _check(self, caller: Caller) -> None:
        if not may_ask(caller, owner=os.geteuid(), group=self._group):
            raise NotPermitted(
                f"User {caller.uid} may not ask this daemon.", remedy="Join the socket's group, or use sudo."
            )


class Pipe:
    """An `Outlet` on a connection. Notices are dropped while the client hasn't read the last one."""

    def __init__(self, connection: socket.socket) -> None:
        self.number = 0
        self._connection = connection
        self._lock = threading.Lock()
        self._rest = b""  # of a notice that didn't fit: frames go whole or not at all

    def offer(self, told: Json) -> None:
        with self._lock:
            if not self._rest:
                self._rest = encode(Frame(Kind.NOTICE, self.number, {}, _dump(told)))
            self._push()

    def tell(self, told: Json) -> None:
        self.finish(encode(Frame(Kind.NOTICE, self.number, {}, _dump(told))))

    def finish(self, data: bytes) -> None:
        """Send all of it, after what is left. Raises OSError, TimeoutError among them."""
        with self._lock:
            data, self._rest = self._rest + data, b""
            self._connection.settimeout(SEND_WITHIN)
            self._connection.sendall(data)

    def _push(self) -> None:
        self._connection.setblocking(False)
        try:
            sent = self._connection.send(self._rest)
        except BlockingIOError:
            return
        except OSError:
            sent = len(self._rest)  # the client is gone; `finish` will meet it and say so
        self._rest = self._rest[sent:]


def _listen(path: Path) -> socket.socket:
    """A listening socket at the path, 0660. Raises TryAgain when somebody listens there already."""
    state_dir(path.parent)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _somebody_listens(path):
            raise TryAgain(
                f"Another daemon listens on {path}.",
                remedy="Stop it, or give this inventory an mm_state_dir of its own.",
            )
        _clear(path)
        os.fchmod(
            listener.fileno(), 0o660
        )  # Linux gives the file the mode of the socket's inode: never wider for a moment
        with unixpath.reachable(str(path)) as reachable:
            listener.bind(reachable)
        os.chmod(path, 0o660)
        listener.listen(MAX_CONNECTIONS)
    except PermissionError as error:
        listener.close()
        raise NotPermitted(f"{path} can't be opened: {error.strerror}.") from error
    except OSError as error:
        listener.close()
        raise UsageError(
            f"{path} can't be listened on: {error}.", remedy="Mend mm_state_dir, or name another."
        ) from error
    except MailmirrorError:
        listener.close()
        raise
    return listener


def _clear(path: Path) -> None:
    """Remove a socket behind which nobody listens, or a link to one. Raises FileExistsError for anything else."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode) and not path.is_symlink():
            raise FileExistsError(errno.EEXIST, "something that is no socket is in the way", str(path))
        path.unlink()


def _somebody_listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            with unixpath.reachable(str(path)) as reachable:
                probe.connect(reachable)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except TimeoutError:
            return True
        return True


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _caller(connection: socket.socket) -> Caller:
    return Caller(*peer.peer(connection))


def may_ask(caller: Caller, *, owner: int, group: int) -> bool:
    """May this caller ask a daemon of this user and socket group?"""
    return peer.may_ask(caller.uid, caller.gid, owner=owner, group=group)


def _read_request(connection: socket.socket) -> Frame:
    decoder, size, deadline = Decoder(), 0, time.monotonic() + REQUEST_WITHIN
    while size <= MAX_REQUEST:
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        data = connection.recv(MAX_REQUEST)
        if not data:
            raise Garbled("it was closed before a whole request came")
        size += len(data)
        for frame in decoder.feed(data):
            if frame.kind is not Kind.REQUEST:
                raise UsageError("The control socket takes requests only.")
            return frame
    raise UsageError(f"The request is larger than {MAX_REQUEST} bytes.")


def _dump(told: Json) -> bytes:
    return json.dumps(told, separators=(",", ":")).encode()


def _reply(number: int, told: Json) -> bytes:
    try:
        return encode(Frame(Kind.REPLY, number, {}, _dump(told)))
    except ValueError as error:
        raise MailmirrorError(
            "The answer is too large for the control socket.", remedy="Ask for less at once."
        ) from error


def _fault(number: int, error: MailmirrorError) -> bytes:
    head: dict[str, Any] = {
        "code": type(error).__name__,
        "exit": error.exit_code,
        "message": str(error)[:20000],
        "remedy": error.remedy[:20000],
    }
    return encode(Frame(Kind.FAULT, number, head))
