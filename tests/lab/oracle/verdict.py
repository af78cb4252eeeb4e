"""What was promised, held against what is there. Pure: the journal, a final reading, the wire and the probes go in.

Invariant: every kind of finding in `VIOLATIONS` is a broken guarantee, and one is enough for a bad verdict. Looking at
nothing is a finding too (`nothing`): no acknowledgement, no account read, no probe that ever succeeded, a witness that
saw no answer. What the answers leave open (`undecided`, letters whose reply was lost) is counted and isn't excused into
soundness. How long a service was away is told, not judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from tests.lab.oracle import intervals
from tests.lab.oracle.caches import Cache, Listing, Trouble
from tests.lab.oracle.intervals import Answer, Outage, Span
from tests.lab.oracle.journal import Cached, Record
from tests.lab.oracle.promises import Folders, Promises, gathered, reused
from tests.lab.oracle.reading import Folder, Reading
from tests.lab.oracle.worlds import Copies, Item, settle

VIOLATIONS: dict[str, str] = {
    "lost": "acknowledged, and not there (G1)",
    "duplicated": "there more often than its answers allow (G1)",
    "resurrected": "there although its expunge, or its move away, was acknowledged",
    "damaged": "there, but its body isn't the one that was sent (G3)",
    "misplaced": "there, but not in the folder where an answer put it",
    "flags": "there, but without the flags of the last answer",
    "unexpected": "there, although nobody took it",
    "folder lost": "a folder whose making was acknowledged is gone",
    "folder resurrected": "a folder whose end was acknowledged is there",
    "cache": "a client's cache was misled (G4)",
    "second writer": "two places gave positive answers at once (G2)",
    "undecided": "too many messages of which the answers say nothing",
    "nothing": "nothing was looked at",
}
UNDECIDED_SHARE = 0.05


@dataclass(frozen=True, order=True)
class Finding:
    """`kind` is one of VIOLATIONS; `detail` the cache's kind of fault, or empty."""

    kind: str
    account: str
    about: str
    text: str
    detail: str = ""


@dataclass(frozen=True)
class Probes:
    """Of one protocol: when attempts began, when successes came, and the time in which it was asked."""

    begun: tuple[float, ...]
    successes: tuple[float, ...]
    watch: Span
    period: float


@dataclass(frozen=True)
class Away:
    """How long one protocol was away: `outages` in order; `gap`, the longest time without a success; `blind` seconds in
    which the prober itself slept.
    """

    attempts: int
    successes: int
    outages: tuple[Outage, ...]
    blind: float
    gap: float

    @property
    def longest(self) -> float:
        return max((outage.seconds for outage in self.outages), default=0.0)

    @property
    def total(self) -> float:
        return sum(outage.seconds for outage in self.outages)


@dataclass(frozen=True)
class Wire:
    """What the witness saw. `missed`: frames that it couldn't take, so that it may have overlooked an answer."""

    answers: tuple[Answer, ...]
    missed: int = 0


@dataclass
class Verdict:
    """`counts`: messages acknowledged, present once (as promised), and so on; see `table`."""

    findings: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    away: dict[str, Away] = field(default_factory=dict)
    serving: dict[str, list[Span]] = field(default_factory=dict)

    @property
    def sound(self) -> bool:
        return not self.findings

    def of(self, kind: str) -> list[Finding]:
        return [finding for finding in self.findings if finding.kind == kind]


def judge(
    records: Iterable[Record],
    reading: Reading,
    wire: Wire | None = None,
    probes: Mapping[str, Probes] | None = None,
    twice: Mapping[str, int] = MappingProxyType({}),
) -> Verdict:
    """Everything at once. `wire` None: no witness stood by. `probes` None: nobody asked how long. `twice` as in
    `promises.gathered`.
    """
    promises = gathered(records, twice)
    verdict = Verdict()
    _messages(promises, reading, verdict)
    _folders(promises.folders, reading, verdict)
    _caches(promises, reading, verdict)
    if wire is not None:
        _writers(wire, verdict)
    for protocol, asked in sorted((probes or {}).items()):
        _availability(protocol, asked, verdict)
    if not verdict.counts["acknowledged"]:
        verdict.findings.append(Finding("nothing", "", "messages", "no message was ever acknowledged"))
    verdict.findings.sort()
    return verdict


# ---- messages ----


def standing(account: Mapping[str, Folder]) -> dict[str, list[tuple[str, frozenset[str]]]]:
    """Where each message of ours stands: id -> (folder, flags) of each copy."""
    found: dict[str, list[tuple[str, frozenset[str]]]] = {}
    for name, folder in account.items():
        for message in folder.messages:
            if message.id:
                found.setdefault(message.id, []).append((name, frozenset(message.flags)))
    return found


