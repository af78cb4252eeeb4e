"""`mailmirror fence status|test`: what the devices say that can cut a host's power, and whether they would answer.

Invariant: without `--cycle` no power is switched: the devices are asked for their state and nothing else. A device that
gives no clear answer is UNKNOWN, which is never taken for off.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import reach, words
from orchestrator.cli.front import Front, order_options, style_option
from orchestrator.errors import NeedsConfirmation, Refused, UsageError
from orchestrator.records import fences, snapshot
from orchestrator.records.lock import Lock

if TYPE_CHECKING:
    from orchestrator.fencing.device import Answer, Device, State
    from orchestrator.fencing.levels import Outcome
    from orchestrator.inventory.model import Host, Pair

Row = dict[str, Any]
ASKED_FOR = 15.0
"""Seconds that one question may take."""
DAY = 86400.0


@click.group("fence")
def command() -> None:
    """See the devices that can cut a host's power, and test them."""


@command.command("status")
@reach.pair_argument
@style_option
@click.pass_obj
def status(front: Front, pair: str | None) -> int:
    """Ask every fence device for its host's power, and say when it passed a test last; exit 1 when one gives no answer.

    Nothing is recorded: `fence test` does that.
    """
    told: list[Row] = []
    for chosen in reach.readable(front, pair):
        known = fences.tests(chosen.state_dir, chosen.name)
        for host in chosen.hosts.values():
            for device in _levels().devices(host):
                passed = fences.last(known, host.name, device.fingerprint, good=True)
                told.append(_row(chosen, host, device, device.status(ASKED_FOR), passed.at if passed else None))
    if not told:
        raise _none()
    _put(front, told, _table(told, time.time()))
    return _exit(told)


@command.command("test")
@click.argument("pair_and_host", nargs=-1, required=True, metavar="[PAIR] HOST", shell_complete=reach.a_host)
@click.option("--cycle", is_flag=True, help="Really switch HOST off, prove it, and switch it on again.")
@click.option("--active-host", metavar="NAME", help="With --cycle: HOST again, where it is the active one.")
@click.option("--dry-run", is_flag=True, help="With --cycle: say what would be done; change nothing.")
@order_options
@click.pass_obj
def test(
    front: Front,
    pair_and_host: tuple[str, ...],
    cycle: bool,
    active_host: str | None,
    dry_run: bool,
    yes: bool,
    reason: str,
    timeout: float | None,
) -> int:
    """Ask each fence device of HOST for its power, and keep the result: a fence has to have passed within 7 days.

    --timeout bounds each device (each order and its proof, with --cycle).
    """
    pair, host = _chosen(front, pair_and_host)
    devices = _levels().devices(host)
    if not devices:
        raise _none()
    if cycle:
        _may_cycle(pair, host, active_host, asking=not dry_run)
        sys.stderr.write(_plan(host, devices))
        if dry_run:
            return 0
        reach.confirm(f"Switch {host.name} off and on again?", yes)
        with Lock(pair.state_dir, f"{pair.name}.fence", f"fence test --cycle {host.name}"):  # never both hosts at once
            reach.note(pair, "fence cycle", reason, host=host.name)
            return _cycled(front, pair, host, devices, timeout)
    told = []
    for device in devices:
        answer = device.status(timeout or ASKED_FOR)
        _keep(pair, host, device, answer.state.value, "status", answer.said)
        told.append(_row(pair, host, device, answer, time.time() if answer.state.value != "unknown" else None))
    _put(front, told, _table(told, time.time()))
    return _exit(told)


def _none() -> UsageError:
    remedy = "Say mm_fence at the host in the inventory; the sample shows how."
    return UsageError("No device can cut a host's power here.", remedy=remedy)


def _levels() -> Any:
    """What drives devices: loaded late, as every verb's own needs."""
    return importlib.import_module("orchestrator.fencing.levels")


def _exit(told: list[Row]) -> int:
    return 1 if any(row["state"] == "unknown" for row in told) else 0


def _row(pair: Pair, host: Host, device: Device, answer: Answer, passed: float | None) -> Row:
    return {
        "pair": pair.name,
        "host": host.name,
        "level": device.level,
        "device": device.title,
        "state": answer.state.value,
        "said": answer.said,
        "seconds": round(answer.ended - answer.began, 3),
        "passed_at": passed,
    }


def _table(told: list[Row], now: float) -> str:
    head = ("PAIR", "HOST", "LEVEL", "DEVICE", "POWER", "PASSED A TEST")
    rows = [
        (row["pair"], row["host"], str(row["level"]), row["device"], row["state"].upper(), _passed(row, now))
        for row in told
    ]
    notes = [f"{row['host']}: {row['device']}: {row['said']}" for row in told if row["state"] == "unknown"]
    return words.table(head, rows) + "".join(f"{words.safe(note)}\n" for note in notes)


def _passed(row: Row, now: float) -> str:
    at = row["passed_at"]
    if at is None:
        return "never"
    late = "" if 0 <= now - at <= 7 * DAY else ", too long ago"
    return f"{words.span(max(0.0, now - at))} ago{late}"


