"""Does a mail service do its work? Asked as a client would ask, never by a bare connect: a wedged server still accepts.

Each probe is one conversation with a deadline over all of it: SMTP up to the canary's RCPT, submission up to AUTH, LMTP
up to RCPT, IMAP up to a NOOP in the INBOX, POP3 up to STAT. Without a recipient or an account it goes as far as a
stranger may: the greeting, STARTTLS, NOOP or CAPABILITY. No message is sent; `canary` does that.

Invariant: a probe raises nothing and changes nothing. What went wrong is in its Reading: `how` for programs, `why` for
people. A refusal that the server itself calls temporary (4yz, [UNAVAILABLE], [SYS/TEMP]) is told apart from one that
it means. Source: RFC 5321, 4954, 2033, 9051 and 5530, 1939 and 3206.
"""

from __future__ import annotations

import imaplib
import poplib
import smtplib
import socket
import ssl
import time
from contextlib import ExitStack, contextmanager
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from .dial import Address, Context, Plain, dial, expires

UNREACHABLE, REFUSED, TIMEOUT = "unreachable", "refused", "timeout"
TEMPORARY, REJECTED, BROKEN, UNTRUSTED = "temporary", "rejected", "broken", "untrusted"
NO_TLS, STARTTLS, IMPLICIT, OFFERED = "none", "starttls", "implicit", "offered"
"""`offered` is STARTTLS where the server has it; without it no password is sent."""
HELO = "probe.invalid"
_PASSING = (b"[UNAVAILABLE]", b"[INUSE]", b"[LIMIT]", b"[SERVERBUG]", b"[SYS/TEMP]", b"[IN-USE]")


class Want(NamedTuple):
    """What to ask of whom. `name` is what its certificate must stand for; "" takes any certificate."""

    service: str
    address: Address
    tls: str = NO_TLS
    name: str = ""
    user: str = ""
    password: str = ""
    recipient: str = ""


class Reading(NamedTuple):
    """What came of it. `seconds` it took; `expires` is its certificate's end in seconds since 1970."""

    service: str
    ok: bool
    how: str = ""
    why: str = ""
    seconds: float = 0.0
    expires: Optional[float] = None


class Refusal(Exception):
    """The server understood and said no."""

    def __init__(self, how: str, why: str) -> None:
        super().__init__(why)
        self.how = how


def probe(want: Want, seconds: float) -> Reading:
    """Ask, and be done within so many seconds."""
    began = time.monotonic()
    shown: List[float] = []
    how, why = "", ""
    try:
        SERVICES[want.service](want, began + seconds, shown)
    except Exception as error:  # noqa: BLE001 - whatever a server makes the libraries raise is an answer about the server
        how, why = told(error)
    return Reading(want.service, not how, how, why, time.monotonic() - began, shown[0] if shown else None)


def told(error: BaseException) -> Tuple[str, str]:
    """(how, why) of what a conversation ended with."""
    if isinstance(error, Refusal):
        return error.how, str(error)
    if isinstance(error, smtplib.SMTPResponseException):
        reply = error.smtp_error
        return _meant(error.smtp_code), f"{error.smtp_code} {_readable(reply)}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return UNTRUSTED, error.verify_message
    # smtplib makes a lost connection of it; before Python 3.10 socket.timeout is a class of its own.
    if isinstance(error, (TimeoutError, socket.timeout)) or isinstance(
        error.__context__, (TimeoutError, socket.timeout)
    ):
        return TIMEOUT, "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return REFUSED, "nothing listens there"
    if isinstance(
        error, (ConnectionError, smtplib.SMTPServerDisconnected, imaplib.IMAP4.abort, EOFError, ssl.SSLError)
    ):
        return BROKEN, f"the conversation broke off: {_readable(str(error))}"
    if isinstance(error, smtplib.SMTPException):  # an OSError too, though the network did its part
        return REJECTED, _readable(str(error))
    if isinstance(error, UnicodeError):  # its text would show the password
        return BROKEN, "user, password or recipient has characters that this protocol can't carry"
    if isinstance(error, (imaplib.IMAP4.error, poplib.error_proto)):
        reply = error.args[0] if error.args else b""
        return _passing(reply), _readable(reply)
    if isinstance(error, OSError):
        return UNREACHABLE, error.strerror or str(error)
    return BROKEN, f"what it said can't be understood: {_readable(repr(error))}"


def _meant(code: int) -> str:
    if 400 <= code < 500:
        return TEMPORARY
    return REJECTED if 500 <= code < 600 else BROKEN


def _passing(reply: Any) -> str:
    data = reply if isinstance(reply, bytes) else str(reply).encode("utf-8", "replace")
    return TEMPORARY if any(code in data.upper() for code in _PASSING) else REJECTED


def _readable(reply: Any) -> str:
    """One short printable line of what a server said."""
    said = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else str(reply)
    return "".join(each if each.isprintable() else " " for each in said)[:200]


# --- the libraries' clients over our sockets --------------------------------------------------------------------------
# Each library makes its socket in one method; these take ours instead, and all that the libraries know stays.


