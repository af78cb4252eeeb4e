"""Lays the agent down on a mail host for a forced command: its code, what the command starts, and the key's line.

Its text goes over SSH as an argument of `python3 -c`; what to lay comes on standard input as one line of JSON {loader,
sha, files, line}; another, after MARK, says what was done. Running it again changes nothing.
"""

import json
import os
import sys

MARK = b"\n\x00mailmirror-install\x00 "


def replace(path: str, text: str) -> None:
    """The file's whole new content, durable before it has the name."""
    new = path + ".mailmirror-new"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())
    os.rename(new, path)


def lay(job: "dict[str, object]") -> str:
    loader: dict[str, object] = {"__name__": "loader"}
    exec(str(job["loader"]), loader)  # the same text that is laid down
    state = loader["state"]([])  # type: ignore[operator]
    code, sha = os.path.join(state, "code"), str(job["sha"])
    os.makedirs(code, 0o700, exist_ok=True)
    if not os.path.isdir(os.path.join(code, sha)):
        loader["lay"](code, sha, job["files"])  # type: ignore[operator]
    replace(os.path.join(state, "agent.py"), str(job["loader"]))
    link = os.path.join(code, ".current-new")
    if os.path.islink(link):
        os.unlink(link)
    os.symlink(sha, link)
    os.rename(link, os.path.join(code, "current"))
    loader["settle"](code)  # type: ignore[operator]
    return str(state)


def authorize(line: str, path: str) -> str:
    """The key's line in authorized_keys, in place of every other line of that key: sshd takes the first that fits."""
    blob = line.split()[-2]
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    try:
        with open(path) as file:
            before = file.read().splitlines()
    except FileNotFoundError:
        before = []
    kept = [each for each in before if blob not in each.split() or each.lstrip().startswith("#")]
    if before == [*kept, line]:
        return "there"
    replace(path, "\n".join([*kept, line]) + "\n")
    return "replaced" if len(kept) < len(before) else "added"


def install() -> None:
    os.umask(0o077)
    job = json.loads(sys.stdin.readline())
    said = {"state": lay(job)}
    said["line"] = authorize(job["line"], os.path.join(os.path.expanduser("~"), ".ssh", "authorized_keys"))
    os.write(1, MARK + json.dumps(said).encode() + b"\n")


if __name__ == "__main__":
    install()
