"""Who is at the other end of the agent's socket, by processes of other users."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.agent import peer
from orchestrator.agent.main import NOT_PERMITTED
from tests.support import require
from tests.support.image import CHECKOUT

CONNECT = """
import os, socket, sys
os.setgroups([]); os.setgid(int(sys.argv[3])); os.setuid(int(sys.argv[2]))
with socket.socket(socket.AF_UNIX) as it:
    it.connect(sys.argv[1]); it.sendall(b"x"); it.recv(1)
"""


@pytest.mark.issue("6.1 the agent's socket: access by group, SO_PEERCRED checked")
def test_only_root_the_owner_and_the_groups_members_may_speak(tmp_path: Path) -> None:
    require.root()
    os.chmod(tmp_path, 0o755)
    for above in tmp_path.parents:
        if above.owner() == "root" and above != Path("/") and str(above).startswith("/tmp/pytest"):
            above.chmod(0o755)
    nobody, group = pwd.getpwnam("nobody").pw_uid, grp.getgrnam("mail")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        os.chmod(tmp_path / "s", 0o666)
        listening.listen()
        for uid, gid, refused in ((nobody, 65534, True), (nobody, group.gr_gid, False), (0, 0, False)):
            words = [sys.executable, "-c", CONNECT, str(tmp_path / "s"), str(uid), str(gid)]
            with subprocess.Popen(words) as child:
                connection, _ = listening.accept()
                with connection:
                    found = peer.peer(connection)
                    assert (found.pid, found.uid, found.gid) == (child.pid, uid, gid)
                    why = peer.refusal(connection.fileno(), "mail")
                    assert bool(why) == refused, why
            if refused:
                assert why == f"user {uid} (process {child.pid}) isn't in the group mail"


@pytest.mark.issue("6.1 the agent's socket: access by group, SO_PEERCRED checked")
def test_an_agent_with_a_group_speaks_to_nobody_without_a_socket_or_of_no_such_group() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for group, said in (("no-such-group", "there is no group"), ("root", "")):
            command = [sys.executable, "-m", "orchestrator.agent.main", "--group", group, "--stores", "/srv/a"]
            with subprocess.Popen(
                command, cwd=CHECKOUT, stdin=theirs.fileno(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
            ) as child:
                if not said:
                    ours.shutdown(socket.SHUT_WR)
                out, err = child.communicate(timeout=30)
            assert (child.returncode == NOT_PERMITTED) == bool(said)
            assert said.encode() in err and bool(out) != bool(said), "refused before its greeting"
    with socket.socket(socket.AF_INET) as network:
        assert "no Unix socket" in peer.refusal(network.fileno(), "root")
