"""SSH, done carefully: one transport per host, pinned keys only, everything bounded. The only importer of paramiko.

A `Trunk` is an authenticated transport; a `SshLine` is one command on it. paramiko's defaults
that we don't take, each for a measured reason: AES-CTR before AES-GCM (a quarter slower), a
2 MiB window (18 MB/s at 100 ms), no keepalive and no TCP_USER_TIMEOUT (a dead peer is never
found), waits without a deadline, and file objects whose finalisers can deadlock the transport
(paramiko#2685): channels are used directly and closed by hand.

Invariant: a host whose key isn't pinned gets no byte after the key exchange, not even a user
name. After `close` or `abort` of a trunk neither thread nor socket of it is left.
"""

from __future__ import annotations

import importlib
import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, cast

from orchestrator.errors import HostUnreachable, NotPermitted, Refused
from orchestrator.inventory import Host
from orchestrator.remote import login, packets
from orchestrator.remote.dial import BUSY, dial
from orchestrator.remote.known_hosts import DEFAULT_PORT, Key, Pins, file_name, pins
from orchestrator.remote.lines import LAST_WORDS, PATIENCE, TICK, words

if TYPE_CHECKING:
    import paramiko

CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr")
DIGESTS = (
    "hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512",
)  # fmt: skip
WINDOW = 64 << 20
"""Bytes a host may send us unasked on one channel; the application's own credit is smaller."""
PACKET = 240 << 10
"""Bytes in one SSH packet that we take; OpenSSH sends up to 256 KiB. At 32 KiB sshd needs two to four times the CPU."""
HEADROOM = 64
"""Bytes of a packet that paramiko leaves for what isn't data."""
AT_ONCE = 512
"""Buffers handed to the kernel at once: sendmsg(2) takes 1024."""
AHEAD = 256 << 10
"""Bytes read from the socket at once."""
BANNER, EXCHANGE, LOGIN, OPEN = 10.0, 15.0, 20.0, 45.0
"""Seconds: sshd's banner; key exchange; the login; all of it together with the first command."""
CUT = "the SSH connection was cut"


def connect(host: Host) -> Trunk:
    """An authenticated transport to the host.

    Raises Refused when its key isn't pinned, NotPermitted when the login is refused or there is no key to log in with
    (both need a person: trying again only earns penalties), HostUnreachable for everything that may pass.
    """
    pinned = _pins(host)
    sock = dial(host)
    try:
        # After dialling: sshd prepares itself while paramiko is being imported (a fifth of a second).
        library = _paramiko()
        transport = _transport(library, sock, pinned)
    except BaseException:
        sock.close()
        raise
    trunk = Trunk(host.name, transport, sock)
    try:
        with _within(OPEN, trunk.abort):
            _exchange(library, transport, host, pinned)
            login.log_in(library, transport, host)
    except BaseException:
        trunk.close()
        raise
    return trunk


@cache
def _paramiko() -> ModuleType:
    """paramiko, imported late, and without invoke where nobody has that yet.

    paramiko takes invoke only for ssh_config's `Match exec`, does without when it is missing, and we read no
    ssh_config; it is a fifth of the import's time.
    """
    spared = "invoke" not in sys.modules
    if spared:
        sys.modules["invoke"] = None  # type: ignore[assignment]  # documented: makes its import fail
    try:
        library = importlib.import_module("paramiko")
    finally:
        if spared:
            del sys.modules["invoke"]
    # What paramiko logs as an error it also raises, and we tell it better.
    logging.getLogger("paramiko").setLevel(logging.CRITICAL + 1)
    return library


def _transport(library: ModuleType, sock: socket.socket, pinned: Pins) -> paramiko.Transport:
    transport: paramiko.Transport = library.Transport(
        _Socket(sock), default_window_size=WINDOW, default_max_packet_size=PACKET,
        packetizer_class=packets.packetizer(library),
    )  # fmt: skip
    options = transport.get_security_options()
    options.ciphers, options.digests = CIPHERS, DIGESTS
    options.kex = tuple(name for name in options.kex if not name.startswith("diffie-hellman"))
    # The server has a key of each type; it must show one that is pinned, or an honest host looks like another.
    options.key_types = _algorithms(pinned)
    transport.banner_timeout, transport.handshake_timeout = BANNER, EXCHANGE
    transport.auth_timeout = transport.channel_timeout = LOGIN
    return transport


