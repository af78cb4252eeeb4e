"""The verb `advertised`: what Dovecot keeps quiet about (`advertised` has the rule), and the sweep meanwhile.

The sweep raises HIGHESTMODSEQ of each folder above all that was counted before the promotion, so that each later change
is told to whoever asks since an older modseq. It doesn't tell those of earlier changes (measured with 2.3.19: messages
in a folder that was opened before keep their own modseqs), hence the rule.

Invariant: nothing is changed here but by a rule, and only where the guard keeps a Dovecot. What isn't raised is told.
"""

from __future__ import annotations

import os
import time
from typing import Any, Callable, Dict, Generator, Iterator, Optional

from . import advertised, guardtalk
from .advertised import Rule, run
from .homes import PLAIN, Home
from .quiesce import DOVECOT
from .serve import Answer, Fault, args, aside
from .settings import Unusable, load

ROUND = 20.0
"""Seconds after which a sweep answers with the user at whom to go on."""


def done(head: Dict[str, Any], home: Home = PLAIN) -> Generator[Optional[float], None, Answer]:
    """The verb `advertised`. `do`: look; set (`epoch`, which the guard's may not have outrun, and `rule`, a Rule's
    fields or null); sweep (`after`, a user's name or "").

    Every answer has `dovecot` (whether the guard keeps one here), `rule` (or null) and `withheld`, as Dovecot's
    configuration says. sweep also `next`, the user at whom to go on, `raised` folders, and `failed` (lines).
    Raises Fault: older-epoch, unguarded, dovecot, systemd, damaged, bad-request.
    """
    (do,) = args(head, do=str)
    work = _DOES.get(do)
    if work is None:
        raise Fault("bad-request", f"no {do!r:.40} of what is advertised", f"There are {', '.join(_DOES)}.")
    answered: Dict[str, Any] = yield from aside("advertised", lambda: work(head, home))
    return Answer(answered)


def _look(_: Dict[str, Any], home: Home) -> Dict[str, Any]:
    known, there = advertised.rule(home.state), _is_there(home)
    withheld = advertised.withheld(home.state) if there else []
    return {"dovecot": there, "rule": known._asdict() if known else None, "withheld": withheld}


def _set(head: Dict[str, Any], home: Home) -> Dict[str, Any]:
    (epoch,) = args(head, epoch=int)
    try:
        wanted = None if head["rule"] is None else Rule(**head["rule"])
    except (KeyError, TypeError) as error:
        raise Fault("bad-request", f"no rule: {error}") from error
    try:
        known = int(guardtalk.ask({"verb": "status"}, home.run)["epoch"])
    except guardtalk.Silent as silent:
        raise Fault("unguarded", str(silent), "Start it: systemctl start mailmirror-guard.") from silent
    if known > epoch:
        raise Fault("older-epoch", f"it is epoch {known} on this host: epoch {epoch} is over", "Nothing was changed.")
    if _is_there(home):
        advertised.put(home.state, wanted)
    return _look({}, home)


def _sweep(head: Dict[str, Any], home: Home) -> Dict[str, Any]:
    """Each folder's HIGHESTMODSEQ raised, user by user, as long as the time lasts."""
    (after,) = args(head, after=str)
    known = advertised.rule(home.state)
    told: Dict[str, Any] = {**_look({}, home), "next": "", "raised": 0, "failed": []}
    if known is None or not told["dovecot"]:
        return told
    ends = time.monotonic() + ROUND
    for user in sorted(run(["doveadm", "user", "*"]).split()):
        if user < after:
            continue
        try:
            for _ in _raised(user, known.floor):
                told["raised"] += 1
                if time.monotonic() > ends:
                    return {**told, "next": user}
        except Fault as error:
            told["failed"].append(f"{user}: {error}")
        if time.monotonic() > ends:
            return {**told, "next": user}
    return told


_DOES: Dict[str, Callable[[Dict[str, Any], Home], Dict[str, Any]]] = {"look": _look, "set": _set, "sweep": _sweep}


def _is_there(home: Home) -> bool:
    """Whether a Dovecot is among what the guard keeps: nobody else's is touched."""
    if not os.path.exists(home.settings):
        return False
    try:
        return DOVECOT in load(home.settings, home.key)[0].units
    except Unusable as error:
        raise Fault("unguarded", str(error)) from error


def _raised(user: str, floor: int) -> Iterator[str]:
    """Each of a user's folders that was below it, and isn't any more. doveadm takes one at a time. Raises Fault."""
    for low in [name for name, modseq in _modseqs(user).items() if modseq < floor]:
        run(["doveadm", "mailbox", "update", "-u", user, "--min-highest-modseq", str(floor), "--", low])
        yield low
    if left := [name for name, modseq in _modseqs(user).items() if modseq < floor]:
        raise Fault("dovecot", f"{', '.join(left[:3])} stay below {floor}")


def _modseqs(user: str) -> Dict[str, int]:
    """HIGHESTMODSEQ of each folder that can be selected."""
    told = run(["doveadm", "-f", "tab", "mailbox", "status", "-u", user, "highestmodseq", "*"]).splitlines()[1:]
    split = (line.rpartition("\t") for line in told)
    return {name: int(modseq) for name, _, modseq in split}
