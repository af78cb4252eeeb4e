"""`mailmirror-guard`: the guard's command line on its own host. Needs no controller and no network.

    mailmirror-guard status                                 who may serve, until when, and why
    mailmirror-guard serve --attest 'the mirror is off'     open the gate by an operator's word
    mailmirror-guard grant --open-ended --reason '...'      before this granter is rebooted or taken away
    mailmirror-guard withdraw                               end of an attestation, or of a grant without an end
    mailmirror-guard begin --epoch 1 --active primary       the first register of a pair that has none anywhere
    mailmirror-guard resume                                 end what keeps this place quiet: it serves, or queues, again
    mailmirror-guard forget                                 the active's stores were changed on purpose
    mailmirror-guard run | gate UNIT | tidy                 for systemd

A witness of several pairs has a guard of each: `--pair NAME` says which is meant. Without it `status` shows all (as
JSON one object after the other), and an order is refused where there are several. `asked` is the same for a controller,
by the agent's conversation.

Invariant: every refusal says what to do, and changes nothing. Exit codes: 0 done, 1 failed, 2 usage, 4 refused.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import time
from typing import Any, Dict, Generator, List, Optional, Tuple

from . import VERSION, address, gate, guardpost, register, settings
from .guardpost import Post, say
from .hands import POSTFIX
from .homes import PLAIN, Home
from .serve import Answer, Fault, args, aside

WITHIN = 10.0
WORDS = ("verb", "operation", "epoch", "active", "proof", "words", "seconds", "quiet")
"""What an order says; `orders.Order` has their meaning."""


class Silent(Exception):
    """The guard doesn't answer."""


