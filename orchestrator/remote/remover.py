"""Takes away from a mail host what `installer` laid there: the key's line, the agent's code, and what starts it.

Its text goes over SSH as an argument of `python3 -c`; whose line to remove comes on standard input as one line of JSON
{blob}, the key's own; another, after the installer's MARK, says what was done. The agent's indexes stay: they know what
the quarantine holds. Running it again changes nothing.
"""

import json
import os
import shutil
import sys

MARK = b"\n\x00mailmirror-install\x00 "


def forbid(blob: str, path: str) -> str:
    """Take every line of the key out of authorized_keys; durable before it has the name."""
    try:
        with open(path) as file:
            before = file.read().splitlines()
    except FileNotFoundError:
        return "absent"
    kept = [each for each in before if blob not in each.split() or each.lstrip().startswith("#")]
    if kept == before:
        return "absent"
    new = path + ".mailmirror-new"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "wb") as file_out:
        file_out.write("".join(line + "\n" for line in kept).encode())
        file_out.flush()
        os.fsync(file_out.fileno())
    os.rename(new, path)
    return "removed"


def remove() -> None:
    os.umask(0o077)
    job = json.loads(sys.stdin.readline())
    home = os.path.expanduser("~")
    root = os.getuid() == 0
    state = "/var/lib/mailmirror-agent" if root else os.path.join(home, ".local/state/mailmirror-agent")
    said = {"state": state, "line": forbid(job["blob"], os.path.join(home, ".ssh", "authorized_keys"))}
    shutil.rmtree(os.path.join(state, "code"), ignore_errors=True)
    if os.path.exists(os.path.join(state, "agent.py")):
        os.unlink(os.path.join(state, "agent.py"))
    os.write(1, MARK + json.dumps(said).encode() + b"\n")


if __name__ == "__main__":
    remove()
