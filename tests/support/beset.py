"""A controller's pass with one hostile agent, in a process of its own, so that what it took can be measured.

Prints one line of JSON: the error's kind, sentence and remedy (none when the pass was done), seconds, and the process's
peak resident size in MiB. Run as a module: BASE (of a pair laid there), HOST, MODE.
"""

from __future__ import annotations

import json
import resource
import sys
import time
import traceback
from pathlib import Path

from orchestrator.errors import MailmirrorError
from orchestrator.inventory.model import Host, Pair, Store
from orchestrator.remote.host import Conversation
from orchestrator.remote.lines import ChildLine, agent_command, house
from orchestrator.replication import flow
from orchestrator.replication.session import Session

SCRIPT = Path(__file__).with_name("hostile_agent.py")
PATIENCE = 4.0
"""Seconds for one answer, in place of the product's ten minutes."""


def command(mode: str, store: Path, state: Path) -> list[str]:
    """A hostile agent's command line."""
    return [sys.executable, "-S", str(SCRIPT), house(), mode, str(store), "--state", str(state)]


def pair(base: Path) -> Pair:
    """The pair that `pairs.Laid` lays at `base`."""
    hosts = {
        name: Host(name, place, name, connection="local", stores=(Store(str(base / name / "0")),))
        for name, place in (("p", "primary"), ("m", "mirror"))
    }
    return Pair("pair", hosts, hosts["p"].stores)


def connect(described: Pair, base: Path, hostile: str, mode: str) -> Session:
    """The session of a pair, one of whose agents is hostile. Raises HostUnreachable, with both agents ended."""
    links: dict[str, Conversation] = {}
    try:
        for name, host in described.hosts.items():
            state = base / "state" / name
            argv = command(mode, Path(host.stores[0].root), state) if name == hostile else None
            line = ChildLine(argv or agent_command(["--state", str(state)]))
            links[name] = Conversation(line, name=name, heartbeat=0.3, dead_after=2.0, greet_within=3.0)
    except MailmirrorError:
        for link in links.values():
            link.close()
        raise
    return Session(described, links)


def main(base: Path, hostile: str, mode: str) -> None:
    flow.PATIENCE = PATIENCE
    began = time.monotonic()
    told: dict[str, object] = {"kind": "", "text": "", "remedy": ""}
    session: Session | None = None
    try:
        session = connect(pair(base), base, hostile, mode)
        session.sync()
        session.verify(deep=True)
    except MailmirrorError as error:
        told = {"kind": type(error).__name__, "text": str(error), "remedy": error.remedy}
    except Exception as error:  # noqa: BLE001 - what the test looks for
        told = {"kind": "unexpected", "text": f"{type(error).__name__}: {error} {traceback.format_exc()}", "remedy": ""}
    finally:
        if session:
            session.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(json.dumps({**told, "seconds": time.monotonic() - began, "peak": peak}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