class _Given:
    given: socket.socket

    def _create_socket(self, timeout: Any = None) -> socket.socket:
        return self.given

    def _get_socket(self, host: Any, port: Any, timeout: Any) -> Any:
        return self.given


class Smtp(_Given, smtplib.SMTP):
    def __init__(self, sock: socket.socket, name: str) -> None:
        self.given = sock
        super().__init__(name or HELO, local_hostname=HELO)


class Lmtp(Smtp, smtplib.LMTP):
    """As Smtp, but it says LHLO."""


class Imap(_Given, imaplib.IMAP4):
    def __init__(self, sock: socket.socket, name: str) -> None:
        self.given = sock
        super().__init__(name or HELO)


class Pop3(_Given, poplib.POP3):
    def __init__(self, sock: socket.socket, name: str) -> None:
        self.given = sock
        super().__init__(name or HELO)


def opened(want: Want, deadline: float) -> socket.socket:
    """A connection to the service, under TLS where that comes first."""
    plain: Plain = dial(want.address, deadline)
    if want.tls != IMPLICIT:
        return plain
    try:
        return Context(bool(want.name)).wrap_socket(plain, server_hostname=want.name or HELO)
    except BaseException:
        plain.close()
        raise


@contextmanager
def smtp(want: Want, deadline: float, shown: List[float]) -> Iterator[smtplib.SMTP]:
    """A client that has been greeted, and is under TLS where that is wanted. Raises Refusal and what smtplib does."""
    with ExitStack() as stack:
        sock = stack.enter_context(opened(want, deadline))
        client: smtplib.SMTP = (Lmtp if want.service == "lmtp" else Smtp)(sock, want.name)
        stack.callback(client.close)
        _done(client.ehlo())
        if _upgrades(want, client.has_extn("starttls")):
            _done(client.starttls(context=Context(bool(want.name))))
            _done(client.ehlo())
        _note_end(client.sock, shown)
        yield client
        client.quit()


def _upgrades(want: Want, offered: bool) -> bool:
    """Whether STARTTLS comes next. Raises Refusal where it is needed and isn't offered."""
    if want.tls in (NO_TLS, IMPLICIT):
        return False
    if not offered and (want.tls == STARTTLS or want.password):
        raise Refusal(REJECTED, "it doesn't offer STARTTLS")
    return offered


@contextmanager
def imap(want: Want, deadline: float, shown: List[float], *, readonly: bool = True) -> Iterator[imaplib.IMAP4]:
    """A client that, with a user, has logged in and selected the INBOX. Raises Refusal and what imaplib does."""
    with ExitStack() as stack:
        sock = stack.enter_context(opened(want, deadline))
        client = Imap(sock, want.name)
        stack.callback(lambda: client.sock.close())
        if _upgrades(want, "STARTTLS" in client.capabilities):
            client.starttls(Context(bool(want.name)))
        _note_end(client.sock, shown)
        if want.user:
            client.login(want.user, want.password)
            agreed(client.select("INBOX", readonly))
        yield client
        client.logout()


def _note_end(sock: Any, shown: List[float]) -> None:
    """Keep when the server's certificate ends."""
    end = expires(sock)
    if end is not None:
        shown.append(end)


def _done(reply: Tuple[int, bytes]) -> None:
    code, said = reply
    if not 200 <= code < 300:
        raise smtplib.SMTPResponseException(code, said)


def agreed(reply: Tuple[str, List[Any]]) -> List[Any]:
    """The data of an IMAP answer that says OK. Raises Refusal for another."""
    if reply[0] != "OK":
        said = reply[1][0] if reply[1] else b""
        raise Refusal(_passing(said), _readable(said))
    return reply[1]


# --- what each service is asked ---------------------------------------------------------------------------------------


def _recipient(want: Want, deadline: float, shown: List[float]) -> None:
    with smtp(want, deadline, shown) as client:
        if want.recipient:
            _done(client.mail(""))
            _done(client.rcpt(want.recipient))
            _done(client.rset())
        else:
            _done(client.noop())


def _login(want: Want, deadline: float, shown: List[float]) -> None:
    with smtp(want, deadline, shown) as client:
        if want.user:
            client.login(want.user, want.password)
        elif not client.has_extn("auth"):
            raise Refusal(REJECTED, "it doesn't offer AUTH")


def _inbox(want: Want, deadline: float, shown: List[float]) -> None:
    with imap(want, deadline, shown) as client:
        agreed(client.noop())


def _pop3(want: Want, deadline: float, shown: List[float]) -> None:
    with ExitStack() as stack:
        sock = stack.enter_context(opened(want, deadline))
        client = Pop3(sock, want.name)
        stack.callback(client.close)
        if _upgrades(want, want.tls == STARTTLS or (want.tls == OFFERED and "STLS" in client.capa())):
            client.stls(Context(bool(want.name)))
        _note_end(client.sock, shown)
        if want.user:
            client.user(want.user)
            client.pass_(want.password)
            client.stat()
        else:
            client.capa()
        client.quit()


SERVICES: Dict[str, Callable[[Want, float, List[float]], None]] = {
    "smtp": _recipient,
    "submission": _login,
    "lmtp": _recipient,
    "imap": _inbox,
    "pop3": _pop3,
}