def ask(head: Dict[str, Any], run: str, within: float = WITHIN) -> Dict[str, Any]:
    """What the guard answers whose socket is in this directory. Raises Silent."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as call:
            call.settimeout(within)
            with guardpost.socket_in(run) as path:
                call.connect(path)
            call.sendall(json.dumps(head).encode() + b"\n")
            with call.makefile("rb") as heard:
                answer: Dict[str, Any] = json.loads(heard.readline() or b"{}")
    except (OSError, ValueError) as error:
        raise Silent(f"the guard doesn't answer ({error}): systemctl status 'mailmirror-guard*'") from error
    if not answer:
        raise Silent("the guard ended without an answer: systemctl status 'mailmirror-guard*'")
    return answer


def asked(head: Dict[str, Any], run: str = "", within: float = WITHIN) -> Generator[Optional[float], None, Answer]:
    """The agent's verb `guard`: the head's `order` is {"verb": "status"}, or an order with some of WORDS; `pair` says
    whose guard is meant, and may be missing where the host has one. The answer is the guard's own.

    Raises Fault: refused, unguarded, which-pair. Meanwhile other requests are served.
    """
    (order,) = args(head, order=dict)
    if not order.get("verb") or not set(order) <= set(WORDS):
        raise Fault(
            "bad-request", f"an order has a verb, and may have {', '.join(WORDS[1:])}; not {sorted(order)!r:.99}"
        )
    run = run or settings.chosen(str(head.get("pair", ""))).run
    try:
        answer = yield from aside("guard", lambda: ask(order, run, within))
    except Silent as silent:
        remedy = "Lay it down: `mailmirror agent install HOST --guard`; it takes root."
        raise Fault("unguarded", str(silent), remedy) from silent
    if "error" in answer:
        raise Fault("refused", str(answer["error"]), "Nothing was changed. `mailmirror-guard status` there says more.")
    return Answer(answer)


def may_start(unit: str, run: str) -> bool:
    """The boot gate: whether this unit may start now."""
    try:
        told = ask({"verb": "status"}, run)
    except Silent as silent:
        say(f"{unit} isn't started: {silent}")
        return False
    queues = told["hands"]["queues"] and (unit in POSTFIX or unit.startswith("postfix@"))
    return bool((told["serves"] and not told.get("quiet")) or queues)


def tidy(home: Home) -> int:
    """After the guard's end: an address that moves doesn't stay where nobody minds it. Where the guard failed while a
    lease is on, systemd starts it again at once, and it decides.
    """
    if os.environ.get("SERVICE_RESULT", "success") != "success" and gate.is_open():
        return 0
    told, _ = settings.load(home.settings, home.key)
    for each, interface in told.addresses:
        try:
            address.remove(each, interface)
        except Fault as fault:
            say(f"{each} stays on {interface}: {fault} {fault.remedy}")
            return 1
    return 0


def serve(options: argparse.Namespace, home: Home) -> int:
    """Until it is told to end."""
    told, key = settings.load(options.settings or home.settings, options.key or home.key)
    post = Post(told, key, state=options.state or home.state, run=options.run or home.run)

    def end(*_: object) -> None:
        post.asked_to_end = True  # no more: the loop may be in the middle of anything

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    try:
        post.run()
    finally:
        post.close()
    return 0


def sentence(told: Dict[str, Any]) -> str:
    """A status for people."""
    left = "without an end" if told["left"] is None else f"for {told['left']:.1f} s"
    active = told["active"] or "nobody"
    lines = [
        f"{told['place']} of {told['pair']}: {told['role']}, epoch {told['epoch']} (active: {active})",
        f"  serves {left}: {told['why']}" if told["serves"] else f"  serves nobody: {told['why']}",
    ]
    if told["quiet"]:
        by, ends = told["quiet"]["operation"], told["quiet"]["left"]
        lines += [f"  kept quiet by {by} for another {ends:.1f} s: its mail services aren't started meanwhile"]
    lines += [f"  bounces nothing for good for another {told['soft']:.0f} s"] if told["soft"] else []
    lines += [f"  the lease is {'armed' if told['armed'] else 'not armed'}"] if told["role"] != "witness" else []
    lines += _promised(told)
    lines += [f"  heard the {peer} {seconds} s ago" for peer, seconds in told["heard"].items()]
    lines += [f"  the {peer} grants nothing: {why}" for peer, why in told["denied"].items()]
    lines += [f"  the {peer} isn't believed: {why}" for peer, why in told["doubted"].items()]
    lines += [f"  no gate in the kernel: {told['gate']['weak']}"] if told["gate"]["weak"] else []
    lines += [f"  failed: {step}: {why}" for step, why in told["hands"]["problems"].items()]
    return "\n".join(lines) + "\n"


def _promised(told: Dict[str, Any]) -> List[str]:
    """What a granter has promised to the active, and what ends that."""
    if told["role"] not in ("passive", "witness"):
        return []
    granted, active = told["granted"], told["active"] or "active"
    if granted["leaving"]:
        given = "" if granted["given"] is None else f", and was sent that {granted['given']:.1f} s ago"
        ends = f"({granted['leaving']}); `mailmirror-guard withdraw` ends it"
        return [f"  lets the {active} serve without an end{given} {ends}"]
    if granted["without_end"] and told["run_out"] is not None:
        return [f"  the {active} may serve without an end: it hasn't confirmed yet that the lease is armed"]
    return ["  grants nothing: a promotion is on"] if granted["refuses"] else []


def _given(run: str) -> Tuple[Dict[str, Any], bool]:
    """The status once the active was sent what is granted from now on, or had time enough to ask; whether it was."""
    began = time.monotonic()
    while True:
        told = ask({"verb": "status"}, run)
        given, passed = told["granted"]["given"], time.monotonic() - began
        sent = told["run_out"] is None or (given is not None and given < passed)
        if sent or passed > WITHIN:
            return told, sent
        time.sleep(0.1)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="mailmirror-guard", description="Who may serve on this host, and until when.")
    top.add_argument("--version", action="version", version=VERSION)
    top.add_argument("--pair", default="", metavar="NAME", help="which pair's guard; needless where there is one")
    for name in ("--state", "--run", "--settings", "--key"):
        top.add_argument(name, default="", help=argparse.SUPPRESS)
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    status = verbs.add_parser("status", help="who may serve, until when, and why")
    status.add_argument("--format", choices=("text", "json"), default="text", help="how to print it")
    attest = verbs.add_parser("serve", help="open the gate by your word; only where no guard can be asked")
    attest.add_argument("--attest", required=True, metavar="WORDS", help="why nobody else serves, nor will")
    grant = verbs.add_parser("grant", help="let the active serve without an end, before this host leaves")
    grant.add_argument("--open-ended", action="store_true", required=True, help="until `withdraw`")
    grant.add_argument("--reason", required=True, help="why; the register keeps it")
    verbs.add_parser("withdraw", help="the end of an attestation, or of a grant without an end")
    verbs.add_parser("resume", help="the end of what keeps this place quiet: it serves, or queues, again")
    verbs.add_parser("forget", help="what was remembered of the active's stores: they were changed on purpose")
    begin = verbs.add_parser("begin", help="the first register, where no guard of the pair has one")
    begin.add_argument("--epoch", type=int, required=True, help="the epoch that the pair is at")
    begin.add_argument("--active", required=True, metavar="PLACE", help="who is active: primary or mirror")
    verbs.add_parser("run", help="for systemd: stand guard")
    start = verbs.add_parser("gate", help="for systemd: may this unit start?")
    start.add_argument("unit", help="its name")
    verbs.add_parser("tidy", help="for systemd: after the guard's end")
    return top


def main(argv: Optional[List[str]] = None) -> int:
    options = parser().parse_args(argv)
    try:
        if options.verb in ("run", "gate", "tidy"):
            return _for_systemd(options, settings.chosen(options.pair) if options.pair else PLAIN)
        if options.run:
            return _told(options, options.run)
        if options.verb == "status" and not options.pair and len(found := settings.there()) > 1:
            return max([_shown(options, found[pair].run) for pair in sorted(found)])
        return _told(options, settings.chosen(options.pair).run)
    except Fault as fault:
        say(f"mailmirror-guard: {fault}. {fault.remedy}")
        return 2
    except (Silent, settings.Unusable, register.Damaged, OSError) as error:
        say(f"mailmirror-guard: {error}")
        return 1


def _for_systemd(options: argparse.Namespace, home: Home) -> int:
    if options.verb == "run":
        return serve(options, home)
    if options.verb == "gate":
        return 0 if may_start(options.unit, options.run or home.run) else 1
    return tidy(home)


def _shown(options: argparse.Namespace, run: str) -> int:
    """One status of several: the others are told all the same."""
    try:
        return _told(options, run)
    except Silent as silent:
        say(f"mailmirror-guard: {os.path.basename(run)}: {silent}")
        return 1


def _told(options: argparse.Namespace, run: str) -> int:
    """Ask the guard, and tell its answer."""
    told, sent = ask({"verb": "status"}, run), True
    if options.verb == "serve":
        epoch = int(told["later"] or told["epoch"])
        told = ask({"verb": "attest", "epoch": epoch, "words": options.attest}, run)
    elif options.verb == "grant":
        told = ask({"verb": "leave", "words": options.reason}, run)
        told, sent = (told, True) if "error" in told else _given(run)
    elif options.verb == "begin":
        told = ask({"verb": "begin", "epoch": options.epoch, "active": options.active}, run)
    elif options.verb in ("forget", "resume"):
        told = ask({"verb": options.verb, "epoch": told["epoch"]}, run)
    elif options.verb == "withdraw":
        told = ask({"verb": "withdraw"}, run)
    if "error" in told:
        say(f"mailmirror-guard: refused: {told['error']}.")
        return 4
    sys.stdout.write(json.dumps(told, indent=1) + "\n" if getattr(options, "format", "") == "json" else sentence(told))
    if not sent:
        say(
            "mailmirror-guard: the active hasn't asked for it: leave this host alone until the status says it was sent."
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