def missing(records: Iterable[Record], reading: Reading) -> int:
    """How many messages that have to stand somewhere don't; what `reading.settled` waits for."""
    promises = gathered(records)
    there = {owner: standing(folders) for owner, folders in reading.items()}
    return sum(
        1
        for (owner, identity), item in promises.items.items()
        if min(map(len, item.ends())) > len(there.get(owner, {}).get(identity, []))
    )


def _messages(promises: Promises, reading: Reading, verdict: Verdict) -> None:
    there = {account: standing(folders) for account, folders in reading.items()}
    for account in sorted({account for account, _ in promises.items} - set(reading)):
        verdict.findings.append(Finding("nothing", account, "account", "its mail was never read"))
    for (account, identity), item in sorted(promises.items.items()):
        if account in there:
            _message(promises, account, identity, item, there[account].pop(identity, []), verdict)
    for account, left in there.items():
        for identity, copies in left.items():
            if not promises.of_this_run(identity):
                continue
            text = f"{len(copies)} in {_where(copies)}, and no answer tells of it"
            verdict.findings.append(Finding("unexpected", account, identity, text))
    _bodies(reading, verdict)
    verdict.counts["acknowledged"] = promises.acknowledged()
    if verdict.counts["undecided"] > UNDECIDED_SHARE * len(promises.items):
        verdict.findings.append(Finding("undecided", "", "messages", f"{verdict.counts['undecided']} of them"))


def _message(
    promises: Promises, account: str, identity: str, item: Item, copies: list[tuple[str, frozenset[str]]], out: Verdict
) -> None:
    actual, ends = settle(copies), item.ends()
    if promises.letters[account, identity].unknown:
        out.counts["reply lost"] += 1
        out.counts[f"reply lost, there {min(len(actual), 2)}"] += 1
    if item.undecided:
        out.counts["undecided"] += 1
        return
    seen_again = promises.resurrected.get((account, identity))
    found = broken(actual, ends, item)
    if found is None and seen_again is None:
        out.counts["as promised"] += 1
        out.counts["present once"] += len(actual) == 1
        return
    kind, text = found or ("resurrected", seen_again or "")
    out.findings.append(Finding(kind, account, identity, text))


def broken(actual: Copies, ends: set[Copies], item: Item) -> tuple[str, str] | None:
    """What is wrong with one message: (kind, text); None when it stands as its answers allow."""
    if actual in ends or _unnamed(actual, ends):
        return None
    fewest, most = min(map(len, ends)), max(map(len, ends))
    nearest = min(sorted(ends, key=repr), key=lambda end: len(set(end) ^ set(actual)))
    text = f"there: {_said(actual)}; promised: {_said(nearest)}"
    if len(actual) < fewest:
        return "lost", text
    if len(actual) > most:
        extra = Counter(folder for folder, _ in actual) - Counter(folder for folder, _ in nearest)
        back = any(folder in item.left for folder in extra)
        if most == 0 and not item.left:
            return "unexpected", text
        return ("resurrected" if back or most == 0 else "duplicated"), text
    places = {tuple(folder for folder, _ in end) for end in ends}
    if tuple(folder for folder, _ in actual) not in places:
        return "misplaced", text
    return "flags", text


def _unnamed(actual: Copies, ends: set[Copies]) -> bool:
    """Whether all that differs is a keyword without its name: a Dovecot killed between renaming a message and writing
    dovecot-keywords tells the letter back as `unknown-N`. Only for a change that was never answered (the copies without
    it are an allowed end as well): after an OK the name has to be there.
    """
    bare = settle((folder, frozenset(f for f in flags if not f.startswith("unknown-"))) for folder, flags in actual)
    keywords = [len(flags) - len(plain) for (_, flags), (_, plain) in zip(actual, bare, strict=True)]
    return any(keywords) and bare in ends and any(_more(bare, end) == keywords for end in ends)


def _more(bare: Copies, end: Copies) -> list[int]:
    """How many keywords each copy of `end` has beyond those of `bare`; nothing when they differ in anything else."""
    if [folder for folder, _ in bare] != [folder for folder, _ in end]:
        return []
    pairs = [(flags, plain) for (_, flags), (_, plain) in zip(end, bare, strict=True)]
    if any(plain - flags or any(flag.startswith("\\") for flag in flags - plain) for flags, plain in pairs):
        return []
    return [len(flags - plain) for flags, plain in pairs]


