"""A mail host's queue, and what it remembers of letters that are moved: what the agent's verb `queue` asks for.

A model of `agent.mailqueue`, `agent.received` and `agent.queueledger`: the same requests, refusals and answers, over a
queue without files. All of it is durable when an answer leaves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.agent.serve import Fault
from orchestrator.simulate.laws import Laws

Head = Mapping[str, Any]
ACTS = ("hold", "unhold", "drop", "lay", "release", "lift")


@dataclass(frozen=True)
class Queued:
    id: str
    arrived: int
    letter: str
    hold: bool = False


@dataclass(frozen=True)
class Row:
    """Of the ledger: a letter that came from `source` (`local`: its id here), or with source "" one that is given."""

    source: str
    id: str
    arrived: int
    local: str
    state: str
    operation: str


@dataclass
class Spool:
    host: str
    laws: Laws
    letters: dict[str, Queued] = field(default_factory=dict)
    laid: dict[tuple[str, str, int], Row] = field(default_factory=dict)
    given: dict[tuple[str, int], Row] = field(default_factory=dict)
    epoch: int = 0
    _count: int = 0
    _digests: dict[tuple[str, str, int], str] = field(default_factory=dict)

    # ---- Postfix -----------------------------------------------------------------------------------------------------

    def take(self, letter: str, now: float) -> Queued:
        """A letter that is taken in."""
        self._count += 1
        queued = Queued(f"{self.host[0].upper()}{self._count:X}", int(now * 1e6), letter)
        self._put(queued)
        return queued

    def _put(self, queued: Queued) -> None:
        if queued.id not in self.letters:
            if any(each.letter == queued.letter for each in self.letters.values()):
                self.laws.twice(queued.letter, self.host)
            self.laws.stands(queued.letter)
        self.letters[queued.id] = queued

    def out(self, queue_id: str) -> None:
        """It was delivered, or is removed."""
        self.laws.goes(self.letters.pop(queue_id).letter)

    def waiting(self) -> list[Queued]:
        return [queued for queued in self.letters.values() if not queued.hold]

    # ---- the agent's verb --------------------------------------------------------------------------------------------

    def asked(self, head: Head, blob: bytes, *, runs: bool, epoch: int, given_up: bool) -> tuple[dict[str, Any], bytes]:
        """`epoch` is the guard's; `given_up` that it has a tombstone; `runs` that Postfix does. Raises Fault."""
        do = str(head["do"])
        if do in ACTS:
            if do == "unhold" and given_up:
                raise Fault("stale", "this host has given its place away for good", "Go on with the journey.")
            if head["epoch"] < max(epoch, self.epoch):
                raise Fault("stale", f"epoch {head['epoch']} is over: this host knows of {max(epoch, self.epoch)}")
            self.epoch = max(self.epoch, head["epoch"])
        told: dict[str, Any] = getattr(self, f"_{do}")(head, blob, runs)
        return told, told.pop("blob", b"")

    def _whose(self, queued: Queued) -> tuple[str, str]:
        row = self.given.get((queued.id, queued.arrived))
        if row is not None and row.state == "held":
            return "us", row.operation
        came = next((row for row in self.laid.values() if row.local == queued.id and row.state == "laid"), None)
        return ("laid", came.operation) if came else ("site", "") if queued.hold else ("", "")

    def _list(self, head: Head, _: bytes, runs: bool) -> dict[str, Any]:
        rows = []
        for queued in sorted(self.letters.values(), key=lambda each: each.id):
            if queued.id > head["after"]:
                queue, held = ("hold", self._whose(queued)) if queued.hold else ("deferred", ("", ""))
                rows.append([queued.id, queue, queued.arrived, len(queued.letter), 1, 0, True, *held])
        return {"letters": rows, "more": False, "runs": runs, "instances": [], "senders": None}

    def _hold(self, head: Head, _: bytes, runs: bool) -> dict[str, Any]:
        told: dict[str, list[str]] = {"held": [], "site": [], "unfit": [], "missing": []}
        for each in head["ids"]:
            queued = self.letters.get(each)
            if queued is None:
                told["missing"].append(each)
            elif queued.hold and (each, queued.arrived) not in self.given:
                told["site"].append(each)
            elif not queued.hold and runs:
                raise Fault("running", "Postfix runs: a letter that is being delivered would stand twice", "Stop it.")
            else:
                self.given[each, queued.arrived] = Row("", each, queued.arrived, each, "held", head["operation"])
                self.letters[each] = replace(queued, hold=True)
                told["held"].append(each)
        return dict(told)

    def _unhold(self, head: Head, _: bytes, __: bool) -> dict[str, Any]:
        rows = [row for row in self.given.values() if row.id in head["ids"] and row.operation == head["operation"]]
        for row in [row for row in rows if row.state != "dropped"]:
            queued = self.letters.get(row.id)
            if queued is not None:
                self.letters[row.id] = replace(queued, hold=False)
            del self.given[row.id, row.arrived]
        return {"released": [row.id for row in rows], "missing": []}

    def _read(self, head: Head, _: bytes, __: bool) -> dict[str, Any]:
        pieces, blob = [], b""
        for queue_id, _offset in head["want"]:
            queued = self.letters.get(queue_id)
            if queued is None or self._whose(queued)[0] != "us":
                raise Fault("not-ours", f"{queue_id} isn't on hold by us", "Ask for `hold` first.")
            content = queued.letter.encode()
            piece = {"id": queue_id, "arrived": queued.arrived, "offset": 0, "length": len(content)}
            pieces.append({**piece, "size": len(content), "mtime_ns": 0, "digest": queued.letter, "logs": {}})
            blob += content
        return {"pieces": pieces, "blob": blob}

    def _drop(self, head: Head, _: bytes, __: bool) -> dict[str, Any]:
        told: dict[str, list[str]] = {"dropped": [], "missing": [], "differs": []}
        for each, digest in head["confirmed"].items():
            queued = self.letters.get(each)
            row = self.given.get((each, queued.arrived)) if queued else None
            if queued is None or row is None:
                known = any(row.id == each and row.state == "dropped" for row in self.given.values())
                told["dropped" if known else "missing"].append(each)
            elif queued.letter != digest:
                told["differs"].append(each)
            else:
                self.given[each, row.arrived] = replace(row, state="dropped")
                for key, came in self.laid.items():
                    if came.local == each and came.state == "released":
                        self.laid[key] = replace(came, state="left")
                self.out(each)
                told["dropped"].append(each)
        return dict(told)

    # ---- letters that come -------------------------------------------------------------------------------------------

    def known(self, source: str, queue_id: str, arrived: int) -> Row | None:
        """What the ledger has of a letter."""
        return self.laid.get((source, queue_id, arrived))

    def _laid(self, head: Head, _: bytes, __: bool) -> dict[str, Any]:
        rows = [
            [row.source, row.id, row.arrived, self._digest(row), 1, row.local, 1, row.state, row.operation]
            for row in self.laid.values()
        ]
        return {"laid": rows[head["after"] :], "more": False}

    def _digest(self, row: Row) -> str:
        return self._digests.get((row.source, row.id, row.arrived), "")

    def _lay(self, head: Head, blob: bytes, __: bool) -> dict[str, Any]:
        told: dict[str, list[str]] = {"laid": [], "known": [], "again": [], "remains": []}
        at = 0
        for piece in head["pieces"]:
            content, at = blob[at : at + piece["length"]].decode(), at + piece["length"]
            key = (head["source"], piece["id"], piece["arrived"])
            row = self.known(*key)
            if row is not None and row.state not in ("lifted", "left"):
                told["laid" if row.state == "laid" else "known"].append(piece["id"])
                if row.state == "laid":
                    self.laid[key] = replace(row, operation=head["operation"])
                continue
            if any(row.arrived == piece["arrived"] and row.state == "held" for row in self.given.values()):
                told["remains"].append(piece["id"])
                continue
            local = next(each for each in (piece["id"], *_others(piece["id"])) if each not in self.letters)
            self.laid[key] = Row(*key, local, "laid", head["operation"])
            self._digests[key] = content
            self._put(Queued(local, piece["arrived"], content, hold=True))
            told["laid"].append(piece["id"])
        return dict(told)

    def _mine(self, head: Head) -> list[tuple[tuple[str, str, int], Row]]:
        of = (head["source"], head["operation"])
        return [(k, row) for k, row in self.laid.items() if (row.source, row.operation) == of and row.id in head["ids"]]

    def _release(self, head: Head, _: bytes, runs: bool) -> dict[str, Any]:
        told = []
        for key, row in self._mine(head):
            if row.state == "laid":
                self.letters[row.local] = replace(self.letters[row.local], hold=False)
                self.laid[key] = replace(row, state="released")
            if self.laid[key].state in ("released", "left"):
                told.append(row.id)
        return {"released": told, "foreign": sorted(set(head["ids"]) - set(told)), "flushed": runs}

    def _lift(self, head: Head, _: bytes, __: bool) -> dict[str, Any]:
        told: dict[str, list[str]] = {"lifted": [], "released": [], "foreign": []}
        for key, row in self._mine(head):
            if row.state == "laid":
                self.out(row.local)
                self.laid[key] = replace(row, state="lifted")
            told["lifted" if self.laid[key].state == "lifted" else "released"].append(row.id)
        return dict(told)


def _others(queue_id: str) -> Sequence[str]:
    return [f"{queue_id}x{n}" for n in range(100)]
