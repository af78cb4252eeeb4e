"""The posture of a passive Postfix: put into it, proven, and taken out of it again, by `postconf -e` of a closed list.

`hold` records each old value durably, edits main.cf, and has Postfix read it; `held` proves it from what main.cf says
now and from the processes that run; `release` puts every value back. What main.cf must say is `holding`'s. Every
instance of a multi-instance Postfix is held (postmulti(1)), and a Postfix that doesn't run only gets the values.

A reload is graceful: sessions go on and what they take is queued; a delivery that had begun ends as it began, under the
old values (measured, Postfix 3.7), so `held` isn't DONE before those processes have ended.

Invariant: at every instant either no value was changed, or the file `posture.json` in the guard's state directory says
what each was; so any step may be cut off and be repeated. A value that somebody else changed meanwhile is never lost:
`hold` takes it for the one to be put back, `release` leaves it, and both tell. Nothing starts, stops or empties a
Postfix here, and master.cf is only read.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from . import holding
from .marker import boot_id
from .serve import Fault

STATE = "/var/lib/mailmirror-guard"
FILE = "posture.json"
WITHIN = 30.0
"""Seconds that one of Postfix's commands may take."""
DONE, NOT_DONE, UNKNOWN = "DONE", "NOT_DONE", "UNKNOWN"
_DELIVERS = frozenset(("lmtp", "local", "oqmgr", "pipe", "qmgr", "smtp", "trivial-rewrite", "virtual"))
"""Postfix's processes that may still act on old values: those that send a letter on its way, or say which way."""
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


class Proof(NamedTuple):
    """`state` is DONE (it only queues), NOT_DONE or UNKNOWN; `to` where it relays, None for nowhere; `why` what speaks
    against it; `told` what somebody else changed; `read` the values found, by configuration directory.
    """

    state: str
    to: Optional[str]
    why: List[str]
    told: List[str]
    read: Dict[str, Dict[str, str]]


def held(state: str = STATE) -> Proof:
    """Whether this host's Postfix only queues, now. Never raises: what can't be read is UNKNOWN."""
    try:
        return _held(state, _load(state))
    except (Fault, OSError, ValueError) as error:
        return Proof(UNKNOWN, None, [str(error)], [], {})


def hold(active: Optional[str], state: str = STATE) -> Proof:
    """Have it only queue, and relay to `active`, an address or a name that isn't the users', or with None nowhere.

    Idempotent. The proof may be NOT_DONE for as long as deliveries that had begun go on: ask `held` again.

    Raises Fault: no-postfix, postfix (a command of it failed), overridden (master.cf says otherwise), no-service,
    bad-request.
    """
    try:
        holding.route(active)
    except ValueError as error:
        raise Fault("bad-request", str(error), "Name the active's fixed address.") from error
    record = _load(state) or {"instances": {}, "boot": boot_id(), "reloaded": None}
    told: List[str] = []
    for directory in instances():
        _refuse_to_hold(directory)
        told += _note(record["instances"], directory, active)
    if not told and (proof := _held(state, record)).state == DONE and proof.to == active:
        return proof
    record["soft"] = False
    _save(state, {**record, "boot": boot_id(), "reloaded": None})
    for directory, kept in record["instances"].items():
        if _explicit(directory) != kept["now"]:
            postconf(directory, "-e", *(f"{name}={value}" for name, value in kept["now"].items()))
        kept["left"] = _digest(_main_cf(directory))
    since = time.clock_gettime(time.CLOCK_BOOTTIME)
    _reload(record["instances"])
    record = {**record, "boot": boot_id(), "reloaded": since}
    _save(state, record)
    return _held(state, record)._replace(told=told)


def release(state: str = STATE) -> List[str]:
    """Put every value back as it was, "not set" included, and have Postfix read them; what was left as somebody else
    changed it is told. What waited to be relayed is tried at once. Idempotent; nothing is done where nothing is held.
    Raises Fault as `hold`.
    """
    return _release(state, soft=False)


def soften(state: str = STATE) -> List[str]:
    """As `release`, of all but soft_bounce, which stays `yes` until that: what a fresh active lacks (a user, a
    map) puts letters off and bounces none.
    """
    return _release(state, soft=True)


def _release(state: str, soft: bool) -> List[str]:
    record = _load(state)
    if record is None or (soft and record.get("soft")):
        return []
    told: List[str] = []
    there = {where: kept for where, kept in record["instances"].items() if os.path.exists(_main_cf(where))}
    for directory, kept in there.items():
        told += _put_back(directory, kept, holding.NAMES[:-1] if soft else holding.NAMES)
    since = time.clock_gettime(time.CLOCK_BOOTTIME)
    _reload(there)
    for directory in there:
        _give_up_relaying(directory, since)
    if soft:
        for directory, kept in there.items():
            kept["ours"] = {holding.SOFT: kept["ours"].get(holding.SOFT, [])}
            kept["left"] = _digest(_main_cf(directory))
        _save(state, {**record, "soft": True})
        return told
    os.unlink(os.path.join(state, FILE))
    settle(state)
    return told


