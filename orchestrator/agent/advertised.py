"""What this host's Dovecot keeps quiet about: CONDSTORE and QRESYNC, where its modseqs can't be told truthfully.

After a failover modseqs begin anew, for the index caches of the lost place are on its disk. A client that asks what
changed since a modseq of that time would be told that nothing did. So neither extension is advertised until all
clients may be taken to have looked anew (`until`, by the wall clock); meanwhile `modseqs` raises each folder above
every modseq of the earlier epoch, for a client that kept one.

A rule is a file in the guard's state directory, and a block at the very end of Dovecot's own configuration, behind all
that could say otherwise. Dovecot 2.4 takes names out of the list; 2.3 has to be given the whole list, which its own
`imap` tells, with what its plugins add.

Invariant: the rule is durable before the block, and gone after it; without a rule the configuration is byte for byte
as it was, but for what somebody else changed outside the block. Sources: RFC 7162, doveconf(1), doveadm-mailbox(1).
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import time
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from .posture import replace, settle
from .serve import Fault

FILE = "advertised.json"
NAMES = ("CONDSTORE", "QRESYNC")
WITHIN = 10.0
"""Seconds for one of Dovecot's commands."""
NOWHERE = "/nonexistent"
_RUNS_NOT = 75
"""What `doveadm reload` ends with where no Dovecot runs."""
_BEGIN = "# mailmirror: CONDSTORE and QRESYNC can't be told truthfully yet (mailmirror history). Goes by itself.\n"
_END = "# mailmirror: the end of that\n"
_BLOCK = re.compile(("\n" + re.escape(_BEGIN) + ".*?" + re.escape(_END)).encode(), re.DOTALL)
_LEAST = (
    "IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE SORT THREAD=REFERENCES MULTIAPPEND UNSELECT CHILDREN NAMESPACE "
    "UIDPLUS LIST-EXTENDED I18NLEVEL=1 ESEARCH ESORT SEARCHRES WITHIN CONTEXT=SEARCH LIST-STATUS BINARY MOVE LITERAL+ "
    "SPECIAL-USE"
)
"""What each Dovecot 2.2 and 2.3 can: a list that is too short is true, and no promotion waits for a better one."""


class Rule(NamedTuple):
    """Of the promotion to `epoch`. `until`: seconds since 1970."""

    epoch: int
    until: float

    def counts(self, now: float) -> bool:
        return now < self.until

    @property
    def floor(self) -> int:
        """Above all modseqs of earlier epochs, for one more is counted with each change of a folder."""
        return self.epoch << 32


def rule(state: str) -> Optional[Rule]:
    """The one that stands. Raises Fault("damaged")."""
    record = _record(state)
    return Rule(**record["rule"]) if record else None


def put(state: str, wanted: Optional[Rule]) -> None:
    """Have this rule stand, or none, and Dovecot's configuration say so. Idempotent. Raises Fault."""
    if wanted is None or not wanted.counts(time.time()):
        lift(state)
        return
    with _alone(state):
        record = {**(_record(state) or _found()), "rule": wanted._asdict()}
        _save(state, record)
        _say(record["path"], _block(record))


def keep_to(state: str) -> None:
    """Have Dovecot advertise what the rule says at this time; nothing is done without a rule. For the guard's hands,
    again and again while this place serves. Raises Fault.
    """
    if _record(state) is None:
        return
    with _alone(state):
        record = _record(state)
        if record is not None and Rule(**record["rule"]).counts(time.time()):
            _say(record["path"], _block(record))
        elif record is not None:
            _lift(state, record)


def withheld(state: str) -> List[str]:
    """Which of the two a session isn't told of for the rule's sake, as doveconf reads the configuration now."""
    record = _record(state)
    if record is None:
        return []
    with open(record["path"], "rb") as file:
        if not _BLOCK.search(file.read()):
            return []
    told = run(["doveconf", "-f", "protocol=imap", "imap_capability"])
    if "{" in told:
        return [name for name in NAMES if re.search(rf"^\s*{name} = no$", told, re.MULTILINE)]
    return [name for name in NAMES if name not in told.split()]


def lift(state: str) -> None:
    """All is advertised again, and the configuration as it was. Idempotent. Raises Fault."""
    if _record(state) is None:
        return
    with _alone(state):
        record = _record(state)
        if record is not None:
            _lift(state, record)


