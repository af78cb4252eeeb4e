"""SSH against a real sshd: pinned keys, bounded waits, dead peers, clean ends, forced commands."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.agent.wire import Frame, Kind
from orchestrator.errors import HostUnreachable, LinkLost, NotPermitted, Refused
from orchestrator.inventory import Host
from orchestrator.remote import dial, packets, ssh
from orchestrator.remote.bootstrap import Archive, command, greet
from orchestrator.remote.host import Conversation
from orchestrator.remote.lines import Line, house
from tests.support import require
from tests.support.relay import Relay
from tests.support.sshd import Sshd, make_key, running_sshd
from tests.unit.remote.test_bootstrap import TOY, toy_code

pytestmark = pytest.mark.lab
SCRIPT = Path(__file__).parents[1] / "support" / "toy_agent.py"
STATE = Path("/var/lib/mailmirror-agent")


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    require.root()
    with running_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    threads, descriptors = set(threading.enumerate()), len(os.listdir("/proc/self/fd"))
    yield
    deadline = time.monotonic() + 3  # paramiko's timer is cancelled, not joined
    while not set(threading.enumerate()) <= threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(threading.enumerate()) <= threads
    assert len(os.listdir("/proc/self/fd")) <= descriptors


def toy(host: Host, *, dead_after: float = 5.0) -> Conversation:
    """A conversation with the toy, run there as a plain command."""
    line = ssh.connect(host).run(f"exec /usr/bin/python3 {SCRIPT} {house()}")
    return Conversation(line, name=host.name, heartbeat=0.2, dead_after=dead_after)


def shipped(host: Host, code: Archive, *arguments: str) -> Conversation:
    line = ssh.connect(host).run(command(host.python, arguments, code))
    return Conversation(greet(line, host.name, code), name=host.name)


def until_alone(sshd: Sshd) -> bool:
    """Whether every session is gone, or goes within some seconds."""
    deadline = time.monotonic() + 10
    while sshd.sessions() and time.monotonic() < deadline:
        time.sleep(0.02)  # processes of another namespace: nothing to wait for
    return not sshd.sessions()


@pytest.mark.issue("2.3 clean close")
def test_a_conversation_over_ssh_ends_without_a_trace(sshd: Sshd) -> None:
    with toy(sshd.host()) as far:
        assert far.request("echo", {}, bytes(3 << 20), timeout=20).blob == bytes(3 << 20)
        assert sshd.sessions()
    assert until_alone(sshd)
    assert sshd.said("Accepted publickey for root")


@pytest.mark.issue("2.3 AES-GCM first, large windows")
def test_aes_gcm_is_agreed_upon(sshd: Sshd) -> None:
    trunk = ssh.connect(sshd.host())
    assert trunk.cipher == "aes128-gcm@openssh.com"
    trunk.close()


@pytest.mark.issue("2.3 windows: what a host may send ahead, and in one packet")
def test_the_host_is_given_a_large_window(sshd: Sshd) -> None:
    line = ssh.connect(sshd.host()).run("head -c 20000000 /dev/zero; exec cat")
    deadline = time.monotonic() + 20
    while len(line._channel.in_buffer) < 20_000_000 and time.monotonic() < deadline:
        time.sleep(0.02)  # nobody reads: only the window lets it come
    assert len(line._channel.in_buffer) == 20_000_000
    assert line._channel.in_max_packet_size == ssh.PACKET
    line.abort()
    line.settle()


@pytest.mark.parametrize("cipher", ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes256-ctr"])
@pytest.mark.parametrize("renewed_by", ["nobody", "us", "the host"])
def test_bodies_arrive_with_any_cipher_and_while_keys_are_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cipher: str, renewed_by: str
) -> None:
    """Pins what `packets` takes for granted of paramiko: keys change while a body is on its way, and it is whole."""
    require.root()
    given: list[bytes] = []
    whole = packets.Batching.set_outbound_cipher

    def counted(self: packets.Batching, *args: object, **kwargs: object) -> None:
        whole(self, *args, **kwargs)  # type: ignore[arg-type]
        given.append(self._fixed)

    monkeypatch.setattr(packets.Batching, "set_outbound_cipher", counted)
    monkeypatch.setattr(ssh, "CIPHERS", (cipher,))
    if renewed_by == "us":
        monkeypatch.setattr(packets, "RENEW", 4 << 20)
        monkeypatch.setattr(packets.Batching, "REKEY_BYTES", 4 << 20)
    options = ["RekeyLimit 4M"] if renewed_by == "the host" else []
    with running_sshd(tmp_path, options=options) as server, toy(server.host(), dead_after=30.0) as far:
        blobs = [os.urandom(500_000) for _ in range(4)]
        for n in range(60):
            far.send(Frame(Kind.BODY, 1, {"n": n}, blobs[n % 4]))
        assert far.request("told", timeout=60).head == {"count": 60, "bytes": 30_000_000, "in_order": True}
        for blob in blobs:
            assert far.request("echo", {}, blob, timeout=20).blob == blob
    assert (len(given) == 1) == (renewed_by == "nobody")
    assert any(given) == ("gcm" in cipher)


@pytest.mark.issue("2.3 pinned host keys only: unknown")
def test_an_unknown_key_is_refused_before_anything_is_said(sshd: Sshd, tmp_path: Path) -> None:
    empty, before = tmp_path / "known_hosts", sshd.log.stat().st_size
    with pytest.raises(Refused, match=r"the key of \[127.0.0.1\]:\d+ isn't pinned in") as caught:
        ssh.connect(sshd.host(known_hosts=empty))
    assert f"ssh-keyscan -p {sshd.port} 127.0.0.1" in caught.value.remedy
    assert sshd.log.stat().st_size == before, "it isn't even connected to"


@pytest.mark.issue("2.3 pinned host keys only: changed")
def test_a_changed_key_is_refused_before_the_login(sshd: Sshd, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other").with_suffix(".pub").read_text()
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{sshd.port} {other}")
    logins = sshd.log.read_text().count("Accepted publickey")
    with pytest.raises(Refused, match="shows another key than the one that is pinned: ssh-ed25519 SHA256:") as caught:
        ssh.connect(sshd.host(known_hosts=known))
    assert "ssh-keygen -R" in caught.value.remedy and "somebody stands between" in caught.value.remedy
    assert sshd.log.read_text().count("Accepted publickey") == logins


def test_a_key_type_that_the_host_has_not_is_told(sshd: Sshd, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other", "ecdsa").with_suffix(".pub").read_text()
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{sshd.port} {other}")
    with pytest.raises(HostUnreachable, match="offers no algorithm that we accept"):
        ssh.connect(sshd.host(known_hosts=known))


def test_a_hashed_entry_pins_too(sshd: Sshd, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    known.write_bytes(sshd.known_hosts.read_bytes())
    subprocess.run(["ssh-keygen", "-H", "-f", known], check=True, capture_output=True)
    ssh.connect(sshd.host(known_hosts=known)).close()


@pytest.mark.issue("2.3 key file as the inventory says; a wrong one is told")
def test_a_key_that_is_not_let_in_is_told_with_its_fingerprint(sshd: Sshd, tmp_path: Path) -> None:
    stranger = make_key(tmp_path / "stranger")
    with pytest.raises(
        NotPermitted, match=r"root may not log in with ssh-ed25519 SHA256:\S+ \(from .*stranger\)"
    ) as caught:
        ssh.connect(sshd.host(key_file=stranger))
    assert "authorized_keys" in caught.value.remedy


def test_no_key_at_all_is_told_before_one_is_looked_for(sshd: Sshd) -> None:
    with pytest.raises(NotPermitted, match="no ansible_ssh_private_key_file is given, and no agent may be asked"):
        ssh.connect(sshd.host(key_file=None))


@pytest.mark.issue("2.3 ssh agent as the inventory says")
def test_a_key_with_a_passphrase_comes_from_the_agent(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = tmp_path / "locked"
    locked.write_bytes(sshd.client_key.read_bytes())
    locked.chmod(0o600)
    (tmp_path / "locked.pub").write_bytes(sshd.client_key.with_suffix(".pub").read_bytes())
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret", "-f", locked], check=True, capture_output=True)
    with pytest.raises(NotPermitted, match="is encrypted, and no agent may be asked"):
        ssh.connect(sshd.host(key_file=locked))
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", tmp_path / "agent"], stdout=subprocess.DEVNULL)
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        deadline = time.monotonic() + 10
        while not (tmp_path / "agent").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        with pytest.raises(NotPermitted, match="the SSH agent doesn't hold"):
            ssh.connect(sshd.host(key_file=locked, use_agent=True))
        subprocess.run(["ssh-add", "-q", sshd.client_key], check=True, capture_output=True)
        ssh.connect(sshd.host(key_file=locked, use_agent=True)).close()
        ssh.connect(sshd.host(key_file=None, use_agent=True)).close()
        with pytest.raises(NotPermitted, match="no agent may be asked"):
            ssh.connect(sshd.host(key_file=None, use_agent=False))
    finally:
        agent.terminate()
        agent.wait()


@pytest.mark.issue("2.3 bounded banner")
def test_a_server_without_a_banner_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "BANNER", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        known = tmp_path / "known_hosts"
        known.write_text(f"[127.0.0.1]:{port} {make_key(tmp_path / 'key').with_suffix('.pub').read_text()}")
        begin = time.monotonic()
        with pytest.raises(HostUnreachable, match="doesn't answer as an SSH server"):
            ssh.connect(Host("mute", "mirror", "127.0.0.1", port=port, known_hosts=known))
        assert time.monotonic() - begin < 5


def test_a_server_that_hangs_up_is_told_with_what_it_may_be(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as rude:
        port = rude.getsockname()[1]
        known = tmp_path / "known_hosts"
        known.write_text(f"[127.0.0.1]:{port} {make_key(tmp_path / 'key').with_suffix('.pub').read_text()}")
        thread = threading.Thread(target=lambda: rude.accept()[0].close())
        thread.start()
        with pytest.raises(HostUnreachable, match="doesn't answer as an SSH server") as caught:
            ssh.connect(Host("rude", "mirror", "127.0.0.1", port=port, known_hosts=known))
        thread.join()
        assert "PerSourcePenalties" in caught.value.remedy


@pytest.mark.issue("2.3 bounded connect, bounded auth, bounded exec")
def test_a_link_that_stops_during_the_login_is_given_up(sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "OPEN", 1.0)
    with Relay(("127.0.0.1", sshd.port), delay=0.4) as relay:
        known = sshd.known_hosts.with_name("known_relay")
        known.write_text(sshd.known_hosts.read_text().replace(str(sshd.port), str(relay.address[1])))
        begin = time.monotonic()
        with pytest.raises(HostUnreachable):
            ssh.connect(sshd.host(port=relay.address[1], known_hosts=known))
        assert time.monotonic() - begin < 4


@pytest.mark.issue("2.3 bounded exec: a host that goes silent after the login")
@pytest.mark.parametrize("alone", [True, False])
def test_a_command_that_is_never_started_is_given_up(sshd: Sshd, monkeypatch: pytest.MonkeyPatch, alone: bool) -> None:
    with Relay(("127.0.0.1", sshd.port)) as relay:
        trunk = ssh.connect(_behind(sshd, relay))
        whole = trunk._transport.open_session

        def opened(*args: object, **kwargs: object) -> object:
            channel = whole(*args, **kwargs)  # type: ignore[arg-type]
            relay.stall()
            return channel

        monkeypatch.setattr(trunk._transport, "open_session", opened)
        monkeypatch.setattr(ssh, "LOGIN", 1.0)
        begin = time.monotonic()
        with pytest.raises(HostUnreachable, match="sshd starts no command"):
            trunk.run("true", alone=alone)
        assert time.monotonic() - begin < 5
        assert trunk._transport.is_active() is not alone, "a lane that doesn't open leaves the others their trunk"
        trunk.close()


@pytest.mark.issue("2.3 bounded auth: a host that goes silent at the login")
def test_a_login_that_is_never_answered_is_given_up(sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "LOGIN", 1.0)
    with Relay(("127.0.0.1", sshd.port)) as relay:
        whole = ssh._exchange

        def exchanged(*args: object) -> None:
            whole(*args)  # type: ignore[arg-type]
            relay.stall()

        monkeypatch.setattr(ssh, "_exchange", exchanged)
        begin = time.monotonic()
        with pytest.raises(HostUnreachable, match="doesn't answer the login"):
            ssh.connect(_behind(sshd, relay))
        assert time.monotonic() - begin < 8


def _behind(sshd: Sshd, relay: Relay) -> Host:
    known = sshd.known_hosts.with_name("known_relay")
    known.write_text(sshd.known_hosts.read_text().replace(str(sshd.port), str(relay.address[1])))
    return sshd.host(port=relay.address[1], known_hosts=known)


@pytest.mark.issue("2.3 heartbeat finds a dead peer in seconds over ssh")
def test_a_stopped_session_is_found_within_seconds(sshd: Sshd) -> None:
    far = toy(sshd.host())
    stopped = sshd.sessions()
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        begin = time.monotonic()
        with pytest.raises(LinkLost, match="nothing came from it for 5 s"):
            far.request("echo", timeout=30)
        assert time.monotonic() - begin < 7.5
        far.close()
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    assert until_alone(sshd)


def test_a_sender_is_freed_too_when_the_peer_stops_reading(sshd: Sshd) -> None:
    far = toy(sshd.host(), dead_after=2.0)
    stopped = sshd.sessions()
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        begin = time.monotonic()
        with pytest.raises(LinkLost):
            for _ in range(64):
                far.send(Frame(Kind.BODY, 1, {}, bytes(1 << 20)))
        assert time.monotonic() - begin < 8
        far.close()
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    assert until_alone(sshd)


@pytest.mark.issue("2.3 an agent that dies over ssh is told with its last words")
def test_an_agent_that_dies_is_lost_with_its_last_words(sshd: Sshd) -> None:
    with toy(sshd.host()) as far, pytest.raises(LinkLost, match=r"(?s)exit status 1.*the toy broke"):
        far.request("die", timeout=20)
    assert until_alone(sshd)


def test_a_controller_that_is_killed_leaves_no_agent(sshd: Sshd) -> None:
    far = toy(sshd.host())
    assert len(sshd.sessions()) >= 2
    far._line.abort()  # as the kernel does with a dead process' sockets
    assert until_alone(sshd)
    far.close()


@pytest.mark.issue("2.3 the agent is shipped over ssh once")
def test_the_agent_is_shipped_over_ssh_and_found_the_next_time(sshd: Sshd) -> None:
    code = toy_code("over ssh")
    with shipped(sshd.host(), code, "--allow", "replication") as far:
        assert far.request("arguments", timeout=20).head["arguments"] == ["--allow", "replication"]
        sent = far.bytes_out
    home = sshd.root.path(STATE / "code" / code.sha)
    laid = home.stat().st_ino
    with shipped(sshd.host(), Archive(code.sha, b"not sent"), "--allow", "replication") as far:
        far.request("echo", timeout=20)
    assert home.stat().st_ino == laid and sent < 1000
    assert sshd.root.path(STATE).stat().st_mode & 0o777 == 0o700


@pytest.mark.issue("2.3 several channels of one connection where one sshd window would be the limit")
def test_bodies_go_over_four_channels_of_one_connection_in_order(sshd: Sshd) -> None:
    code, host = toy_code("lanes"), sshd.host()
    trunk = ssh.connect(host)

    def branch(*more: str, alone: bool) -> Line:
        return greet(trunk.run(command(host.python, more, code), alone=alone), host.name, code)

    before = sshd.log.read_text().count("Accepted publickey")
    with Conversation(branch(alone=True), name="far", branch=lambda token: branch("lane", token, alone=False)) as far:
        assert far.widen(4) == 4
        for n in range(64):
            far.send(Frame(Kind.BODY, 1, {"n": n}, bytes(500_000)))
        told = far.request("told", timeout=30).head
        assert told == {"count": 64, "bytes": 32_000_000, "in_order": True}
    assert sshd.log.read_text().count("Accepted publickey") == before
    assert until_alone(sshd)


@pytest.mark.parametrize("shell", ["/bin/bash", "/bin/dash"])
def test_the_users_shell_does_not_matter(sshd: Sshd, shell: str) -> None:
    sshd.root.check(["sed", "-i", f"s|^\\(root:.*\\):[^:]*$|\\1:{shell}|", "/etc/passwd"])
    with shipped(sshd.host(), toy_code()) as far:
        far.request("echo", timeout=20)


def test_the_toy_is_what_is_shipped() -> None:
    assert "def main(arguments" in TOY and dial.CONNECT > 0