def is_held(state: str = STATE) -> bool:
    """Whether values of Postfix are changed so that it only queues: soft_bounce alone doesn't count."""
    record = _load(state)
    return record is not None and not record.get("soft")


# --- one instance -----------------------------------------------------------------------------------------------------


def _note(instances: Dict[str, Any], directory: str, active: Optional[str]) -> List[str]:
    """Have the record say what each value was, and what it shall be; returns what somebody else changed."""
    found = _explicit(directory)
    kept = instances.get(directory)
    if kept is None:
        with open(_main_cf(directory), "rb") as file:
            whole = file.read().decode("latin-1")
        kept = instances[directory] = {
            "old": {name: found.get(name) for name in holding.NAMES},
            "ours": {},
            "whole": whole,
        }
    told = []
    for name in holding.NAMES:
        if found.get(name) != kept["old"].get(name) and found.get(name) not in kept["ours"].get(name, ()):
            told.append(f"{directory}/main.cf: {name} = {_said(found.get(name))} is put back later")
            kept["old"][name], kept["whole"] = found.get(name), None
    before = {name: value for name, value in kept["old"].items() if value is not None}
    known = _values(directory)
    others = {name: known[name] for name in holding.READ if name in known}
    kept["now"] = {n: v for n, v in holding.wanted({**before, **others}, active).items() if n in known}
    for name, value in kept["now"].items():
        if value not in kept["ours"].setdefault(name, []):
            kept["ours"][name].append(value)
    kept["left"] = None
    return told


def _put_back(directory: str, kept: Dict[str, Any], names: Sequence[str]) -> List[str]:
    path = _main_cf(directory)
    if names == holding.NAMES and kept["whole"] is not None and kept["left"] == _digest(path):
        replace(path, kept["whole"].encode("latin-1"))
        return []
    told, found = [], _explicit(directory)
    ours = [n for n in names if found.get(n) != kept["old"][n] and found.get(n) in kept["ours"].get(n, ())]
    for name in names:
        value = kept["old"][name]
        if found.get(name) != value and name not in ours:
            told.append(f"{path}: {name} = {_said(found.get(name))} is left as it is; it was {_said(value)}")
    again = {name: kept["old"][name] for name in ours if kept["old"][name] is not None}
    if again:
        postconf(directory, "-e", *(f"{name}={value}" for name, value in again.items()))
    if unset := [name for name in ours if kept["old"][name] is None]:
        postconf(directory, "-X", *unset)
    now = _explicit(directory)
    if wrong := [name for name in ours if now.get(name) != kept["old"][name]]:
        raise Fault("postfix", f"{path} doesn't take back {', '.join(wrong)}", "Look at it, and put them back by hand.")
    return told


def _said(value: Optional[str]) -> str:
    return "(not set)" if value is None else value or "(empty)"


def _refuse_to_hold(directory: str) -> None:
    if clash := holding.clashes(_overrides(directory)):
        raise Fault(
            "overridden",
            f"{directory}: a service has its own value, which main.cf can't change: {'; '.join(clash)}",
            "Move these options from master.cf to main.cf.",
        )
    lines = postconf(directory, "-M", *holding.NEEDED).splitlines()
    there = {"/".join(line.split()[:2]) for line in lines if line.strip()}
    if missing := [name for name in holding.NEEDED if name not in there]:
        raise Fault("no-service", f"{directory}/master.cf has no {', '.join(missing)}", "Add it as Postfix ships it.")


# --- what is so -------------------------------------------------------------------------------------------------------


def _held(state: str, record: Optional[Dict[str, Any]]) -> Proof:
    read = {directory: _values(directory) for directory in instances()}
    judged = {directory: holding.judge(values, _overrides(directory)) for directory, values in read.items()}
    why = [f"{directory}: {reason}" for directory, each in judged.items() for reason in each.against]
    ways = {each.to for each in judged.values()}
    if not why and len(ways) > 1:
        why = [f"the instances relay to {', '.join(str(way) for way in ways)}"]
    for directory in read if not why else ():
        why += _lingering(directory, record, read[directory])
    return Proof(NOT_DONE if why else DONE, ways.pop() if len(ways) == 1 and not why else None, why, [], read)


def _lingering(directory: str, record: Optional[Dict[str, Any]], values: Dict[str, str]) -> List[str]:
    """Which processes of a Postfix that runs may still go by what main.cf said before."""
    first = first_process(directory)
    if first is None:
        return []
    if record is None:
        return [f"{directory}: nobody knows since when main.cf says so; Postfix runs"]
    if record["boot"] != boot_id():
        return []
    if record["reloaded"] is None:
        return [f"{directory}: Postfix runs, and hasn't read main.cf again"]
    tick = os.sysconf("SC_CLK_TCK")
    older = [
        each
        for each in _processes()
        if each[2] == first and each[1] in _DELIVERS and each[3] / tick < record["reloaded"]
    ]
    return [f"{directory}: {name}[{pid}] still goes by the old values" for pid, name, _, _ in older]


