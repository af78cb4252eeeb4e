"""The verb `services`: a controller has the active place made quiet, looks at it, and undoes it; or has services that
fail where they should answer restarted.

The guard comes first: its order `quiesce` (`orders`) says for how long nothing is started, and every change here is
refused unless it stands, by the same operation and in the same epoch. So a controller that vanishes leaves nothing that
the guard's hands don't undo when that time is over. Each answer says how much of it is left.

A guard that gates no port and no unit has nobody to stop: whatever serves there has to ask it before each answer, and
is silent by the guard's word alone. That is told as it is: no units, nothing refused, and done.

Invariant: `look` changes nothing, and what is asked again is done once. Other requests are served meanwhile.
"""

from __future__ import annotations

import os
import time
from typing import Any, Callable, Dict, Generator, List, Optional, Tuple

from . import guardtalk, quiesce, refusal, units
from .homes import PLAIN, Home
from .posture import DONE, NOT_DONE
from .serve import TICK, Answer, Fault, args, aside
from .settings import SMTP, Settings, Unusable, load

DRAIN = 2.0
"""Seconds that letters on their way have by default (DESIGN section 8)."""
GRACE = 0.5
"""Seconds after clients are silenced in which a 250 that is due leaves."""
AGAIN = 0.2  # seconds until a session that is still there is asked once more
PAUSE = 0.02  # seconds between two batches of sessions that are ended
STOPS = 20.0
ENDS = 3.0
"""Seconds for services that fail to end by themselves before a restart, and as many once they are killed: one that
hangs may not know how to end, and whoever waits for it has a larger remedy.
"""
MOST = 64

Work = Callable[[Dict[str, Any], Home], Dict[str, Any]]


def done(head: Dict[str, Any], home: Home = PLAIN) -> Generator[Optional[float], None, Answer]:
    """`home`: where this host's guard lies.

    The head: `do`; but for look also `operation` (the guard's quiesce) and `epoch`; reject: `seconds`, and `ports`,
    by default those that the guard gates and 25; drain: `seconds`, by default DRAIN.

    Every answer has `quiet` ({operation, left} or null), `rejects` (port -> seconds), `silenced` (the same), `left`
    ([letters, deliveries, mailboxes], see quiesce.Left). drain also `cut`, whether clients that still sent were
    silenced; stop `state` and `why` (units.Proof: DONE when nothing that writes is left); open the same of what was
    started, or `state` NOT_DONE while the guard keeps it quiet; look `units` ([name, state, processes]) and `writers`.
    restart: `operation`, `epoch`, and `units`, some of those that the guard keeps; `state` and `why` as of open.
    Raises Fault: refused (nothing was changed), unguarded, busy, nftables, dovecot, systemd, bad-request.
    """
    (do,) = args(head, do=str)
    work = _DOES.get(do)
    if work is None:
        raise Fault("bad-request", f"no {do!r:.40} of services", f"There are {', '.join(_DOES)}.")
    answered: Dict[str, Any] = yield from aside("services", lambda: _answered(work, head, home))
    return Answer(answered)


# --- what may be done -------------------------------------------------------------------------------------------------


def _told(home: Home) -> Dict[str, Any]:
    try:
        return guardtalk.ask({"verb": "status"}, home.run)
    except guardtalk.Silent as silent:
        raise Fault("unguarded", str(silent), "Start it: systemctl start mailmirror-guard.") from silent


def _settings(home: Home) -> Settings:
    try:
        return load(home.settings, home.key)[0]
    except Unusable as error:
        raise Fault("unguarded", str(error)) from error


def _in_epoch(head: Dict[str, Any], home: Home) -> Tuple[str, Dict[str, Any]]:
    """The operation, and what the guard tells of itself. Raises Fault."""
    operation, epoch = args(head, operation=str, epoch=int)
    told = _told(home)
    if told["epoch"] != epoch:
        why = f"it is epoch {told['epoch']} on this host, and not {epoch}"
        raise Fault("refused", why, "Nothing was changed. Look at the state again.")
    return operation, told


def _quieted(head: Dict[str, Any], home: Home) -> float:
    """Seconds for which the guard keeps this place quiet by this operation, and starts nothing. Raises Fault."""
    operation, told = _in_epoch(head, home)
    deadline = time.monotonic() + STOPS
    while True:
        quiet = told.get("quiet")
        if quiet is None or quiet["operation"] != operation:
            why = f"its guard doesn't keep it quiet by {operation}"
            raise Fault("refused", why, "Nothing was changed. Order the guard to quiesce first.")
        if told["hands"]["done"]:
            return float(quiet["left"])
        if time.monotonic() > deadline:
            raise Fault("busy", "the guard still starts or stops something", "Try again.")
        time.sleep(TICK)  # a step that had begun before the order ends first
        told = _told(home)


def _facts(home: Home, **more: Any) -> Dict[str, Any]:
    """What every answer has."""
    try:
        sets = quiesce.refused()
    except Fault:
        sets = {refusal.REFUSED: {}, refusal.SILENCED: {}}
    rejects, silenced = sets[refusal.REFUSED], sets[refusal.SILENCED]
    left = list(quiesce.left(_ports(_settings(home))))
    return {"quiet": _told(home).get("quiet"), "rejects": rejects, "silenced": silenced, "left": left, **more}


def _ports(settings: Settings) -> List[int]:
    return sorted({*settings.served, SMTP})


