"""A controller in a process of its own, which can be stopped and continued: one pass for each line on its input.

Run as a module: BASE (of a pair laid there), SOCKET (where the mirror's agent is reached). Each pass answers with a
line: how many deletions were applied, or the error.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from orchestrator.errors import MailmirrorError
from orchestrator.remote.host import Conversation
from orchestrator.remote.lines import ChildLine, SocketLine, agent_command
from orchestrator.replication.session import Session
from tests.support.beset import pair


def main(base: Path, path: str) -> None:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    links = {
        "p": Conversation(ChildLine(agent_command(["--state", str(base / "state/p")])), name="p", dead_after=30.0),
        "m": Conversation(SocketLine(sock), name="m", dead_after=30.0),
    }
    session = Session(pair(base), links)
    for _ in sys.stdin:
        try:
            told = str(session.sync()[0].tally.deleted)
        except MailmirrorError as error:
            told = str(error)
        sys.stdout.write(told + "\n")
        sys.stdout.flush()
    session.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