def _lift(state: str, record: Dict[str, Any]) -> None:
    if os.path.exists(record["path"]):
        _say(record["path"], b"")
    os.unlink(os.path.join(state, FILE))
    settle(state)


# --- Dovecot ----------------------------------------------------------------------------------------------------------


def _found() -> Dict[str, Any]:
    """Where Dovecot's configuration stands, its version, and what it advertises without a rule."""
    first = run(["doveconf", "-n"]).partition("\n")[0]
    heard = re.match(r"# (\d+)\.(\d+)\S* \(.*\): (/.+)", first)
    if heard is None:
        raise Fault("dovecot", f"doveconf begins with {first!r:.80}, and not with its version and file")
    lists = (int(heard[1]), int(heard[2])) >= (2, 4)
    return {"path": os.path.realpath(heard[3]), "lists": lists, "known": "" if lists else _advertises()}


def _advertises() -> str:
    """What a session of Dovecot 2.3 is told, by a session of nobody's in an empty place."""
    try:
        libexec = run(["doveconf", "-h", "libexec_dir"]).strip()
        values = {
            "mail_uid": "65534", "mail_gid": "65534", "first_valid_uid": "1", "first_valid_gid": "1",
            "mail_location": f"maildir:{NOWHERE}", "log_path": "/dev/stderr", "stats_writer_socket_path": "",
        }  # fmt: skip
        words = [word for name, value in values.items() for word in ("-o", f"{name}={value}")]
        told = run([f"{libexec}/imap", *words], said="a CAPABILITY\r\nb LOGOUT\r\n")
    except Fault:
        return _LEAST
    heard = re.search(r"\[CAPABILITY ([^\]]+)\]", told)
    return heard[1] if heard else _LEAST


def _block(record: Dict[str, Any]) -> bytes:
    """What stands at the end of the configuration."""
    if record["lists"]:
        lines = ["  imap_capability {", *(f"    {name} = no" for name in NAMES), "  }"]
    else:
        lines = [f"  imap_capability = {' '.join(name for name in record['known'].split() if name not in NAMES)}"]
    return ("\n" + _BEGIN + "\n".join(["protocol imap {", *lines, "}"]) + "\n" + _END).encode()


def _say(path: str, block: bytes) -> None:
    """Have the file end with this block, with no other of ours, and a Dovecot that runs read it; its sessions go on."""
    with open(path, "rb") as file:
        whole = file.read()
    fresh = _BLOCK.sub(b"", whole) + block
    if fresh != whole:
        replace(path, fresh)
        run(["doveadm", "reload"], fine=(0, _RUNS_NOT))


def run(argv: List[str], said: str = "", fine: Tuple[int, ...] = (0,)) -> str:
    """What one of Dovecot's commands writes. Raises Fault("dovecot") where its status isn't `fine`."""
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "USER": "nobody", "HOME": NOWHERE}
    try:
        ended = subprocess.run(
            argv, env=environment, input=said, capture_output=True, text=True, timeout=WITHIN, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Fault("dovecot", f"{argv[0]}: {error}", "Look at Dovecot's log.") from error
    if ended.returncode not in fine:
        raise Fault("dovecot", f"{' '.join(argv[:3])}: {ended.stderr.strip()[-300:]}", "Mend it, then try again.")
    return ended.stdout


# --- the record -------------------------------------------------------------------------------------------------------


def _record(state: str) -> Optional[Dict[str, Any]]:
    path = os.path.join(state, FILE)
    try:
        with open(path, encoding="utf-8") as file:
            return dict(json.load(file))
    except FileNotFoundError:
        return None
    except ValueError as error:
        remedy = "Take mailmirror's block out of dovecot.conf by hand, then remove it."
        raise Fault("damaged", f"{path} can't be read: {error}", remedy) from error


def _save(state: str, record: Dict[str, Any]) -> None:
    replace(os.path.join(state, FILE), json.dumps(record, indent=1).encode(), 0o600)


@contextmanager
def _alone(state: str) -> Iterator[None]:
    """The guard's hands and an agent may both come here."""
    os.makedirs(state, 0o700, exist_ok=True)
    fd = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