def _algorithms(pinned: Pins) -> tuple[str, ...]:
    """The host key algorithms to ask for: one key type may have several signature algorithms (RFC 8332)."""
    known = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521")
    wanted = tuple(kind for kind in known if kind in pinned.kinds)
    return wanted + (("rsa-sha2-512", "rsa-sha2-256") if "ssh-rsa" in pinned.kinds else ())


def _pins(host: Host) -> Pins:
    """What is pinned for the host. Raises Refused when nothing is."""
    name = file_name(host.address, host.port)
    try:
        lines = host.known_hosts.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        lines = []
    except OSError as error:
        raise NotPermitted(f"{host.name}: can't read {host.known_hosts}: {error.strerror}") from error
    found = pins(lines, (name, file_name(host.name, host.port)))
    if not _algorithms(found):
        raise Refused(f"{host.name}: the key of {name} isn't pinned in {host.known_hosts}", remedy=_pin_it(host))
    return found


def _pin_it(host: Host) -> str:
    port = f"-p {host.port} " if host.port != DEFAULT_PORT else ""
    return (
        f"Run `ssh-keyscan {port}{host.address}`, compare the key with what `ssh-keygen -lf "
        f"/etc/ssh/ssh_host_ed25519_key.pub` says on the host itself, and add the line to {host.known_hosts}."
    )


def _exchange(library: ModuleType, transport: paramiko.Transport, host: Host, pinned: Pins) -> None:
    """Agree on keys, and see that the host is the one that was pinned."""
    where = f"{host.name}: {host.address} port {host.port}"
    try:
        transport.start_client(timeout=BANNER + EXCHANGE)
        shown = transport.get_remote_server_key()
    except library.ssh_exception.IncompatiblePeer as error:
        raise HostUnreachable(
            f"{where} offers no algorithm that we accept: {error}",
            remedy="Update OpenSSH there, or pin the key of another type.",
        ) from error
    except (library.SSHException, OSError, EOFError) as error:
        raise HostUnreachable(
            f"{where} doesn't answer as an SSH server: {error or 'it hung up'}", remedy=BUSY
        ) from error
    key = Key(shown.get_name(), shown.asbytes())
    if not pinned.accept(key):
        name = file_name(host.address, host.port)
        raise Refused(
            f"{where} shows another key than the one that is pinned: {key.kind} {key.fingerprint}",
            remedy="If the host wasn't installed anew, somebody stands between: go no further. If it was, run "
            f"`ssh-keygen -R '{name}' -f {host.known_hosts}`. {_pin_it(host)}",
        )


def public_half(key_file: Path) -> Key:
    """The public key that belongs to a private key file. Raises NotPermitted."""
    return login.public_half(_paramiko(), key_file)


