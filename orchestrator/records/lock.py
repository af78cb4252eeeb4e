"""One process at a time works on a pair: an advisory lock that says who holds it.

Invariant: the lock is the kernel's (flock), so it ends with the process that held it,
however that ended; what is written in the file only tells people who it is. The file is
never removed: a lock on a removed file would keep nobody out.

It doesn't wait and doesn't queue: who finds it held is told by whom, and decides.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from orchestrator.errors import NotPermitted, OperatorError, TryAgain


@dataclass(frozen=True)
class Holder:
    """Who holds a lock: process, since when (seconds since the epoch), and for which verb."""

    pid: int
    since: float
    what: str

    def sentence(self) -> str:
        started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} (`{self.what}`, since {started})"


class Held(TryAgain):
    """Somebody else has the lock; `holder` says who, or is None while they are still writing it."""

    def __init__(self, pair: str, holder: Holder | None) -> None:
        who = holder.sentence() if holder else "another process"
        super().__init__(
            f"{pair} is being worked on by {who}.", remedy="Wait until it is done, or stop it, then try again."
        )
        self.holder = holder


def state_dir(path: Path) -> Path:
    """The directory, made (0750) where it is missing. Raises NotPermitted or OperatorError."""
    try:
        path.mkdir(mode=0o750, parents=True, exist_ok=True)
    except PermissionError as error:
        raise NotPermitted(
            f"{path} can't be made: {error.strerror}.",
            remedy="Make it for the user who runs mailmirror, or set mm_state_dir.",
        ) from error
    except OSError as error:
        raise OperatorError(f"{path} can't be made: {error.strerror}.", remedy="Correct mm_state_dir.") from error
    return path


def given(fd: int, directory: Path) -> None:
    """What root makes in the daemon's state directory is the daemon's: its owner's, by an open file of it."""
    found = os.stat(directory)
    if os.geteuid() == 0 and found.st_uid != 0:
        os.fchown(fd, found.st_uid, found.st_gid)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """The system's errors about a file of a state directory in our words. Raises NotPermitted, OperatorError."""
    try:
        yield
    except PermissionError as error:
        raise NotPermitted(f"{path} can't be written: {error.strerror}.") from error
    except OSError as error:
        raise OperatorError(
            f"{path} can't be written: {error.strerror}.", remedy="Make room there, or mend mm_state_dir."
        ) from error


class Lock:
    """A pair's lock, as a context: taken on entering, given back on leaving.

    Raises Held when somebody else has it, NotPermitted when its file can't be opened.
    """

    def __init__(self, directory: Path, name: str, what: str) -> None:
        self.path = directory / f"{name}.lock"
        self._name, self._what = name, what
        self._fd = -1

    def __enter__(self) -> Lock:
        state_dir(self.path.parent)
        fd = self._open()
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(fd)
            raise Held(self._name, read_holder(self.path)) from error
        text = json.dumps({"pid": os.getpid(), "since": time.time(), "what": self._what})
        os.ftruncate(fd, 0)
        os.pwrite(fd, text.encode() + b"\n", 0)
        self._fd = fd
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.ftruncate(self._fd, 0)
        os.close(self._fd)
        self._fd = -1

    def _open(self) -> int:
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
            given(fd, self.path.parent)
            return fd
        except PermissionError as error:
            if self._is_held():
                raise Held(self._name, read_holder(self.path)) from error
            raise NotPermitted(f"{self.path} can't be opened: {error.strerror}.") from error

    def _is_held(self) -> bool:
        """Whether somebody has it, for whoever may only read it: the daemon's group, which may ask the daemon."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False


def read_holder(path: Path) -> Holder | None:
    """What the lock's file says of its holder; None when it says nothing that can be read."""
    try:
        told = json.loads(path.read_text())
        return Holder(int(told["pid"]), float(told["since"]), str(told["what"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
