"""One user's IMAP client: a cache of every folder, and commands whose outcome goes to the journal.

Invariant: a command is acknowledged only when the server told its effect (a FETCH for a store, COPYUID for a move, an
EXPUNGE or VANISHED for an expunge), since IMAP says OK to a command that found no message. A command whose answer was
lost is journaled as unknown, and the caches wait for the next sync to tell. CONDSTORE and QRESYNC are used where they
are advertised, and what they say is checked against a whole listing.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field

from tests.lab.oracle import letter
from tests.lab.oracle.caches import Cache, Listing, Since, Trouble, plain
from tests.lab.oracle.imap import Imap, Refused
from tests.lab.oracle.imapwords import Answer, copied, quoted, uid_set
from tests.lab.oracle.journal import Act, Cached, Fault, Journal, Login, Outcome, Seen, now
from tests.lab.oracle.resolver import Resolver
from tests.lab.oracle.site import Site, User
from tests.lab.oracle.wire import Lost


@dataclass
class Mailbox:
    """Commands raise Lost when the connection ended, Refused when a server answers that it won't. `tls` is None for a
    client that speaks in the clear.
    """

    site: Site
    user: User
    journal: Journal
    resolver: Resolver
    tls: ssl.SSLContext | None
    caches: dict[str, Cache] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    selected: str = ""
    _imap: Imap | None = None
    _separator: str = "/"
    _renaming: tuple[str, str] = ("", "")  # a rename whose answer was lost
    _audited: set[str] = field(default_factory=set)  # folders whose every identity was read on this connection

    # ---- connecting ----

    def connect(self) -> Imap:
        """The connection, a new one where there is none: log in, list the folders."""
        if self._imap is None:
            address, port = self.resolver.service(), self.site.port("imap")
            user = self.user
            imap = Imap(address, port, user.address, user.password, tls=self.tls, name=self.site.service_name)
            self.journal.write(Login(now(), self.user.address, "imap", imap.link.name))
            self._imap, self.selected = imap, ""
            self._audited.clear()
            try:
                if imap.offers("QRESYNC"):
                    imap.demand("ENABLE QRESYNC")
                self.refresh()
            except (Lost, Refused):
                self.disconnect()
                raise
            return imap
        return self._imap

    def refresh(self) -> None:
        """Asks which folders there are, under names with / between their parts."""
        answer = self.demand('LIST "" "*"')
        self.folders = set()
        for name, separator, attributes in answer.folders():
            self._separator = separator.decode() or "/"
            if not attributes & {"\\noselect", "\\nonexistent"}:
                plain_name = name.decode().replace(self._separator, "/")
                self.folders.add("INBOX" if plain_name.upper() == "INBOX" else plain_name)
        old, new = self._renaming
        if new in self.folders and old not in self.folders:
            self._moved(old, new)
        self._renaming = ("", "")
        self.caches = {folder: cache for folder, cache in self.caches.items() if folder in self.folders}

    def _moved(self, old: str, new: str) -> None:
        """A folder and those below it have new names; so have their caches."""
        for name in [name for name in self.caches if name == old or name.startswith(f"{old}/")]:
            self.caches[new + name[len(old) :]] = self.caches.pop(name)

    def disconnect(self) -> None:
        """Drops the connection without a word; the caches stay."""
        if self._imap is not None:
            self._imap.close()
        self._imap, self.selected = None, ""

    def command(self, *parts: str | bytes) -> Answer:
        imap = self.connect()
        try:
            return imap.command(*parts)
        except Lost:
            self.disconnect()
            raise

    def demand(self, *parts: str | bytes) -> Answer:
        imap = self.connect()
        try:
            return imap.demand(*parts)
        except Lost:
            self.disconnect()
            raise

    def _wire(self, folder: str) -> str:
        return quoted(folder.replace("/", self._separator))

    @property
    def _link(self) -> str:
        return self._imap.link.name if self._imap is not None else ""

    # ---- seeing ----

    def sync(self, folder: str) -> Cache:
        """Selects the folder where it isn't, or looks for news; the cache is true afterwards, and what wasn't is
        journaled. A folder that can't be selected raises Refused.
        """
        cache = self.caches.setdefault(folder, Cache())
        if self.selected == folder and self._imap is not None:
            if self.demand("NOOP").lines:
                top = Answer("OK", b"")
                self._compare(folder, cache, top, None)
            return cache
        imap = self.connect()
        self.selected = ""
        known = cache.validity and cache.modseq
        if imap.offers("QRESYNC") and known:
            told = f" {uid_set(cache.ids)}" if cache.ids else ""
            top = self.demand(f"SELECT {self._wire(folder)} (QRESYNC ({cache.validity} {cache.modseq}{told}))")
        else:
            top = self.demand(f"SELECT {self._wire(folder)}" + (" (CONDSTORE)" if imap.offers("CONDSTORE") else ""))
        since = None
        if known and top.number(b"UIDVALIDITY") == cache.validity:
            since = self._since(imap, cache, top)
        self.selected = folder
        self._compare(folder, cache, top, since)
        return cache

    def _since(self, imap: Imap, cache: Cache, top: Answer) -> Since | None:
        if imap.offers("QRESYNC"):
            changed = {one.uid: plain(one.flags or ()) for one in top.fetched()}
            return Since(changed, frozenset(top.vanished(earlier=True)))
        if imap.offers("CONDSTORE"):
            answer = self.demand(f"UID FETCH 1:* (FLAGS) (CHANGEDSINCE {cache.modseq})")
            return Since({one.uid: plain(one.flags or ()) for one in answer.fetched()})
        return None

    def _compare(self, folder: str, cache: Cache, top: Answer, since: Since | None) -> None:
        """Lists the selected folder and holds it against the cache; `top` is the answer to SELECT, if there was one."""
        found = self.demand("UID FETCH 1:* (FLAGS)").fetched()
        flags = {one.uid: plain(one.flags or ()) for one in found if one.uid}
        validity = top.number(b"UIDVALIDITY") or cache.validity
        uidnext = top.number(b"UIDNEXT") or max(cache.uidnext, *(uid + 1 for uid in flags), 1)
        modseq = top.number(b"HIGHESTMODSEQ") if top.lines else cache.modseq
        bare = Listing(validity, uidnext, modseq, flags, {})
        asked = cache.fresh(bare) if folder in self._audited else set(flags)
        ids = self._identities(asked)
        listing = Listing(validity, uidnext, modseq, flags, ids)
        self._audited.add(folder)
        for trouble in cache.faults(listing, since):
            self.fault(folder, trouble, validity)
        fresh = [uid for uid, identity in ids.items() if validity != cache.validity or cache.ids.get(uid) != identity]
        self.journal.write(*(Seen(now(), self.user.address, folder, validity, uid, ids[uid]) for uid in sorted(fresh)))
        cache.take(listing)

    def _identities(self, uids: set[int]) -> dict[int, str]:
        if not uids:
            return {}
        answer = self.demand(f"UID FETCH {uid_set(uids)} (BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
        return {one.uid: letter.identity(one.body) for one in answer.fetched() if one.body is not None and one.uid}

    def fault(self, folder: str, trouble: Trouble, validity: int) -> None:
        owner = self.user.address
        self.journal.write(Fault(now(), owner, folder, trouble.kind, trouble.text, validity, trouble.uid, trouble.id))

    def read(self, folder: str, uid: int) -> None:
        """Downloads the message, and checks that it is the one that was sent."""
        for one in self.demand(f"UID FETCH {uid} (BODY.PEEK[])").fetched():
            identity = letter.identity(one.body or b"")
            if one.body is not None and identity and letter.digest(one.body) != letter.expected(identity):
                self.fault(folder, Trouble("damaged", f"UID {uid} ({identity})", uid, identity), 0)

    def remember(self) -> None:
        """Journals all caches, for the verdict to hold against a final reading."""
        for folder, cache in sorted(self.caches.items()):
            messages = tuple(
                (uid, cache.ids[uid], tuple(sorted(cache.flags.get(uid, ())))) for uid in sorted(cache.ids)
            )
            owner = self.user.address
            self.journal.write(Cached(now(), owner, folder, cache.validity, cache.uidnext, cache.modseq, messages))

    # ---- doing ----

    def _act(self, answer: Answer | None, told: bool, act: str, **rest: object) -> Outcome:
        """Journals a command: no answer or no effect told is unknown, NO and BAD are no."""
        outcome: Outcome = "unknown"
        if answer is not None and not answer.ok:
            outcome = "no"
        elif answer is not None and told:
            outcome = "ok"
        link = self._link
        self.journal.write(Act(now(), self.user.address, act, outcome, link=link, **rest))  # type: ignore[arg-type]
        return outcome

    def _do(self, *parts: str | bytes, act: str, **rest: object) -> Answer:
        """One command whose loss is journaled before it is raised."""
        self.connect()
        try:
            return self.command(*parts)
        except Lost:
            self._act(None, False, act, **rest)
            raise

    def store(self, folder: str, uid: int, flags: tuple[str, ...], *, add: bool) -> Outcome:
        """Sets or clears flags of a message of the selected folder; they should differ from what the cache has."""
        cache = self.caches[folder]
        rest = {"folder": folder, "validity": cache.validity, "uid": uid, "id": cache.ids.get(uid, "")}
        rest |= {"flags": tuple(sorted(plain(flags))), "add": add}
        sign = "+" if add else "-"
        answer = self._do(f"UID STORE {uid} {sign}FLAGS ({' '.join(flags)})", act="store", **rest)
        told = [one for one in answer.fetched() if one.uid == uid and one.flags is not None]
        if told and told[-1].flags is not None:
            cache.flags[uid] = plain(told[-1].flags)
        return self._act(answer, bool(told), "store", **rest)

    def append(self, folder: str, identity: str, flags: tuple[str, ...]) -> Outcome:
        message = letter.compose(identity, self.user.address, self.user.address)
        rest: dict[str, object] = {"folder": folder, "id": identity, "flags": tuple(sorted(plain(flags)))}
        self.connect()
        head = f"APPEND {self._wire(folder)} ({' '.join(flags)}) "
        answer = self._do(head, message, act="append", **rest)
        told = copied(answer.code(b"APPENDUID"))
        if told:
            rest |= {"new_validity": told[0][0], "new_uid": told[0][2], "target": folder}
        return self._act(answer, answer.ok, "append", **rest)

    def move(self, folder: str, uid: int, target: str) -> Outcome:
        """By MOVE where it is offered, else by COPY and EXPUNGE, as clients did before."""
        if self.connect().offers("MOVE"):
            return self._take("MOVE", folder, uid, target)
        return self.copy_and_expunge(folder, uid, target)

    def copy_and_expunge(self, folder: str, uid: int, target: str) -> Outcome:
        """A move as older clients do it, whatever the server offers."""
        done = self._take("COPY", folder, uid, target)
        return self.expunge(folder, uid) if done == "ok" else done

    def _take(self, verb: str, folder: str, uid: int, target: str) -> Outcome:
        cache = self.caches[folder]
        act = verb.lower()
        rest: dict[str, object] = {"folder": folder, "validity": cache.validity, "uid": uid, "target": target}
        rest["id"] = cache.ids.get(uid, "")
        answer = self._do(f"UID {verb} {uid} {self._wire(target)}", act=act, **rest)
        told = copied(answer.code(b"COPYUID"))
        if told:
            rest |= {"new_validity": told[0][0], "new_uid": told[0][2]}
        outcome = self._act(answer, bool(told), act, **rest)
        if outcome == "ok" and verb == "MOVE":
            cache.forget(uid)
        return outcome

    def expunge(self, folder: str, uid: int) -> Outcome:
        """\\Deleted, then UID EXPUNGE; nothing else in the folder is touched."""
        if "\\deleted" not in self.caches[folder].flags.get(uid, frozenset()):
            done = self.store(folder, uid, ("\\Deleted",), add=True)
            if done != "ok":
                return done
        cache = self.caches[folder]
        rest = {"folder": folder, "validity": cache.validity, "uid": uid, "id": cache.ids.get(uid, "")}
        answer = self._do(f"UID EXPUNGE {uid}", act="expunge", **rest)
        told = answer.numbers(b"EXPUNGE") or uid in answer.vanished(earlier=False)
        outcome = self._act(answer, bool(told), "expunge", **rest)
        if outcome == "ok":
            cache.forget(uid)
        return outcome

    def create(self, folder: str) -> Outcome:
        self.connect()
        answer = self._do(f"CREATE {self._wire(folder)}", act="create", folder=folder)
        if answer.ok:
            self.folders.add(folder)
        return self._act(answer, True, "create", folder=folder)

    def rename(self, folder: str, target: str) -> Outcome:
        """With all folders below it, and their caches."""
        self._leave(folder)
        self._renaming = (folder, target)
        words = f"RENAME {self._wire(folder)} {self._wire(target)}"
        answer = self._do(words, act="rename", folder=folder, target=target)
        self._renaming = ("", "")
        if answer.ok:
            below = {name for name in self.folders if name == folder or name.startswith(f"{folder}/")}
            self.folders = self.folders - below | {target + name[len(folder) :] for name in below}
            self._moved(folder, target)
        return self._act(answer, True, "rename", folder=folder, target=target)

    def delete(self, folder: str) -> Outcome:
        """With all messages in it; it should have no folders below it."""
        self._leave(folder)
        answer = self._do(f"DELETE {self._wire(folder)}", act="delete", folder=folder)
        if answer.ok:
            self.folders.discard(folder)
            self.caches.pop(folder, None)
        return self._act(answer, True, "delete", folder=folder)

    def _leave(self, folder: str) -> None:
        """Selects the INBOX where one is in that folder, or below it: its name is about to end."""
        if self.selected == folder or self.selected.startswith(f"{folder}/"):
            self.sync("INBOX")
        self.connect()
