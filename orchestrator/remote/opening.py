"""Begins the conversation with a host's agent, by the way that the inventory names.

`ssh`: the agent is shipped (or found, or bound to a forced command) and run by sshd. `local`: the agent's own
Unix socket where one listens, else a child process of this one. Retrying isn't done here: the caller knows how
patient it may be (`ssh.backoff`).
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import HostUnreachable, NotPermitted
from orchestrator.inventory import Host
from orchestrator.remote import bootstrap, ssh
from orchestrator.remote.host import Conversation
from orchestrator.remote.lines import ChildLine, Line, agent_command, local_socket

LOCAL_SOCKET = Path("/run/mailmirror-agent/agent.sock")
"""Where the root unit of an agent on this machine listens (design 4)."""
MEMBERS = "mailmirror"
"""The group that may speak to it, and the user that the daemon runs as."""
AGENT = "mailmirror-agent"
"""What is asked for where the key is bound to a forced command: a word for the host's log, which starts nothing."""


def arguments(
    *, stores: Sequence[str] | None = None, allow: Sequence[str] = (), state: str | Path | None = None
) -> list[str]:
    """The agent's command line: where its state is, and what it may do. No stores given: all that it is asked for."""
    words = ["--state", str(state)] if state is not None else []
    words += ["--stores", ",".join(stores)] if stores is not None else []
    return words + (["--allow", ",".join(allow)] if allow else [])


def open_conversation(
    host: Host,
    *,
    stores: Sequence[str] | None = None,
    allow: Sequence[str] = (),
    state: str | Path | None = None,
    heartbeat: float = 1.0,
    dead_after: float = 5.0,
    socket_path: Path = LOCAL_SOCKET,
) -> Conversation:
    """The conversation with the agent on `host`, greeted.

    Raises Refused (its key isn't pinned), NotPermitted (no login), HostUnreachable (anything that may pass).
    """
    words = arguments(stores=stores, allow=allow, state=state)
    if host.local:
        return Conversation(
            _local(host, words, socket_path), name=host.name, heartbeat=heartbeat, dead_after=dead_after
        )
    code = bootstrap.archive()
    trunk = ssh.connect(host)

    def branch(*more: str, alone: bool) -> Line:
        if host.forced:
            return _greet_bound(trunk.run(shlex.join([AGENT, *more]), alone=alone), host, code)
        line = trunk.run(bootstrap.command(host.python, [*words, *more], code), alone=alone)
        return bootstrap.greet(line, host.name, code)

    try:
        return Conversation(
            branch(alone=True), name=host.name, heartbeat=heartbeat, dead_after=dead_after,
            branch=lambda token: branch("lane", token, alone=False),
        )  # fmt: skip
    except BaseException:
        trunk.close()
        raise


def _greet_bound(line: Line, host: Host, code: bootstrap.Archive) -> Line:
    """The greeting of an agent that stands there already: nothing is shipped to it."""
    try:
        return bootstrap.greet(line, host.name, code)
    except HostUnreachable as error:
        raise HostUnreachable(
            str(error),
            remedy=f"mm_forced says that the key starts the agent on {host.name}. If it doesn't: run `mailmirror agent "
            "install`, or remove mm_forced.",
        ) from error


def _local(host: Host, words: Sequence[str], socket_path: Path) -> Line:
    try:
        return local_socket(socket_path) or ChildLine(agent_command(words))
    except PermissionError as error:
        raise NotPermitted(
            f"{host.name}: the agent's socket {socket_path} may not be asked: {error.strerror}.",
            remedy=f"Join the group {MEMBERS} (its members may do to the stores what the agent may), or use sudo.",
        ) from error
    except OSError as error:
        raise HostUnreachable(f"{host.name}: the agent on this machine can't be reached: {error}") from error
