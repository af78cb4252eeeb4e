"""The last look: every account by IMAP, all folders, each message's UID, flags, identity and body.

Invariant: it changes no mail (EXAMINE, BODY.PEEK; Dovecot begins to count modseqs where it didn't yet), and reads from
one address that the caller names, since "what stands on the mirror" is another question than "what does a user see". A
folder or an account that couldn't be read fails the whole reading: a half reading would report losses that aren't.
"""

from __future__ import annotations

import concurrent.futures
import json
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.lab.oracle import letter
from tests.lab.oracle.caches import plain
from tests.lab.oracle.imap import Imap
from tests.lab.oracle.imapwords import quoted
from tests.lab.oracle.site import Site, User


@dataclass(frozen=True)
class Message:
    """`id` is empty for one that isn't ours; `whole` tells whether the body is the one that was sent."""

    uid: int
    flags: tuple[str, ...]
    id: str
    whole: bool = True


@dataclass(frozen=True)
class Folder:
    """`modseq` is 0 where CONDSTORE isn't advertised."""

    validity: int
    uidnext: int
    modseq: int
    messages: tuple[Message, ...]


Account = Mapping[str, Folder]
Reading = Mapping[str, Account]  # address -> folder, with / between its parts


def account(site: Site, user: User, address: str, tls: ssl.SSLContext | None) -> dict[str, Folder]:
    """All folders of one user. Raises Lost, Refused or Garbled."""
    imap = Imap(address, site.port("imap"), user.address, user.password, tls=tls, name=site.service_name)
    try:
        found = {}
        for name, separator, attributes in imap.demand('LIST "" "*"').folders():
            if not attributes & {"\\noselect", "\\nonexistent"}:
                wire = name.decode()
                found[wire.replace(separator.decode() or "/", "/")] = _folder(imap, wire)
        return found
    finally:
        imap.close()


def _folder(imap: Imap, name: str) -> Folder:
    counts = imap.offers("CONDSTORE")
    top = imap.demand(f"EXAMINE {quoted(name)}" + (" (CONDSTORE)" if counts else ""))
    messages = []
    if any(top.numbers(b"EXISTS")):
        for one in imap.demand("UID FETCH 1:* (UID FLAGS BODY.PEEK[])").fetched():
            if one.body is not None:
                identity = letter.identity(one.body)
                whole = not identity or letter.digest(one.body) == letter.expected(identity)
                messages.append(Message(one.uid, tuple(sorted(plain(one.flags or ()))), identity, whole))
    modseq = top.number(b"HIGHESTMODSEQ") if counts else 0
    return Folder(top.number(b"UIDVALIDITY"), top.number(b"UIDNEXT"), modseq, tuple(messages))


def read(site: Site, address: str, tls: ssl.SSLContext | None, at_once: int = 4) -> dict[str, dict[str, Folder]]:
    """Every account of the site, from this address. Raises what `account` raises."""
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        found = pool.map(lambda user: account(site, user, address, tls), site.users)
        return {user.address: folders for user, folders in zip(site.users, found, strict=True)}


def settled(
    look: Callable[[], dict[str, dict[str, Folder]]], missing: Callable[[Reading], int], patience: float
) -> dict[str, dict[str, Folder]]:
    """Looks again until nothing is missing, or `patience` seconds have passed without anything new: what was accepted
    may still be on its way through queues. The last look is the one that counts.
    """
    last, best = look(), -1
    until = time.monotonic() + patience
    while (lacking := missing(last)) and time.monotonic() < until:
        if lacking != best:
            best, until = lacking, time.monotonic() + patience
        time.sleep(0.3)
        last = look()
    return last


def save(reading: Reading, path: str | Path) -> None:
    plain_form = {user: {name: asdict(folder) for name, folder in folders.items()} for user, folders in reading.items()}
    Path(path).write_text(json.dumps(plain_form), encoding="utf-8")


def load(path: str | Path) -> dict[str, dict[str, Folder]]:
    """What `save` wrote."""
    raw = json.loads(Path(path).read_text(encoding="utf-8"))
    return {user: {name: _loaded(folder) for name, folder in folders.items()} for user, folders in raw.items()}


def _loaded(raw: dict[str, object]) -> Folder:
    messages = raw.pop("messages")
    assert isinstance(messages, list)
    texts = tuple(Message(**{**one, "flags": tuple(one["flags"])}) for one in messages)
    return Folder(**raw, messages=texts)  # type: ignore[arg-type]
