"""An active place made quiet before a switchover: who is refused, which sessions are left, which processes write.

In this order: new connections are refused, letters on their way get their answer, what still sends is silenced, Dovecot
listens no more and its users' sessions are ended; then the units are stopped (`units`). `lift` is the undo of all that
but the units, and for the guard's hands to call whenever this place serves: the guard alone says how long it is quiet.

Invariant: nothing of it outlives a reboot, and the refusal not its time. What has to be undone in a Dovecot that runs
on is written down before it is done. No letter's client is cut off between its letter's last dot and the 250.
Sources: doveadm-service(1) (its listeners come back with a reload, measured on 2.3.19), proc(5), unix(7).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from typing import Dict, Iterable, List, NamedTuple, Sequence, Tuple

from . import refusal, units
from .nft import Missing, Nft, Refused
from .posture import DONE, NOT_DONE, replace, settle
from .serve import Fault

FILE = "quiet.json"
LETTERS = (24, 25, 465, 587)
"""Ports of whoever hands a letter over and waits for its answer."""
BATCH = 100
DOVECOT = "dovecot.service"
LISTENERS = ("imap-login", "pop3-login", "managesieve-login", "submission-login", "lmtp")
SESSIONS = frozenset(("imap", "imap-hibernate", "imap-urlauth", "managesieve", "pop3", "submission"))
"""Dovecot's processes with a user at the other end; what they are told to end, they end between two commands."""
WRITERS = SESSIONS | {
    "cleanup", "dovecot-lda", "deliver", "doveadm", "dsync", "lmtp", "local", "pickup", "pipe", "qmgr", "smtpd",
    "virtual", *LISTENERS,
}  # fmt: skip
"""What takes letters or changes mailboxes, by its program's name below a directory of Postfix's or Dovecot's."""
_DELIVERS = frozenset(("dovecot-lmtp", "lmtp", "local", "pipe", "virtual"))
_OPEN_STATES = ("01", "03", "08")  # established, its SYN answered, closed by the client and not yet by the server
_WITHIN = 10.0


class Left(NamedTuple):
    """`letters`: connections that hand letters over; `deliveries` under way; `mailboxes`: processes with a user."""

    letters: int
    deliveries: int
    mailboxes: int


# --- who is refused ---------------------------------------------------------------------------------------------------


def refuse(ports: Iterable[int], seconds: float) -> None:
    """New connections to these ports are reset for so long. Again: for so long from now. Raises Fault("nftables")."""
    try:
        _apply(refusal.timed(refusal.REFUSED, ports, seconds))
    except Refused:
        _apply_whole(refusal.laid(ports, seconds))


def silence(ports: Iterable[int], seconds: float) -> None:
    """What clients still send to these ports isn't heard for so long. Raises Fault("nftables")."""
    _apply_whole(refusal.timed(refusal.SILENCED, ports, seconds))


def refused() -> Dict[str, Dict[str, float]]:
    """Set -> port -> whole seconds for which it stands, as the kernel has them. Raises Fault("nftables")."""
    found: Dict[str, Dict[str, float]] = {refusal.REFUSED: {}, refusal.SILENCED: {}}
    try:
        parts = json.loads(_apply(f"list table inet {refusal.TABLE}"))["nftables"]
    except Refused:
        return found
    for each in (part["set"] for part in parts if "set" in part):
        elements = (element["elem"] for element in each.get("elem", ()))
        found[each["name"]] = {str(element["val"]): float(element["expires"]) for element in elements}
    return found


def _apply(text: str) -> str:
    """Raises Refused, Fault."""
    try:
        nft = Nft()
    except Missing as error:
        raise Fault("nftables", str(error), "Stop the services without it.") from error
    try:
        return nft.run(text)
    finally:
        nft.close()


def _apply_whole(text: str) -> None:
    try:
        _apply(text)
    except Refused as error:
        raise Fault("nftables", f"the kernel takes no rule: {error}", "Look at `nft list ruleset`.") from error


# --- Dovecot ----------------------------------------------------------------------------------------------------------


def deafen(state: str) -> List[str]:
    """Have a Dovecot that runs listen no more; returns what of LISTENERS it has. Raises Fault("dovecot")."""
    [unit] = units.look([DOVECOT])
    if unit.active != "active":
        return []
    os.makedirs(state, 0o700, exist_ok=True)
    replace(os.path.join(state, FILE), json.dumps({"reload": DOVECOT}).encode(), 0o600)
    there = {line.partition(":")[2].strip() for line in _doveadm("service", "status").splitlines() if "name:" in line}
    mine = [name for name in LISTENERS if name in there]
    if mine:
        _doveadm("service", "stop", *mine)
    return mine


