# Starts the agent on a mail host. Its text goes over SSH as an argument of `python3 -c`, and once `agent install` has
# laid it down it is what a forced command runs. It stands alone, and must be understood by any Python 3, so that an
# old one can say that it is too old.
#
# Arguments: [--code SHA256 SIZE] and then the agent's own. With --code, that version is run: from the state
# directory where it is there, else after asking for it on standard output ("want") and reading SIZE bytes of it from
# standard input. Without, the version that `current` in the state directory names. Before the first frame there is one
# line, which begins with MARK: whatever a login shell printed comes before it. A forced command takes one thing from
# what the client asked for, and only when it stands at its end: "lane TOKEN".
import importlib.util
import os
import runpy
import sys

MARK = b"\n\x00mailmirror-agent\x00 "
KEEP = 2


def say(text: str) -> None:
    os.write(1, MARK + text.encode("ascii", "replace") + b"\n")


def refuse(text: str) -> SystemExit:
    say("fault " + " ".join(text.split()))
    return SystemExit(78)


def state(arguments: "list[str]") -> str:
    if "--state" in arguments[:-1]:
        return arguments[arguments.index("--state") + 1]
    if os.getuid() == 0:
        return "/var/lib/mailmirror-agent"
    return os.path.join(os.path.expanduser("~"), ".local/state/mailmirror-agent")


def receive(size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = os.read(0, size - len(data))
        if not piece:
            sys.exit(78)
        data += piece
    return data


def durable(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def settle(directory: str) -> None:
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def unpack(data: bytes, sha: str) -> "dict[str, str]":
    import hashlib
    import json
    import zlib

    try:
        plain = zlib.decompressobj().decompress(data, 16 << 20)
    except zlib.error:
        plain = b""
    if hashlib.sha256(plain).hexdigest() != sha:
        raise refuse("the agent's code arrived damaged")
    return dict(json.loads(plain.decode()))


def lay(code: str, sha: str, files: "dict[str, str]") -> None:
    import shutil
    import tempfile

    new = tempfile.mkdtemp(prefix=".new-", dir=code)
    package = os.path.join(new, "orchestrator", "agent")
    os.makedirs(package, 0o700)
    durable(os.path.join(new, "orchestrator", "__init__.py"), b"")
    for name in files:
        if os.path.basename(name) != name or not name.endswith(".py"):
            raise refuse("the agent's code has an odd name: %r" % name)
        durable(os.path.join(package, name), files[name].encode())
    for directory in (package, os.path.dirname(package), new):
        settle(directory)
    try:
        os.rename(new, os.path.join(code, sha))
    except OSError:
        if not os.path.isdir(os.path.join(code, sha)):
            raise
        shutil.rmtree(new)
    settle(code)
    prune(code, sha)


def prune(code: str, sha: str) -> None:
    import shutil
    import time

    def age(name: str) -> float:
        return os.stat(os.path.join(code, name)).st_mtime

    link = os.path.join(code, "current")
    pinned = {sha, os.readlink(link) if os.path.islink(link) else ""}
    left = [n for n in os.listdir(code) if n != "current" and not n.startswith(".") and n not in pinned]
    for name in sorted(left, key=age, reverse=True)[KEEP - 1 :]:
        shutil.rmtree(os.path.join(code, name), ignore_errors=True)
    for name in os.listdir(code):
        if name.startswith(".new-") and age(name) < time.time() - 3600:
            shutil.rmtree(os.path.join(code, name), ignore_errors=True)


def find(arguments: "list[str]") -> "tuple[str, list[str]]":
    if arguments[:1] != ["--code"]:
        return os.path.join(state(arguments), "code", "current"), arguments + lane()
    sha, size, arguments = arguments[1], int(arguments[2]), arguments[3:]
    code = os.path.join(state(arguments), "code")
    home = os.path.join(code, sha)
    if not os.path.isdir(home):
        os.makedirs(code, 0o700, exist_ok=True)
        say("want")
        lay(code, sha, unpack(receive(size), sha))
    os.utime(home)
    return home, arguments


def lane() -> "list[str]":
    asked = os.environ.get("SSH_ORIGINAL_COMMAND", "").split()[-2:]
    return asked if len(asked) == 2 and asked[0] == "lane" and asked[1].isalnum() else []


def start() -> None:
    if sys.version_info < (3, 9):
        raise refuse("its Python is %d.%d; the agent needs 3.9 or newer" % sys.version_info[:2])
    try:
        import sqlite3  # noqa: F401
    except ImportError as error:
        raise refuse("its Python %d.%d has no sqlite3 module (%s)" % (*sys.version_info[:2], error)) from error
    before = os.umask(0o077)
    try:
        home, arguments = find(sys.argv[1:])
        sys.path.append(home)
        program = "orchestrator.agent." + ("lanes" if arguments[-2:-1] == ["lane"] else "main")
        if importlib.util.find_spec(program) is None:
            raise ImportError("it has no " + program)
    except (OSError, ImportError) as error:
        raise refuse("the agent's code can't be kept or found there: %s" % error) from error
    os.umask(before)
    say("have")
    sys.argv[1:] = arguments
    runpy.run_module(program, run_name="__main__")


if __name__ == "__main__":
    start()
