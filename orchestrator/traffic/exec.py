"""Sending users elsewhere by the site's own commands: DNS at a provider, an address that a provider moves.

Two commands, without a shell, each a process group that is killed at its deadline. `point` sends users to a place, and
its exit code proves nothing; `show` says where they are sent, as a JSON object:

    {"place": "mirror", "epoch": 7}

`epoch` is what the last `point` got as MAILMIRROR_EPOCH, kept by the provider (a TXT record, a label, a description),
or null where none was ever set. Both find MAILMIRROR_PLACE, _HOST, _ADDRESSES (by spaces), _EPOCH, _EXPECTED_EPOCH
(empty where there was none) and _OPERATION in their environment, empty for `show`, and the secrets that the inventory
names.

A provider knows no compare-and-swap that all of them share: between `show` and `point` another controller may come. A
`point` that can, should demand MAILMIRROR_EXPECTED_EPOCH itself.

Invariant: nothing is pointed without a proof, nor to an earlier epoch; where `show` can't tell, the answer is UNKNOWN.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.errors import HostError, Refused
from orchestrator.traffic.proof import Proof
from orchestrator.traffic.switch import OLD, SHOWS, UNKNOWN, Arrival, Target, demand

LARGEST = 1 << 16  # bytes that `show` may print
PAUSE = 0.2
TOLD = 300  # characters of a command's own words
PLACES = ("primary", "mirror")
REMEDY = "Run it by hand with the same environment; inventory.yaml says what it gets and has to print."


@dataclass(frozen=True)
class Sight:
    """Where users are sent, as `show` says; `trouble` says why that isn't known, then all else counts for nothing."""

    place: str = ""
    epoch: int | None = None
    trouble: str = ""


@dataclass(frozen=True)
class Plan:
    """To point at the target, seen from there."""

    seen: Sight
    target: Target
    was_at: str | None

    @property
    def is_done(self) -> bool:
        return (self.seen.place, self.seen.epoch) == (self.target.place, self.target.epoch)

    @property
    def is_move(self) -> bool:
        return not self.is_done


class Commands:
    """`show` and `point` are argument lists, `hosts` the mail hosts' names by place, `secrets` variables by name.
    `seconds` is the total deadline of one run.
    """

    def __init__(
        self,
        show: Sequence[str],
        point: Sequence[str],
        hosts: Mapping[str, str],
        *,
        secrets: Mapping[str, str] | None = None,
        seconds: float = 30.0,
    ) -> None:
        self._show = tuple(show)
        self._point = tuple(point)
        self._hosts = dict(hosts)
        self._secrets = dict(secrets or {})
        self._seconds = seconds

    @property
    def name(self) -> str:
        return self._show[0]

    def seen(self) -> Sight:
        """Where users are sent now. Never raises for what a command does."""
        ran = self._run(self._show, environment(None, None), self._seconds)
        if ran.trouble:
            return Sight(trouble=f"`{self._show[0]}` {ran.trouble}")
        return read(ran.out)

    def plan(self, target: Target) -> Plan:
        """Raises Refused where `show` can't tell, or tells of a later epoch."""
        seen = self.seen()
        if seen.trouble:
            raise Refused(f"It isn't known where users are sent: {seen.trouble}.", remedy=REMEDY)
        plan = Plan(seen, target, self._hosts.get(seen.place))
        if not plan.is_done and seen.epoch is not None and seen.epoch >= target.epoch:
            raise Refused(
                f"Users are sent to the {seen.place} since epoch {seen.epoch}, this change is of {target.epoch}.",
                remedy="Another controller has moved the users since. Nothing was changed; see `mailmirror status`.",
            )
        return plan

    def apply(self, plan: Plan, proof: Proof | None = None) -> None:
        """Point. Raises Refused, without a proof or where `show` tells something else by now, and HostError where the
        command failed and users are seen to be sent where they were. What isn't known is left to `prove`: also what
        became of an order whose command was killed, since a provider may carry it out later.
        """
        target = plan.target
        demand(proof, plan.was_at, target.host, target.epoch, time.time())
        now = self.seen()
        if now != plan.seen:
            where = now.trouble or f"they are sent to the {now.place} since epoch {now.epoch}"
            raise Refused(f"Users aren't where this change was planned: {where}.", remedy="Nothing was changed.")
        ran = self._run(self._point, environment(target, plan.seen.epoch), self._seconds)
        if ran.trouble and not ran.is_late and self.seen() == plan.seen:
            raise HostError(f"`{self._point[0]}` {ran.trouble}; users are sent where they were.", remedy=REMEDY)

    def prove(self, plan: Plan, within: float) -> list[Arrival]:
        """What `show` says of it, asked again until it shows the new place or so many seconds have passed."""
        began = time.monotonic()
        while True:
            seen = self.seen()
            took = time.monotonic() - began
            said = seen.trouble or f"{seen.place}, epoch {seen.epoch}"
            if (seen.place, seen.epoch, seen.trouble) == (plan.target.place, plan.target.epoch, ""):
                return [Arrival(self.name, SHOWS, took, said)]
            if took >= within:
                return [Arrival(self.name, UNKNOWN if seen.trouble else OLD, None, said)]
            time.sleep(min(PAUSE, within - took))

    def _run(self, command: Sequence[str], environ: Mapping[str, str], seconds: float) -> Ran:
        ran = run(command, {**os.environ, **self._secrets, **environ}, seconds)
        for secret in filter(None, self._secrets.values()):
            ran = replace(ran, trouble=ran.trouble.replace(secret, "(a secret)"))
        return ran


