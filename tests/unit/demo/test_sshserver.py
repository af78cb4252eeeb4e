"""The demo's SSH server: who gets in, what a command sees, and that nothing of it outlives its channel."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import paramiko
import pytest

from orchestrator.demo import keys
from orchestrator.demo.sshserver import read_keys
from tests.unit.demo.started import Started, everything, ssh_host


def test_a_command_runs_in_the_hosts_home_with_its_streams_apart_and_its_exit_status_told(host: Started) -> None:
    with host.client() as client, host.command(client, "pwd; echo $HOME $USER; echo oh >&2; exit 3") as channel:
        assert everything(channel).decode().split() == [str(host.home), str(host.home), "vmail"]
        assert channel.recv_stderr(100) == b"oh\n"
        assert channel.recv_exit_status() == 3


def test_a_command_inherits_nothing_of_the_demos_own_environment(
    host: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    with host.client() as client, host.command(client, "env") as channel:
        names = {line.partition("=")[0] for line in everything(channel).decode().splitlines()}
    assert "PYTHONPATH" not in names
    assert {"HOME", "PATH", "USER", "SSH_CONNECTION"} <= names


def test_only_the_listed_key_of_the_right_user_is_let_in(host: Started, tmp_path: Path) -> None:
    keys.make(tmp_path / "other.key")
    with pytest.raises(paramiko.AuthenticationException), host.client(key=tmp_path / "other.key"):
        pytest.fail("a foreign key was let in")
    with pytest.raises(paramiko.AuthenticationException), host.client(user="root"):
        pytest.fail("another user was let in")
    transport = paramiko.Transport(("127.0.0.1", host.port))
    try:
        transport.start_client(timeout=20)
        with pytest.raises(paramiko.BadAuthenticationType):
            transport.auth_password("vmail", "guess")
    finally:
        transport.close()


def test_no_shell_no_forwarding_and_no_subsystem_is_given(host: Started) -> None:
    with host.client() as client:
        channel = client.open_session(timeout=20)
        with pytest.raises(paramiko.SSHException):
            channel.invoke_subsystem("sftp")
        with pytest.raises(paramiko.ChannelException):
            client.open_channel("direct-tcpip", ("127.0.0.1", host.port), ("127.0.0.1", 1), timeout=20)


def test_eight_megabytes_pass_through_a_command_unharmed_both_ways_at_once(host: Started) -> None:
    sent = os.urandom(8 << 20)
    with host.client() as client, host.command(client, "cat") as channel:

        def push() -> None:
            channel.sendall(sent)
            channel.shutdown_write()

        pushing = threading.Thread(target=push)
        pushing.start()
        assert everything(channel) == sent
        pushing.join()
        assert channel.recv_exit_status() == 0


def test_several_channels_of_one_connection_run_side_by_side(host: Started) -> None:
    with host.client() as client:
        commands = [host.command(client, f"read line; echo $line {n}") for n in range(4)]
        channels = [command.__enter__() for command in commands]
        for channel in reversed(channels):
            channel.sendall(b"hello\n")
        assert [everything(channel) for channel in channels] == [b"hello %d\n" % n for n in range(4)]
        for command in commands:
            command.__exit__(None, None, None)


def test_closing_the_channel_ends_the_command_and_its_children(host: Started) -> None:
    with host.client() as client:
        with host.command(client, "sleep 600 & echo $$ $!; wait") as channel:
            pids = [int(word) for word in channel.recv(100).split()]
            assert all(_lives(pid) for pid in pids)
        assert _until(lambda: not any(_lives(pid) for pid in pids))


def test_a_command_that_ignores_sigterm_is_killed(host: Started) -> None:
    with host.client() as client:
        with host.command(client, "trap '' TERM HUP; echo $$; while :; do sleep 0.1; done") as channel:
            pid = int(channel.recv(100))
        assert _until(lambda: not _lives(pid))


def test_dropping_the_connections_ends_them_and_their_commands_and_new_ones_are_welcome(host: Started) -> None:
    with host.client() as client, host.command(client, "echo $$; exec sleep 600") as channel:
        pid = int(channel.recv(100))
        host.servant.order("drop")
        assert _until(lambda: not client.is_active() and not _lives(pid))
    with host.client() as client, host.command(client, "echo back") as channel:
        assert everything(channel) == b"back\n"


def test_a_cut_line_is_silent_without_closing_anything_and_a_heal_loses_no_byte(host: Started) -> None:
    with host.client() as client, host.command(client, "cat") as channel:
        channel.sendall(b"before ")
        assert channel.recv(100) == b"before "
        host.servant.order("cut")
        try:
            channel.sendall(b"during ")
            channel.settimeout(0.5)
            with pytest.raises(TimeoutError):
                channel.recv(100)
            assert client.is_active()
        finally:
            host.servant.order("heal")
        channel.settimeout(20)
        channel.sendall(b"after")
        channel.shutdown_write()
        assert everything(channel) == b"during after"


def test_a_forced_command_is_what_runs_and_it_is_told_what_was_asked_for(tmp_path: Path) -> None:
    option = r'restrict,command="echo \"forced: $SSH_ORIGINAL_COMMAND\""'
    with ssh_host(tmp_path, option) as host, host.client() as client, host.command(client, "rm -rf x") as channel:
        assert everything(channel) == b"forced: rm -rf x\n"


def test_keys_are_read_line_by_line_without_blank_ones_and_comments() -> None:
    text = '# ssh-ed25519 no\n\nssh-ed25519 AAAA me@here\nodd\nrestrict,command="a \\"b\\" c" ssh-ed25519 BBBB\n'
    found = read_keys(text)
    assert {key: found[key].forced for key in found} == {
        ("ssh-ed25519", "AAAA"): b"",
        ("ssh-ed25519", "BBBB"): b'a "b" c',
    }


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def _until(holds: object, within: float = 10.0) -> bool:
    assert callable(holds)
    deadline = time.monotonic() + within
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
