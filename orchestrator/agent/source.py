"""The active's side of replication: one store that is read, watched and offered.

Puts the parts together (root, marker, change log, scanner, watch, offers) and answers the
`source.*` verbs. The only thing it ever writes into the store is the marker's generation.

Invariant: it serves only a root whose marker says that this place is active, checks it again
before every offer, and stops offering removals as soon as anything about the root is odd.
"""

from __future__ import annotations

import os
import sqlite3
import time
from typing import Any, Dict, Generator, List, Optional, Tuple, Union

from . import index, marker, watch
from .beneath import Root
from .digests import Line, deep, lines
from .hint import Hint
from .log import Log, log_path
from .offer import Offers, Wanted
from .scan import Scanner
from .serve import Answer, Desk, Fault, Work
from .wire import Frame, pack, raw, text

GENERATION_SECONDS = 60.0
MARKER_CHECK_SECONDS = 1.0
SLACK_NS = 2_000_000_000
"""How much later than a file's ctime an event of it may be read, or a coarse ctime tick: never so much."""

SERVICE_PROCESSES = {
    "dovecot": (b"imap", b"pop3", b"lmtp", b"dovecot-lda", b"imap-hibernate", b"managesieve", b"imap-urlauth-worker"),
    "courier": (b"imapd", b"pop3d", b"maildrop", b"courierd"),
    "postfix": (b"virtual", b"local"),
    "exim": (b"exim4", b"exim"),
}
"""What a service's processes are called; a message that one of them removes was removed by its user."""


