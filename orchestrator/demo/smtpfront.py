"""The SMTP front of a mail host, a process of its own: what it answers with 250 is durable in a Maildir.

It delivers as an LMTP server behind Postfix would: Return-Path, Delivered-To and Received in front, LF line ends,
`user+Folder@domain` into that folder. Each delivery is written to a ledger, one JSON line: the Message-ID, account,
folder, base name and the time of the rename, which is where the demo's measure of lag begins. Invariant: 250 is said
only when every recipient's copy is durable; a failure is answered with 451, and the sender tries again (RFC 1047: some
recipients may then have it twice).

It serves by its guard's leave, as the kernel's gate makes mail servers do where there is one: without it a client is
turned away with 421 when it comes, and a letter just before it is written. One that is being written then is finished,
which takes milliseconds; it is answered with 250 after more than the lease's stop time only if the guard still says so.

Run as `python -m orchestrator.demo.smtpfront ADDRESS PORT NAME STORE LEDGER [GUARD]`, port 0 for any, GUARD the
directory of the guard's socket; orders as in `control`.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
import time
from email.utils import formatdate
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

from orchestrator.agent import guardtalk
from orchestrator.demo import control, watch
from orchestrator.demo.mailbox import INBOX, Account, Folder

SIZE_LIMIT = 64 * 1024 * 1024
LINE_LIMIT = 64 * 1024  # octets; RFC 5321 asks for 1000, real servers take far longer lines rather than bounce them
AWAY = "421 4.3.2 this place serves nobody now: go to the next one, or come again"
ASKING = 0.5  # seconds for the guard's word
STOP = 0.5  # seconds that the lease leaves for what is being written when it ends


def serves(guard: str) -> bool:
    """Whether the guard lets this place serve, now; one that doesn't answer doesn't. Where there is none, it may."""
    if not guard:
        return True
    try:
        told = guardtalk.ask({"verb": "status"}, guard, ASKING)
    except guardtalk.Silent:
        return False
    return bool(told["serves"]) and told["quiet"] is None


class Delivery:
    """aiosmtpd's hooks: an unknown address is refused at RCPT, a message that can't be stored at DATA."""

    def __init__(self, name: str, store: Path, ledger: Path, guard: str) -> None:
        self._name = name
        self._store = store
        self._ledger = ledger
        self._guard = guard
        self._writing = threading.Lock()

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self._folder(address) is None:
            return f"550 5.1.1 <{address}>: no such user here"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        return await asyncio.to_thread(self._deliver, envelope, str(session.peer))

    def _deliver(self, envelope: Envelope, peer: str) -> str:
        if not serves(self._guard):
            return AWAY
        began = time.monotonic()
        content = envelope.original_content or b""
        body = content.replace(b"\r\n", b"\n")
        try:
            for address in envelope.rcpt_tos:
                folder = self._folder(address)
                if folder is None:
                    return f"451 4.2.1 <{address}>: the mailbox went away"
                placed = folder[1].deliver(_stamped(self._name, body, envelope.mail_from or "", address, peer))
                self._note(watch.message_id(body), folder[0], folder[1], placed.base, placed.ctime_ns)
        except OSError as error:
            print(f"delivery failed: {error}", file=sys.stderr)
            return "451 4.3.0 Local error, try again later"
        in_time = time.monotonic() - began < STOP
        return "250 2.0.0 Saved" if in_time or serves(self._guard) else AWAY

    def _folder(self, address: str) -> tuple[str, Folder] | None:
        """`user+Folder@domain` as (account, folder), or None when there is no such account."""
        local, _, domain = address.rpartition("@")
        user, _, detail = local.partition("+")
        if not re.fullmatch(r"[a-z0-9.-]+", domain) or not re.fullmatch(r"[a-z0-9_]+", user):
            return None
        account = Account(self._store / domain / user)
        folder = account.folder(detail or INBOX)
        return (f"{domain}/{user}", folder) if "/" not in detail and (folder.path / "cur").is_dir() else None

    def _note(self, identity: str, account: str, folder: Folder, base: bytes, ctime_ns: int) -> None:
        place = str(folder.path.relative_to(self._store))
        row = {"id": identity, "account": account, "folder": place, "base": base.decode(), "at": ctime_ns}
        with self._writing, self._ledger.open("a", encoding="utf-8") as out:
            out.write(json.dumps(row) + "\n")


def _stamped(name: str, body: bytes, sender: str, recipient: str, peer: str) -> bytes:
    head = (
        f"Return-Path: <{sender}>\nDelivered-To: {recipient}\n"
        f"Received: from {peer}\n\tby {name} with ESMTP\n\tfor <{recipient}>; {formatdate()}\n"
    )
    return head.encode("utf-8", "surrogateescape") + body


class Front(SMTP):
    """Takes what real servers take: longer lines than RFC 5321 asks for."""

    # A class attribute, because aiosmtpd sizes its reader by it while it initialises itself.
    line_length_limit = LINE_LIMIT


class Closed(asyncio.Protocol):
    """Whoever comes is turned away at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(f"{AWAY}\r\n".encode())
        transport.close()


async def serve(at: tuple[str, int], name: str, store: Path, ledger: Path, guard: str) -> None:
    delivery = Delivery(name, store, ledger, guard)

    def front() -> asyncio.BaseProtocol:
        if not serves(guard):
            return Closed()
        return Front(delivery, hostname=name, data_size_limit=SIZE_LIMIT, enable_SMTPUTF8=True)

    server = await asyncio.get_running_loop().create_server(front, *at)
    try:
        await asyncio.to_thread(control.obey, {"port": server.sockets[0].getsockname()[1]}, {})
    finally:
        server.close()


def main(arguments: list[str]) -> int:
    address, port, name, store, ledger, *guard = arguments
    asyncio.run(serve((address, int(port)), name, Path(store), Path(ledger), "".join(guard)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
