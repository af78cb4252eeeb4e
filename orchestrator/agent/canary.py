"""One letter through the whole chain: sent, delivered, read and removed.

Every letter carries the header X-Mailmirror-Canary with who sent it, and a subject that is new each time. What an
earlier canary of the same sender left behind is removed with it, so a sender has one under way at a time; other
observers' letters are left alone.

Invariant: it is ok only when this very letter was read, with its body word for word, and is gone again. Nothing but
canaries is ever removed, and only from the canary's own mailbox.
"""

from __future__ import annotations

import imaplib
import secrets
import time
from email import message_from_bytes
from email.message import EmailMessage, Message
from email.utils import formatdate
from typing import List, Optional

from .probe import BROKEN, TIMEOUT, Reading, Refusal, Want, agreed, imap, smtp, told

HEADER = "X-Mailmirror-Canary"
CANARY = "canary"
LOOK = 0.1
"""Seconds between two looks into the mailbox."""
_LINES = 6


def canary(sender: str, send: Want, read: Want, seconds: float) -> Reading:
    """Send by `send` (smtp, submission or lmtp) to its recipient, read by `read` (imap), all within so many seconds.
    `sender` is who asks, a plain word.
    """
    began = time.monotonic()
    how, why = "", ""
    stage = "sending"
    letter = _letter(sender, send)
    try:
        with smtp(send, began + seconds, []) as client:
            if send.user:
                client.login(send.user, send.password)
            client.send_message(letter, from_addr=send.recipient, to_addrs=[send.recipient])
        stage = "reading"
        with imap(read, began + seconds, [], readonly=False) as box:
            _read_and_remove(box, sender, letter, began + seconds)
    except Exception as error:  # noqa: BLE001 - as in `probe`: each is an answer about the server
        how, why = told(error)
        why = f"{stage}: {why}"
    return Reading(CANARY, not how, how, why, time.monotonic() - began)


def _letter(sender: str, send: Want) -> EmailMessage:
    letter = EmailMessage()
    letter["From"] = letter["To"] = send.recipient
    letter["Subject"] = f"mailmirror canary {secrets.token_hex(16)}"
    letter["Date"] = formatdate()
    letter["Message-ID"] = f"<{secrets.token_hex(16)}@mailmirror.invalid>"
    letter["Auto-Submitted"] = "auto-generated"
    letter[HEADER] = _signed(sender)
    letter.set_content("".join(f"{secrets.token_hex(30)}\n" for _ in range(_LINES)))
    return letter


def _read_and_remove(box: imaplib.IMAP4, sender: str, letter: EmailMessage, deadline: float) -> None:
    found = _arrived(box, letter["Subject"], deadline)
    if found is None:
        raise Refusal(TIMEOUT, "the letter was taken, but it isn't in the INBOX in time")
    data = agreed(box.uid("FETCH", found, "(BODY.PEEK[])"))
    whole = next((part[1] for part in data if isinstance(part, tuple)), b"")
    if _words(message_from_bytes(whole)) != _words(letter):
        raise Refusal(BROKEN, "the letter that was read isn't the one that was sent")
    for uid in _search(box, "HEADER", HEADER, _quoted(_signed(sender))):
        agreed(box.uid("STORE", uid, "+FLAGS.SILENT", "(\\Deleted)"))
        agreed(box.uid("EXPUNGE", uid))  # RFC 4315: a bare EXPUNGE would take along what others have marked
    if _search(box, "SUBJECT", _quoted(letter["Subject"])):
        raise Refusal(BROKEN, "the letter couldn't be removed")


def _arrived(box: imaplib.IMAP4, subject: str, deadline: float) -> Optional[str]:
    while True:
        found = _search(box, "SUBJECT", _quoted(subject))
        if found:
            return found[-1]
        if time.monotonic() + LOOK >= deadline:
            return None
        time.sleep(LOOK)
        agreed(box.noop())  # RFC 9051 section 7.4.1: a server may tell of new mail only here


def _search(box: imaplib.IMAP4, *words: str) -> List[str]:
    """UIDs, as text."""
    data = agreed(box.uid("SEARCH", *words))
    return [uid.decode("ascii") for line in data if line for uid in line.split()]


def _quoted(word: str) -> str:
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _signed(sender: str) -> str:
    """The header's value. SEARCH HEADER finds any part of it (RFC 9051 section 6.4.4), as `mail1` in `mail10`."""
    return f"<{sender}>"


def _words(letter: Message) -> List[bytes]:
    """The body whatever its transfer encoding, without what a server may do to line ends."""
    body = letter.get_payload(decode=True)
    return body.split() if isinstance(body, bytes) else []