@dataclass(frozen=True)
class Ran:
    """What a command printed, and what was wrong: "" where it ended with 0 in time."""

    out: bytes
    trouble: str
    is_late: bool = False  # it was killed at its deadline


def environment(target: Target | None, expected: int | None) -> dict[str, str]:
    """What a command is told; empty values where nothing is to be pointed."""
    told = Target(0, "", "") if target is None else target
    return {
        "MAILMIRROR_PLACE": told.place,
        "MAILMIRROR_HOST": told.host,
        "MAILMIRROR_ADDRESSES": " ".join(told.addresses),
        "MAILMIRROR_EPOCH": "" if target is None else str(told.epoch),
        "MAILMIRROR_EXPECTED_EPOCH": "" if expected is None else str(expected),
        "MAILMIRROR_OPERATION": told.operation,
    }


def read(out: bytes) -> Sight:
    """What `show` printed."""
    if len(out) > LARGEST:
        return Sight(trouble=f"it printed more than {LARGEST} bytes")
    try:
        told = json.loads(out)
    except (ValueError, RecursionError):
        return Sight(trouble=f"it printed no JSON: {_words(out)!r}")
    place, epoch = (told.get("place"), told.get("epoch")) if isinstance(told, dict) else (None, None)
    if place not in PLACES or "epoch" not in told:
        return Sight(trouble=f"it printed no place and epoch: {_words(out)!r}")
    if epoch is not None and (isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 0):
        return Sight(trouble=f"it printed an epoch that is none: {epoch!r}")
    return Sight(place, epoch)


def run(command: Sequence[str], environ: Mapping[str, str], seconds: float) -> Ran:
    """Run to its end, or kill its process group after so many seconds. What it leaves running in that group is killed
    with it; output goes to files, so that a child which holds on to it can't keep us.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=dict(environ), start_new_session=True
            )
        except OSError as error:
            return Ran(b"", f"can't be run: {error.strerror}")
        with process:
            ended = _ended(process, seconds)
            # Its leader isn't reaped yet, so the group's number can't have become another's.
            os.killpg(process.pid, signal.SIGKILL)
        trouble = "" if ended else f"didn't end within {seconds:g} s and was killed"
        out.seek(0)
        err.seek(0)
        if not trouble and process.returncode:
            trouble = f"ended with {process.returncode}: {_words(err.read(LARGEST)) or 'it said nothing'}"
        return Ran(out.read(LARGEST + 1), trouble, not ended)


def _ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for the end, without reaping it. On an interruption its group is killed first."""
    watched = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        poll.register(watched, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    finally:
        os.close(watched)


def _words(text: bytes) -> str:
    return " ".join(text[-TOLD:].decode("utf-8", "replace").split())