class Source:
    """One store of the active, for one conversation."""

    def __init__(self, desk: Desk, path: str, state: str, head: Dict[str, Any]) -> None:
        self._desk = desk
        self.root = Root(path)
        self.marker = marker.demand(self.root, head.get("store_id"), marker.ACTIVE)
        try:
            self.log = index.opened(Log, log_path(state, self.marker.store))
        except sqlite3.Error as error:
            raise Fault("index", f"the source's index can't be opened: {error}") from error
        try:
            self._begin(path, head)
        except BaseException:
            # Whoever opens this store next must not find its index locked.
            self.log.close()
            self.root.close()
            raise

    def _begin(self, path: str, head: Dict[str, Any]) -> None:
        wanted = head.get("watch") or "auto"
        if wanted != "auto" and wanted not in watch.KINDS:
            raise Fault("bad-request", f"no watch {wanted!r:.40}")
        self._degraded = ""
        self._services = frozenset(n for s in head.get("services") or () for n in SERVICE_PROCESSES.get(s, ()))
        self._trouble = ""
        self._checked_at = 0.0
        self._raised_at = 0.0
        self._told = self.log.head
        self._audited = False
        self._next_poll = 0.0
        self._auditing = True
        self._complete = self._marked_at = 0  # see `_mark`
        self.watch = watch.choose(path, wanted)
        try:
            self.scanner = Scanner(self.root, self.log, head.get("accounts"), self._follow)
            self.offers = Offers(self.root, self.log, self.scanner, self._desk, path)
            self._check_root()
            self._look_at_all()
        except BaseException:
            self.watch.close()
            raise

    def close(self) -> None:
        self.watch.close()
        self.log.close()
        self.root.close()

    # --- the root ---------------------------------------------------------------------

    def _check_root(self) -> None:
        """Look whether this is still the store that it was; raise the generation when it is due."""
        now = time.monotonic()
        if now - self._checked_at < MARKER_CHECK_SECONDS:
            return
        self._checked_at = now
        found = os.stat(self.root.path)
        if (found.st_dev, found.st_ino) != (self.root.device, self.root.inode):
            raise Fault(
                "root-changed", f"{self.root.path} isn't the directory any more that it was", "See what is mounted."
            )
        known = self.log.meta.get("fsid")
        if known is not None and known != str(self.root.fsid):
            self._trouble = f"{self.root.path} is on another file system than before"
        elif known is None:
            self.log.begin()
            self.log.meta.set(fsid=str(self.root.fsid))
        here = marker.demand(self.root, self.marker.store, marker.ACTIVE)
        known_generation = int(self.log.meta.get(f"generation-{here.epoch}") or 0)
        if here.generation < known_generation:
            raise Fault(
                "older-generation",
                f"{self.root.path} is an older copy of itself: generation {here.generation}, known {known_generation}",
                "It was restored from a snapshot or copy. It can only be reclaimed from; nothing was replicated.",
            )
        if not self._raised_at and known_generation and here.generation > known_generation:
            # The store has been served since this log was written: it is an older copy, and its seqs were given out.
            self.log.renew()
        self.marker = here
        if here.boot != marker.boot_id() or now - self._raised_at >= GENERATION_SECONDS or not self._raised_at:
            self._raised_at = now
            self.marker = here.raised(marker.boot_id())
            marker.write(self.root, self.marker)
            self.log.begin()
            self.log.meta.set(**{f"generation-{here.epoch}": self.marker.generation})

    def accept_file_system(self) -> Answer:
        """An operator's word that the root may be on another file system from now on."""
        self.log.begin()
        self.log.meta.set(fsid=str(self.root.fsid))
        self.log.commit()
        self._trouble = ""
        return Answer({})

    # --- the background ---------------------------------------------------------------

    def _follow(self, directory: bytes) -> None:
        if self._degraded:
            return
        try:
            self.watch.follow(directory)
        except (watch.WatchFull, OSError) as full:
            # Half a watch would hide what it misses; polling sees everything, later.
            self._degraded = str(full)
            self.watch.close()
            self.watch = watch.Polling(self._degraded)

    def _take(self, hints: List[Hint]) -> None:
        for hint in hints:
            if hint.what == "gone":
                # Nothing more is told by this watch. Polling goes on, and the root is looked at at once.
                self._degraded = "the root was unmounted or replaced"
                self.watch.close()
                self.watch = watch.Polling(self._degraded)
            if hint.what in ("overflow", "gone"):
                self._checked_at = 0.0
                self._look_at_all()
                self._auditing = True
                continue
            service = hint.process if hint.process in self._services else None
            self.scanner.hint(hint.directory, hint.name, service, hint.what == "vanished")
            if hint.is_directory and hint.what == "appeared":
                path = hint.directory + b"/" + hint.name if hint.directory else hint.name
                self.scanner.tree.watch(path)
                self.scanner.hint(path, b"", None, False)

    def background(self) -> Optional[float]:
        """One piece of following; the seconds until the next (0: at once)."""
        asked_at = time.time_ns()
        self._take(self.watch.read())
        now = time.monotonic()
        if self.watch.fileno() is None and self._audited and now >= self._next_poll:
            self._next_poll = now + watch.INTERVAL
            self._look_at_all()
        elif self.watch.fileno() is not None:
            self._mark(asked_at)
        delay = self.scanner.step()
        if delay == 0.0:
            return 0.0
        if self._auditing and delay is None:
            self._auditing = False
            self._audited = True
            self.scanner.agenda.surveying = False
            self.log.begin()
            self.log.meta.set(scanned=1)
        self._settle()
        if self.log.uncommitted:
            self.log.commit()
        if self.log.head != self._told:
            self._told = self.log.head
            self._desk.notice({"changed": self.root.path, "head": self.log.head})
        if self.watch.fileno() is None:
            delay = min(watch.INTERVAL if delay is None else delay, max(0.001, self._next_poll - now))
        return delay

    def _look_at_all(self) -> None:
        """Begin an audit."""
        asked_at = time.time_ns()
        self.scanner.audit()
        self._marked_at = 0
        self._mark(asked_at)

    def _mark(self, asked_at: int) -> None:
        """Whatever changed before `asked_at` (ns, this host's clock) waits to be looked at now. So when all that waits
        has been looked at, every change up to then that still shows is in the log. A clock set back takes this back."""
        self._settle()
        if not self._marked_at:
            self._marked_at = asked_at
            self.scanner.agenda.mark()

    def _settle(self) -> None:
        if self._marked_at and self.scanner.agenda.passed and self._audited and not self._auditing:
            self._complete = 0 if self.scanner.unread else self._marked_at - SLACK_NS
            self._marked_at = 0

    # --- verbs ------------------------------------------------------------------------

    def describe(self) -> Dict[str, Any]:
        """What the controller judges by."""
        accounts, folders, messages = self.scanner.tree.totals()
        return {
            "index": self.log.id,
            "head": self.log.head,
            "horizon": self.log.meta.get("horizon"),
            "marker": self.marker.head(),
            "watch": self.watch.kind,
            "watch_why": self._degraded or self.watch.why,
            "accounts": accounts,
            "folders": folders,
            "messages": messages,
            "whole": self._audited and not self._auditing,
            "unstable": self.scanner.agenda.unstable,
            "missing": [text(account) for account in self.scanner.missing_accounts[:100]],
            "foreign": [[text(path), kind] for path, kind in list(self.scanner.foreign.items())[:100]],
            "problems": [[text(f), text(n), what] for (f, n), what in list(self.scanner.problems.items())[-100:]],
            "trouble": self._trouble,
        }

    def status(self, head: Dict[str, Any]) -> Answer:
        self._check_root()
        count, since = self.log.pending(int(head.get("live", 0)), int(head.get("dead", 0)))
        age = None if since is None else max(0.0, time.time() - since)
        return Answer({"pending": count, "age": age, **self.describe()})

    def offer(self, head: Dict[str, Any]) -> Union[Answer, Work]:
        """The next batch beyond a cursor; a `patient` asker gets it when the audit has found enough, or is over."""
        self._check_root()
        number, live, dead, rows, size = (int(head[name]) for name in ("batch", "live", "dead", "rows", "bytes"))
        if max(live, dead) > self.log.head:
            raise Fault(
                "older-generation",
                f"{self.root.path} is an older copy of itself: a passive place has its change {max(live, dead)},"
                f" its own log ends at {self.log.head}",
                "This host was restored from a snapshot or copy. It can only be reclaimed from.",
            )
        deletes = bool(head.get("deletes")) and self._audited and not self._trouble
        wanted = Wanted(number, live, dead, max(1, min(rows, 20_000)), size, deletes)
        return self._offer_soon(wanted) if head.get("patient") and self._auditing else self._offer_now(wanted)

    def _offer_soon(self, wanted: Wanted) -> Generator[Optional[float], None, Answer]:
        # A folder of which no listing holds still would keep the audit, and who waits for it, for ever.
        while self._auditing and not self.scanner.agenda.held_up and self.log.head - wanted.live < wanted.rows:
            yield None if self.scanner.agenda.at_work else 0.01
        return self._offer_now(wanted, unfinished=self._auditing and not self.scanner.agenda.held_up)

    def _offer_now(self, wanted: Wanted, unfinished: bool = False) -> Answer:
        answer = self.offers.offer(wanted, unfinished)
        extra: Dict[str, Any] = {
            "generation": self.marker.generation,
            "epoch": self.marker.epoch,
            "whole": self._audited and not self._auditing,
        }
        if not answer.head["more"]:
            extra["complete"] = self._complete
        if unfinished:
            extra["messages"] = self.scanner.tree.totals()[2]
        return answer._replace(head={**answer.head, **extra})

    def fetch(self, head: Dict[str, Any], frame: Frame) -> Work:
        rate, group = head.get("rate"), int(head.get("group", 0))
        self.offers.compress(group, int(head.get("deflate", 0)))
        return self.offers.fetch(int(head["batch"]), group, frame, float(rate) if rate else None)

    def audit(self, head: Dict[str, Any]) -> Work:
        """Look at every folder, and answer when all is in the log and nothing waits to settle.

        With `survey`, a first scan is answered when every directory is known and goes on by itself.
        """
        self._look_at_all()
        self._auditing = True
        return self._audit(bool(head.get("survey")))

    def _audit(self, survey: bool) -> Generator[Optional[float], None, Answer]:
        while self._auditing or self.log.uncommitted or self.scanner.pending:
            if self.scanner.agenda.held_up:
                break  # a folder under constant change; its removals wait, and status says so
            if survey and self.scanner.agenda.surveyed:
                break
            delay = self.background()
            if self._auditing or self.scanner.pending:
                yield delay
        return Answer(self.describe())

    def again(self, rows: List[Tuple[int, str, bool]]) -> Answer:
        """Offer rows anew that a passive place couldn't take."""
        for fid, name, sidecar in rows:
            self.scanner.again(int(fid), raw(name), bool(sidecar))
        self.log.commit()
        return Answer({"head": self.log.head})

    def retire(self, account: str) -> Answer:
        count = self.scanner.removals.retire(raw(account))
        self.log.commit()
        return Answer({"messages": count})

    def digests(self, head: Dict[str, Any]) -> Work:
        """A line per folder (`digests.Line`): from the index, or with `deep` from the disk, bodies and all."""
        found: List[Line] = []
        if head.get("deep"):
            wanted = {raw(path) for path in head["paths"]} if head.get("paths") else None
            for folder in sorted(self.scanner.tree.by_fid.values(), key=lambda each: each.path):
                if not folder.gone and (wanted is None or folder.path in wanted):
                    found.append(deep(self.root, folder.path, folder.account, folder.maildir, bool(head.get("names"))))
                    yield None
        else:
            found = lines(self.scanner.tree.by_fid.items(), ((row.fid, row) for row in self.log.all_sidecars()))
        self.log.commit()
        blob, deflated = pack([line.packed() for line in found])
        return Answer({"head": self.log.head, "whole": not self._auditing and not self.scanner.pending}, blob, deflated)