def _where(copies: Iterable[tuple[str, frozenset[str]]]) -> str:
    return ", ".join(sorted({folder for folder, _ in copies}))


def _said(copies: Copies) -> str:
    return ", ".join(f"{folder} ({' '.join(sorted(flags))})" for folder, flags in copies) or "nowhere"


def _bodies(reading: Reading, verdict: Verdict) -> None:
    for account, folders in sorted(reading.items()):
        for name, folder in sorted(folders.items()):
            for message in folder.messages:
                verdict.counts["read"] += 1
                verdict.counts["not ours"] += not message.id
                if not message.whole:
                    text = f"UID {message.uid} in {name}"
                    verdict.findings.append(Finding("damaged", account, message.id, text))


# ---- folders and caches ----


def _folders(expected: Mapping[str, Folders], reading: Reading, verdict: Verdict) -> None:
    for account, folders in sorted(expected.items()):
        if account in reading:
            there = set(reading[account])
            pairs = [("folder lost", folders.there - there), ("folder resurrected", folders.gone & there)]
            for kind, names in pairs:
                verdict.findings += [Finding(kind, account, name, VIOLATIONS[kind]) for name in sorted(names)]


def _caches(promises: Promises, reading: Reading, verdict: Verdict) -> None:
    """The clients' own complaints, their caches against the final reading, and all names over all time; each once."""
    found = {
        (one.account, one.folder, one.kind, one.text)
        for one in promises.faults
        if not promises.excused(one.account, one.validity, Trouble(one.kind, one.text, one.uid, one.id))
    }
    for (account, name), cached in sorted(promises.caches.items()):
        verdict.counts["caches"] += 1
        folder = reading.get(account, {}).get(name)
        if folder is not None:
            found |= {
                (account, name, trouble.kind, trouble.text)
                for trouble in stale(cached, folder)
                if not promises.excused(account, folder.validity, trouble)
            }
    for account, folders in reading.items():
        for name, folder in folders.items():
            for message in folder.messages:
                promises.named((account, name, folder.validity, message.uid, ""), message.id)
    found |= set(reused(promises))
    for account, name, kind, text in sorted(found):
        verdict.findings.append(Finding("cache", account, name, text, kind))


def stale(cached: Cached, folder: Folder) -> Iterator[Trouble]:
    """What a client with this cache would stumble over in this folder."""
    cache = Cache(cached.validity, cached.uidnext, cached.modseq)
    cache.ids = {uid: identity for uid, identity, _ in cached.messages}
    flags = {message.uid: frozenset(message.flags) for message in folder.messages}
    ids = {message.uid: message.id for message in folder.messages}
    yield from cache.faults(Listing(folder.validity, folder.uidnext, folder.modseq, flags, ids))


# ---- writers and availability ----


def _writers(wire: Wire, verdict: Verdict) -> None:
    verdict.counts["answers on the wire"] = len(wire.answers)
    verdict.counts["frames missed"] = wire.missed
    verdict.serving = intervals.serving(wire.answers)
    if not wire.answers:
        verdict.findings.append(Finding("nothing", "", "wire", "the witness saw no positive answer"))
    if wire.missed:
        verdict.findings.append(Finding("nothing", "", "wire", f"the witness missed {wire.missed} frames"))
    for both in intervals.second_writers(wire.answers):
        text = f"{both.span.start:.3f} to {both.span.end:.3f}: {both.said[0]}; {both.said[1]}"
        verdict.findings.append(Finding("second writer", "", " and ".join(both.places), text))


def _availability(protocol: str, asked: Probes, verdict: Verdict) -> None:
    given = (asked.successes, asked.begun, asked.watch, asked.period)
    gaps = tuple(intervals.outages(*given))
    longest = intervals.longest(asked.successes, asked.watch)
    unseen = sum(gap.seconds for gap in intervals.blind(*given))
    verdict.away[protocol] = Away(len(asked.begun), len(asked.successes), gaps, unseen, longest)
    if not asked.successes:
        verdict.findings.append(Finding("nothing", "", protocol, "no probe ever succeeded"))


def held_apart(answers: Sequence[Answer], holds: Iterable[tuple[str, Span]]) -> list[Answer]:
    """Without the 250s on port 25 from a place while its final transports were held: a queue-only 250 is no positive
    answer (G2). Who says so is the caller, from the host's own configuration; the wire doesn't tell.
    """
    held = list(holds)
    return [
        answer
        for answer in answers
        if answer.protocol != "smtp"
        or not any(place == answer.place and span.start <= answer.t <= span.end for place, span in held)
    ]