def first_process(directory: str) -> Optional[int]:
    """Postfix's first process, the parent of all others; None when it doesn't run."""
    if _done(["postfix", "-c", directory, "status"]).returncode:
        return None
    queue = postconf(directory, "-h", "-x", "queue_directory").strip()
    try:
        with open(os.path.join(queue, "pid", "master.pid"), encoding="ascii") as file:
            return int(file.read())
    except FileNotFoundError:
        return None  # it has ended just now


def _processes() -> List["tuple[int, str, int, int]"]:
    """(process, name, parent, clock ticks from boot to its start) of all (proc(5), stat)."""
    found = []
    for pid in (name for name in os.listdir("/proc") if name.isdigit()):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                head, _, tail = file.read().rpartition(") ")
        except (FileNotFoundError, ProcessLookupError):
            continue
        fields = tail.split()
        found.append((int(pid), head.partition("(")[2], int(fields[1]), int(fields[19])))
    return found


# --- Postfix's commands -----------------------------------------------------------------------------------------------


def _give_up_relaying(directory: str, since: float) -> None:
    """End what still tries to hand letters to whoever was active before, and have all that waits tried at once. A
    client that waits for an answer would hold its letter for minutes, and nothing else is tried before the next scan.
    """
    first = first_process(directory)
    if first is None:
        return
    tick = os.sysconf("SC_CLK_TCK")
    for pid, name, parent, began in _processes():
        if parent == first and name == "smtp" and began / tick < since:
            with suppress(ProcessLookupError):  # it has ended by itself
                os.kill(pid, signal.SIGTERM)
    run(["postqueue", "-c", directory, "-f"])


def _done(argv: Sequence[str], said: str = "") -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            argv, env=_ENVIRONMENT, input=said, capture_output=True, text=True, timeout=WITHIN, check=False
        )
    except FileNotFoundError as error:
        raise Fault("no-postfix", f"this host has no {argv[0]}", "Install Postfix, or correct mm_services.") from error
    except subprocess.TimeoutExpired as error:
        raise Fault("postfix", f"{argv[0]} didn't end within {WITHIN:g} s", "Look at Postfix's log.") from error


def run(argv: Sequence[str], said: str = "") -> str:
    """What one of Postfix's commands writes; `said` is its standard input. Raises Fault: no-postfix, postfix."""
    done = _done(argv, said)
    if done.returncode:
        raise Fault("postfix", f"{' '.join(argv[:4])}: {done.stderr.strip()[-500:]}", "Mend it, then try again.")
    return done.stdout


def postconf(directory: str, *words: str) -> str:
    """What postconf(1) writes of an instance. Raises as `run`."""
    return run(["postconf", "-c", directory, *words])


def instances() -> List[str]:
    """Configuration directories, the first instance's first; those that are switched off are left out."""
    first = run(["postconf", "-h", "config_directory"]).strip()
    rows = [line.split() for line in run(["postmulti", "-l"]).splitlines()]
    return [first, *(row[3] for row in rows if len(row) == 4 and row[2] == "y" and row[3] != first)]


def _values(directory: str) -> Dict[str, str]:
    """The values in effect, of those parameters that this Postfix knows."""
    return parsed(postconf(directory, "-x", *holding.NAMES, *holding.READ))


def _explicit(directory: str) -> Dict[str, str]:
    """What main.cf itself says of them."""
    return parsed(postconf(directory, "-n", *holding.NAMES))


def _overrides(directory: str) -> Dict[str, str]:
    return parsed(postconf(directory, "-P"))


def parsed(text: str) -> Dict[str, str]:
    """The values by name of what postconf(1) wrote."""
    rows = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, _, value in rows}


def _reload(directories: Dict[str, Any]) -> None:
    for directory in directories:
        if first_process(directory) is not None:
            run(["postfix", "-c", directory, "reload"])


# --- files ------------------------------------------------------------------------------------------------------------


def _main_cf(directory: str) -> str:
    return os.path.join(directory, "main.cf")


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def _load(state: str) -> Optional[Dict[str, Any]]:
    """The record; None when nothing is held. Raises Fault("damaged")."""
    path = os.path.join(state, FILE)
    try:
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise Fault("damaged", f"{path} can't be read: {error}", "Put main.cf back by hand, then remove it.") from error
    return dict(record)


def _save(state: str, record: Dict[str, Any]) -> None:
    os.makedirs(state, 0o700, exist_ok=True)
    replace(os.path.join(state, FILE), json.dumps(record, indent=1).encode(), 0o600)


def replace(path: str, content: bytes, mode: Optional[int] = None) -> None:
    """The file's new content, durable before it has the name; without `mode` its mode and its owner stay."""
    new = path + ".mailmirror-new"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        if mode is None:
            before = os.stat(path)
            os.fchown(file.fileno(), before.st_uid, before.st_gid)
            mode = before.st_mode & 0o7777
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    os.rename(new, path)
    settle(os.path.dirname(path))


def settle(directory: str) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