class _Socket:
    """The socket as paramiko reads it. Large pieces: it asks for 16 bytes of each packet, and then for the rest."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._ahead, self._at = b"", 0
        self.send, self.settimeout, self.getpeername = sock.send, sock.settimeout, sock.getpeername

    def recv(self, size: int) -> bytes:
        if self._at >= len(self._ahead):
            self._ahead, self._at = self._sock.recv(AHEAD), 0
        piece = self._ahead[self._at : self._at + size]
        self._at += len(piece)
        return piece

    def send_all(self, buffers: list[bytes | memoryview]) -> None:
        """Send them in one go, as far as there is room. Raises OSError."""
        while buffers:
            try:
                sent = self._sock.sendmsg(buffers[:AT_ONCE])
            except TimeoutError:
                continue  # full; whether the peer still lives is the heartbeat's to say, and it cuts the socket
            while buffers and sent >= len(buffers[0]):
                sent -= len(buffers.pop(0))
            if sent:
                buffers[0] = memoryview(buffers[0])[sent:]

    def close(self) -> None:
        self._sock.close()

    @property
    def _closed(self) -> bool:
        return self._sock.fileno() < 0


class Trunk:
    """One authenticated transport; the commands on it are its lines."""

    def __init__(self, name: str, transport: paramiko.Transport, sock: socket.socket) -> None:
        self.name = name
        self._transport, self._sock = transport, sock
        self._packetizer = cast(packets.Batching, transport.packetizer)

    @property
    def cipher(self) -> str:
        """The cipher that was agreed upon for what we send."""
        return str(self._transport.local_cipher)

    def run(self, command: str, *, alone: bool = True) -> SshLine:
        """Start a command there. `alone`: the trunk ends with its line, else also when the host starts it too late.

        Raises HostUnreachable.
        """
        try:
            channel = self._transport.open_session(timeout=LOGIN)
            channel.settimeout(TICK)
            with _within(LOGIN, self.abort if alone else channel.close):
                channel.exec_command(command)
        except (_paramiko().SSHException, OSError, EOFError) as error:
            raise HostUnreachable(
                f"{self.name}: sshd starts no command: {error or 'it hung up'}", remedy=BUSY
            ) from error
        return SshLine(self, channel, alone)

    def send_batch(self, channel: paramiko.Channel, data: memoryview) -> int:
        """Send as much as the channel's window takes now; how many bytes, 0 where it must go another way.

        Raises EOFError, SSHException.
        """
        if not self._packetizer.batches:
            return 0
        with channel.lock:
            room = 0 if channel.closed or channel.eof_sent else min(channel.out_window_size, len(data))
            channel.out_window_size -= room
        if room:
            most = channel.out_max_packet_size - HEADROOM
            # As paramiko's channel does it: without the lock, and waiting while keys are exchanged.
            self._transport._send_user_message(packets.Batch(channel.remote_chanid, most, data[:room]))  # type: ignore[attr-defined]
        return room

    def abort(self) -> None:
        """Cut it now, from any thread; what is on its way is lost."""
        with suppress(OSError):  # not connected any more
            self._sock.shutdown(socket.SHUT_RDWR)
        self._transport.packetizer.complete_handshake()  # stops its timer, which would keep the process for 15 s
        self._transport.close()
        self._sock.close()

    def close(self) -> None:
        """End it; returns when its thread has ended."""
        self.abort()
        if self._transport.ident is not None:
            self._transport.join(PATIENCE)


@contextmanager
def _within(seconds: float, cut: Callable[[], None]) -> Iterator[None]:
    """Cut when the block takes longer: paramiko has waits without a deadline."""
    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


class SshLine:
    """A command's standard input and output as a line; its standard error is kept."""

    def __init__(self, trunk: Trunk, channel: paramiko.Channel, alone: bool) -> None:
        self._trunk, self._channel, self._alone = trunk, channel, alone
        self._said = bytearray()

    def recv(self, size: int, /) -> bytes:
        """As of `Line`. All of it in a large piece: paramiko moves what remains in its buffer with every read."""
        try:
            if self._channel.recv_stderr_ready():
                self._listen()
            return self._channel.recv(size)
        except (EOFError, _paramiko().SSHException) as error:
            raise ConnectionResetError(str(error) or CUT) from error

    def _listen(self) -> None:
        while self._channel.recv_stderr_ready():
            self._said += self._channel.recv_stderr(LAST_WORDS)
        del self._said[:-LAST_WORDS]

    def sendall(self, data: bytes | memoryview, /) -> None:
        rest = memoryview(data)
        while rest:
            try:
                sent = self._trunk.send_batch(self._channel, rest)
                if not sent:  # the window is full, or the cipher takes no batch: paramiko's own way, which waits
                    sent = self._channel.send(bytes(rest[: self._channel.out_max_packet_size - HEADROOM]))
            except TimeoutError:
                continue  # whether the peer still lives is the reader's to say
            except (EOFError, _paramiko().SSHException) as error:
                raise ConnectionResetError(str(error) or CUT) from error
            if not sent:
                raise BrokenPipeError("the command takes no more input")
            rest = rest[sent:]

    def close(self) -> None:
        """End its input, wait a little for the command to leave, and end the channel."""
        with suppress(OSError, EOFError, _paramiko().SSHException):  # it was faster
            self._channel.shutdown_write()
            self._channel.status_event.wait(PATIENCE)
            self._channel.close()
        if self._alone:
            self._trunk.abort()

    def abort(self) -> None:
        if self._alone:
            self._trunk.abort()
        else:
            with suppress(OSError, EOFError, _paramiko().SSHException):  # the trunk is gone
                self._channel.close()

    def settle(self) -> str:
        if self._alone:
            self._channel.status_event.wait(PATIENCE)
        self._listen()
        status = self._channel.exit_status
        if self._alone:
            self._trunk.close()
        return words(status if status >= 0 else None, bytes(self._said))