def lift(state: str) -> None:
    """Nobody is refused any more, and a Dovecot that was deafened listens again. Idempotent. Raises Fault."""
    path = os.path.join(state, FILE)
    if os.path.exists(path):
        [unit] = units.look([DOVECOT])
        if unit.active == "active":
            units.reread(DOVECOT)
        _forget(state)
    try:
        _apply(f"list table inet {refusal.TABLE}")
    except (Refused, Fault):
        return  # there is none
    _apply_whole(refusal.GONE)


def _forget(state: str) -> None:
    """A Dovecot that starts anew, or has read its configuration again, listens by itself."""
    path = os.path.join(state, FILE)
    if os.path.exists(path):
        os.unlink(path)
        settle(state)


def _doveadm(*words: str) -> str:
    try:
        done = subprocess.run(["doveadm", *words], capture_output=True, text=True, timeout=_WITHIN, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise Fault("dovecot", f"doveadm {words[0]}: {error}", "Stop its unit instead.") from error
    if done.returncode:
        raise Fault("dovecot", f"doveadm {' '.join(words[:2])}: {done.stderr.strip()[-300:]}", "Stop its unit instead.")
    return done.stdout


def kick(pause: float) -> int:
    """Ask every user's session to end (`* BYE`), BATCH at a time with so many seconds between; how many there were."""
    found = [pid for pid, name in processes() if name in SESSIONS]
    for first in range(0, len(found), BATCH):
        if first:
            time.sleep(pause)
        for pid in found[first : first + BATCH]:
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                continue
    return len(found)


# --- what is left -----------------------------------------------------------------------------------------------------


def left(ports: Iterable[int]) -> Left:
    """What goes on here now; of `ports` those in LETTERS count."""
    wanted = {f"{port:04X}" for port in ports if port in LETTERS}
    letters = sum(1 for table in ("tcp", "tcp6") for port, state in _connections(table) if port in wanted and state)
    return Left(letters, _deliveries(), sum(1 for _, name in processes() if name in SESSIONS))


def _connections(table: str) -> Iterable[Tuple[str, bool]]:
    """(local port in hex, whether it is open) of each connection."""
    try:
        with open(f"/proc/net/{table}", encoding="ascii") as file:
            rows = [line.split() for line in file][1:]
    except FileNotFoundError:
        return []  # a kernel without IPv6
    return [(row[1].rpartition(":")[2], row[3] in _OPEN_STATES) for row in rows]


def _deliveries() -> int:
    """Connected Unix sockets of what delivers: `qmgr` holds one to each agent that has a letter, and an
    agent one to Dovecot.
    """
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as file:
        rows = [line.split() for line in file][1:]
    return sum(1 for row in rows if len(row) == 8 and row[5] == "03" and os.path.basename(row[7]) in _DELIVERS)


def processes() -> List[Tuple[int, str]]:
    """(process, name) of those WRITERS that run; by the program's path, since anybody may call a process `local`. What
    runs in a container of its own is another service.
    """
    found, here = [], os.readlink("/proc/self/ns/pid")
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        try:
            path = os.readlink(f"/proc/{pid}/exe").partition(" (deleted)")[0]
            name = os.path.basename(path)
            if name not in WRITERS or not (name == "doveadm" or "/dovecot/" in path or "/postfix/" in path):
                continue
            if os.readlink(f"/proc/{pid}/ns/pid") == here:
                found.append((pid, name))
        except (FileNotFoundError, ProcessLookupError):
            continue  # a kernel thread, or it has ended
    return found


def stop(names: Sequence[str], state: str, within: float) -> units.Proof:
    """Stop the units; DONE when systemd says so, their control groups are empty and no writer is left anywhere."""
    if any(unit.name == DOVECOT and unit.active == "active" for unit in units.look(names)):
        units.tell_to_end(DOVECOT)  # its first process alone waits a second for the others: 30 ms instead of 1.1 s
    stopped = units.stop(names, within)
    if stopped.state == DONE:
        _forget(state)
    writers = [f"{name}[{pid}] runs" for pid, name in processes()]
    if stopped.state == DONE and writers:
        return units.Proof(NOT_DONE, writers)
    return stopped._replace(why=[*stopped.why, *writers])
