"""What an agent answers when a lost place comes home: differences, a cut's rows, the reclaim area, deliveries.

The shapes are the real agent's (`agent.differences`, `agent.cut`, `agent.aside`, `agent.delivery`), and the controller
checks them as it checks a real one's. All of it is durable when an answer leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from orchestrator.agent.marker import ACTIVE
from orchestrator.agent.serve import Fault
from orchestrator.agent.wire import Frame, Kind, pack, unpack
from orchestrator.simulate.store import Message, Store

Head = Mapping[str, Any]
Told = tuple[dict[str, Any], bytes]
ACCOUNT = FOLDER = "someone"


def told(cut: Mapping[str, Any]) -> dict[str, Any]:
    """A cut without its rows."""
    return {key: value for key, value in cut.items() if key not in ("rows", "kept")}


def frame(head: dict[str, Any], blob: bytes, deflated: bool = False) -> Frame:
    return Frame(Kind.REPLY, 0, head, blob, deflated)


class Returning:
    """Of a store; `used` says that its host's server has it open."""

    VERBS = frozenset({
        "store.differences", "store.cut_rows", "store.aside", "store.read_aside", "store.drop_aside", "store.deliver",
        "store.apply",
    })  # fmt: skip

    def __init__(self, store: Store, used: bool) -> None:
        self.store, self.used = store, used

    def asked(self, verb: str, head: Head, blob: bytes) -> Told:
        """Raises Fault."""
        if not self.store.mounted:
            raise Fault("no-marker", "the store has no marker", "Mount its file system.")
        if head.get("epoch", self.store.marker.epoch) < self.store.marker.epoch:
            raise Fault("older-epoch", f"it is in epoch {self.store.marker.epoch}", "Begin anew.")
        work: Callable[[Head, Any], Told] = getattr(self, "_" + verb.partition(".")[2])
        return work(head, blob if verb == "store.deliver" else unpack(frame({}, blob)))

    def _served(self) -> None:
        marker = self.store.marker
        if marker.role != ACTIVE:
            raise Fault("wrong-role", f"it is {marker.role} in epoch {marker.epoch}")

    def _unused(self) -> None:
        if self.used:
            raise Fault("in-use", "a Dovecot on this host may have the store open", "Stop it.")

    # ---- looking -----------------------------------------------------------------------------------------------------

    def _differences(self, head: Head, _: Any) -> Told:
        if not head.get("live"):
            self._unused()
        store = self.store
        if head.get("paths") is None:
            row = [FOLDER, ACCOUNT, len(store.letters), _digest(list(store.letters.values())), 1, 1, 1]
            return {"next": None}, _rows([row])
        rows = [
            [FOLDER, each.base, each.sub, each.info, each.inode, len(each.letter), 1, each.ctime, uid]
            for uid, each in sorted(store.letters.items(), key=lambda pair: pair[1].base)
        ]
        return {"next": None, "keywords": {}, "moving": []}, _rows(rows)

    def _cut_rows(self, head: Head, _: Any) -> Told:
        cut = self.store.cut
        if cut is None or [cut["epoch"], cut["place"]] != head["cut"]:
            raise Fault("no-cut", "there is no such cut here", "It stands on the place that was promoted.")
        known = [(each.message, each.changed) for each in cut["rows"].values()]
        if head["what"] == "folders":
            rows: list[Any] = [[FOLDER, ACCOUNT, len(known), _digest([message for message, _ in known]), 1]]
        elif head["what"] == "placements":
            rows = [[FOLDER, m.base, m.sub, m.info, m.inode, len(m.letter), 1, changed] for m, changed in known]
        else:
            rows = [[ACCOUNT, FOLDER, each.base + each.info, 1.0] for each in cut["kept"].values()]
        return {"next": None}, _rows(rows)

    # ---- the reclaim area --------------------------------------------------------------------------------------------

    def _aside(self, head: Head, rows: Any) -> Told:
        self._unused()
        answer: dict[str, Any] = {"aside": 0, "missing": [], "changed": []}
        standing = {each.base: (uid, each) for uid, each in self.store.letters.items()}
        for folder, _sub, base, info, inode in rows or ():
            key = f"{head['operation']}/{base}"
            if key not in self.store.aside:
                if base not in standing or standing[base][1].info != info:
                    answer["missing"].append([folder, base])
                    continue
                uid, message = standing[base]
                if message.inode != inode:
                    answer["changed"].append([folder, base])
                    continue
                self.store.restless(uid)
                self.store.aside[key] = message
            answer["aside"] += 1
        return answer, b""

    def _read_aside(self, head: Head, _: Any) -> Told:
        message = self.store.aside.get(f"{head['operation']}/{head['base']}")
        if message is None:
            raise Fault("not-aside", f"{head['base']} doesn't stand aside", "Ask for `store.aside` first.")
        body = message.letter.encode()
        return {"size": len(body), "mtime": 1, "sha256": message.letter}, body

    def _drop_aside(self, head: Head, rows: Any) -> Told:
        kept, count = [], 0
        for folder, base, digest in rows or ():
            message = self.store.aside.get(f"{head['operation']}/{base}")
            if message is not None and message.letter == digest:
                del self.store.aside[f"{head['operation']}/{base}"]
                count += 1
            elif message is not None:
                kept.append([folder, base])
        left = sum(key.startswith(f"{head['operation']}/") for key in self.store.aside)
        return {"dropped": count, "kept": kept, "left": left}, b""

    # ---- the active store --------------------------------------------------------------------------------------------

    def _deliver(self, head: Head, blob: bytes) -> Told:
        self._served()
        store, key, letter = self.store, (head["base"], head["sha256"]), blob.decode()
        new = key not in store.came
        if new:
            store.laws.resurrects(letter, self._complete)
            store.came[key] = head["base"]
            store.deliver(letter, head["base"], home=True, seen="S" in head["info"])
        return {"done": store.came[key], "new": new}, b""

    def _apply(self, head: Head, value: Any) -> Told:
        self._served()
        words = [self._moved(*act[2:]) if act[0] == "move" else "changed" for act in value["acts"]]
        return {"words": words}, b""

    def _moved(self, base: str, here: list[Any], there: list[Any]) -> str:
        store = self.store
        standing = next(((uid, each) for uid, each in store.letters.items() if each.base == base), None)
        if standing is None:
            return "changed"
        uid, message = standing
        if [FOLDER, message.sub, message.info] == there:
            return "done"
        if [FOLDER, message.sub, message.info] != here:
            return "changed"
        seen = "S" in there[2]
        store.laws.takes_back(message.letter, seen, "primary", self._complete)
        store.letters[uid] = replace(message, seen=seen, ctime=store.clock())
        return "done"

    @property
    def _complete(self) -> int:
        cut = self.store.cut
        return int(cut["source_complete"] or 0) if cut else 0


def _digest(messages: list[Message]) -> str:
    """Of names and flags."""
    return " ".join(sorted(each.base + each.info for each in messages))


def _rows(rows: list[Any]) -> bytes:
    return pack(rows, 0)[0]