def _seconds(head: Dict[str, Any], default: Optional[float] = None) -> float:
    told = head.get("seconds", default)
    if isinstance(told, bool) or not isinstance(told, (int, float)) or not 0 <= told <= 600:
        raise Fault("bad-request", f"'seconds' are 0 to 600, not {told!r:.40}")
    return float(told)


# --- what is done -----------------------------------------------------------------------------------------------------


def _look(_: Dict[str, Any], home: Home) -> Dict[str, Any]:
    found = [[unit.name, unit.active, unit.processes] for unit in units.look(_settings(home).units)]
    return _facts(home, units=found, writers=[f"{name}[{pid}]" for pid, name in quiesce.processes()])


def _reject(head: Dict[str, Any], home: Home) -> Dict[str, Any]:
    ports, seconds = head.get("ports") or _ports(_settings(home)), _seconds(head)
    numbers = isinstance(ports, list) and all(type(port) is int and 0 < port < 65536 for port in ports)
    if not numbers or len(ports) > MOST:
        raise Fault("bad-request", f"'ports' are up to {MOST} TCP ports, not {ports!r:.80}")
    quiesce.refuse(ports, min(seconds, _quieted(head, home)))
    return _facts(home)


def _drain(head: Dict[str, Any], home: Home) -> Dict[str, Any]:
    """Letters on their way get their answer, or are silenced; deliveries end; mailboxes are closed."""
    cap = _seconds(head, DRAIN)
    settings = _settings(home)
    quiet, ports = _quieted(head, home), _ports(settings)
    began = kicked = time.monotonic()
    ours = quiesce.DOVECOT in settings.units
    if ours:
        quiesce.deafen(home.state)
        quiesce.kick(PAUSE)
    while any(left := quiesce.left(ports)) and time.monotonic() - began < cap:
        if ours and left.mailboxes and time.monotonic() - kicked > AGAIN:
            quiesce.kick(PAUSE)  # whoever had logged in just before
            kicked = time.monotonic()
        time.sleep(TICK)
    cut = bool(left.letters)
    if cut:
        quiesce.silence([port for port in ports if port in quiesce.LETTERS], quiet)
        time.sleep(GRACE)
    return _facts(home, cut=cut)


def _stop(head: Dict[str, Any], home: Home) -> Dict[str, Any]:
    _quieted(head, home)
    proof = quiesce.stop(_settings(home).units, home.state, STOPS)
    if proof.state == DONE and quiesce.refused()[refusal.SILENCED]:
        quiesce.silence([], 0)  # with nobody there, the kernel tells those who still send
    return _facts(home, state=proof.state, why=proof.why)


def _open(head: Dict[str, Any], home: Home) -> Dict[str, Any]:
    operation, told = _in_epoch(head, home)
    quiet = told.get("quiet")
    if quiet is not None and quiet["operation"] != operation:
        raise Fault("refused", f"{quiet['operation']} keeps it quiet, and not {operation}", "Nothing was changed.")
    quiesce.lift(home.state)
    if quiet is not None or not told["serves"]:
        why = f"{quiet['operation']} keeps it quiet" if quiet else str(told["why"])
        return _facts(home, state=NOT_DONE, why=[why])
    proof = units.start(_settings(home).units)
    return _facts(home, state=proof.state, why=proof.why)


def _restart(head: Dict[str, Any], home: Home) -> Dict[str, Any]:
    """Stopped whole, by force where they don't end, then started; proven by what systemd says of each. They are started
    in any case: what still runs may serve, and what has ended must. Only where the guard lets it serve.
    """
    _, told = _in_epoch(head, home)
    names, known = head.get("units"), _settings(home).units
    if not isinstance(names, list) or not names or not set(names) <= set(known):
        raise Fault("bad-request", f"'units' are some of {', '.join(known)}, not {names!r:.80}")
    if told.get("quiet") is not None or not told["serves"]:
        raise Fault("refused", "its guard doesn't let it serve now", f"Nothing was changed. {told['why']}")
    ended = units.stop(names, ENDS)
    if ended.state != DONE:
        units.kill(names)
        ended = units.stop(names, ENDS)
    started = units.start(names, STOPS)
    worse = started if ended.state == DONE else ended
    return _facts(home, state=worse.state, why=[*ended.why, *started.why])


def _answered(work: Work, head: Dict[str, Any], home: Home) -> Dict[str, Any]:
    settings = _settings(home) if os.path.exists(home.settings) else None
    gates = settings is None or settings.units or settings.served
    return work(head, home) if gates else _alone(head, home)


def _alone(head: Dict[str, Any], home: Home) -> Dict[str, Any]:
    """What there is to say, and nothing to do, where the guard gates neither port nor unit."""
    state, why = DONE, list[str]()
    if head["do"] == "restart":
        raise Fault("refused", "its guard knows of no unit to restart", "Nothing was changed.")
    if head["do"] in ("reject", "drain", "stop"):
        _quieted(head, home)
    elif head["do"] == "open" and (quiet := _in_epoch(head, home)[1].get("quiet")) is not None:
        state, why = NOT_DONE, [f"{quiet['operation']} keeps it quiet"]
    nobody: Dict[str, Any] = {"rejects": {}, "silenced": {}, "left": [0, 0, 0], "units": [], "writers": []}
    return {"quiet": _told(home).get("quiet"), **nobody, "cut": False, "state": state, "why": why}


_DOES: Dict[str, Work] = {
    "look": _look,
    "reject": _reject,
    "drain": _drain,
    "stop": _stop,
    "open": _open,
    "restart": _restart,
}