def _put(front: Front, told: object, text: str) -> None:
    sys.stdout.write(json.dumps(told, indent=2) + "\n" if front.style == "json" else text)
    sys.stdout.flush()


def _keep(pair: Pair, host: Host, device: Device, state: str, how: str, said: str) -> None:
    test = fences.Trial(host.name, device.title, device.fingerprint, time.time(), state, how, said)
    fences.note(pair.state_dir, pair.name, test)


# --- the real thing ---------------------------------------------------------------------------------------------------


def _may_cycle(pair: Pair, host: Host, typed: str | None, *, asking: bool) -> None:
    """Raises Refused for the host that this runs on; NeedsConfirmation until the active host's name is typed again."""
    if host.local:
        raise Refused(
            f"{host.name} is the host that this runs on: it can't prove that it is off, nor switch itself on.",
            remedy="Test it without --cycle, or from another host.",
        )
    # Without a word on it the primary is: no place changes its role by itself.
    active = snapshot.active(pair.state_dir, pair.name) or pair.primary.name
    if host.name != active or typed == host.name or not asking:
        return
    question = f"{host.name} is the active host of {pair.name}: its users lose their mail while it is off."
    if typed is not None or not sys.stdin.isatty():
        raise NeedsConfirmation(
            f"{question} Its name wasn't typed again, so nothing was changed; --yes isn't enough.",
            remedy=f"If it is meant: --active-host {words.shell_word(host.name)}",
        )
    if click.prompt(f"{question} To go on, type its name", default="", show_default=False, err=True) != host.name:
        raise click.Abort


def _plan(host: Host, devices: list[Device]) -> str:
    lines = [f"Plan for {host.name}, level by level, until one has proven it off:"]
    lines += [
        f"  level {device.level}: {device.title}: off, then asked until it says so (within {device.within:g} s)"
        for device in devices
    ]
    lines += ["  then the same for on, for each that was ordered off"]
    return "".join(f"{words.safe(line)}\n" for line in lines)


def _cycled(front: Front, pair: Pair, host: Host, devices: list[Device], timeout: float | None) -> int:
    """Off, proven, and on again; 0, 1 when off isn't proven, 7 when it is and on isn't."""
    levels = _levels()
    off, on = (importlib.import_module("orchestrator.fencing.device").State(word) for word in ("off", "on"))
    was_off, ordered, told = False, [], []
    try:
        for outcomes, proven in levels.each(devices, off, timeout):
            was_off = was_off or proven
            ordered += [outcome.device for outcome in outcomes]
            told += [_outcome(pair, host, outcome, off) for outcome in outcomes]
    except BaseException:  # Ctrl-C, or a full disk: the host isn't left without power for it
        sys.stderr.write(f"Interrupted; ordering {words.safe(host.name)} on again. That it is on isn't proven.\n")
        for device in reversed(devices):
            device.order(on, timeout or device.within)
        raise
    # Whatever was ordered off is to be on again, proven or not: the last one first, for a plug that feeds a controller.
    again = [levels.drive(device, on, timeout or device.within) for device in reversed(ordered)]
    told += [_outcome(pair, host, outcome, on) for outcome in again]
    is_on = all(outcome.seen.state is on for outcome in again)
    code = (0 if is_on else 7) if was_off else 1
    lines = [f"{row['device']}: {row['wanted']}: {row['state'].upper()} ({row['said']})" for row in told]
    ends = {
        0: f"{host.name} was off, which was proven, and is on again.",
        1: f"{host.name} was not proven off: this fence doesn't count.",
        7: f"{host.name} was off, which was proven.",
    }
    lines.append(ends[code] + ("" if is_on else " That it is on again isn't proven: look at it."))
    _put(front, told, "".join(f"{words.safe(line)}\n" for line in lines))
    return code


def _outcome(pair: Pair, host: Host, outcome: Outcome, wanted: State) -> Row:
    seen = outcome.seen
    good = seen.state is wanted
    state = seen.state.value if good else "unknown"
    said = seen.said if good else f"ordered {wanted.value}, says {seen.state.value}: {seen.said}"
    _keep(pair, host, outcome.device, state, "cycle", said)
    return {**_row(pair, host, outcome.device, seen, None), "wanted": wanted.value, "ordered": outcome.ordered.said}


def _chosen(front: Front, pair_and_host: tuple[str, ...]) -> tuple[Pair, Host]:
    if len(pair_and_host) > 2:
        raise click.UsageError("It takes a pair and one host.")
    pair = reach.changeable(front, pair_and_host[0] if len(pair_and_host) == 2 else None)
    host = pair.hosts.get(pair_and_host[-1])
    if host is None:
        raise UsageError(
            f"The pair {pair.name} has no host {pair_and_host[-1]}; it has {', '.join(pair.hosts)}.",
            remedy="Correct the name, or the inventory.",
        )
    return pair, host
