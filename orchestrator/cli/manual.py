"""The man pages, from what the program itself knows: `python -m orchestrator.cli.manual DIRECTORY`.

    mailmirror(1)            the verbs, as --help tells of them
    mailmirror-inventory(5)  the keys, as the schema has them
    mailmirror-playbook(5)   the steps and journeys, as they are checked
    mailmirror-guard(8)      the guard's own command

Invariant: the same program makes the same bytes. Source: man-pages(7), groff_man(7).
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from orchestrator.agent.guardtalk import parser
from orchestrator.cli.front import EXIT_CODES, VERBS, group
from orchestrator.failover import verbs
from orchestrator.inventory.schema import json_schema

PLACE = "deploy/man"
PLAYBOOKS = Path(__file__).parent.parent / "playbooks"


def pages() -> dict[str, str]:
    """Each page by its file's name."""
    return {
        "mailmirror.1": "\n".join(_commands()) + "\n",
        "mailmirror-inventory.5": "\n".join(_inventory()) + "\n",
        "mailmirror-playbook.5": "\n".join(_playbook()) + "\n",
        "mailmirror-guard.8": "\n".join(_guard()) + "\n",
    }


# --- roff -------------------------------------------------------------------------------------------------------------


def _head(name: str, section: int, what: str) -> Iterator[str]:
    yield '.\\" Made by python -m orchestrator.cli.manual; a change here is lost.'
    yield f'.TH {name.upper()} {section} "" mailmirror "mailmirror"'
    yield from (".SH NAME", f"{_said(name)} \\- {_said(what)}")


def _said(text: str) -> str:
    """Text as a line of roff."""
    flat = " ".join(text.split()).replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{flat}" if flat.startswith((".", "'")) else flat


def _bold(text: str) -> str:
    return f"\\fB{_said(text)}\\fR"


def _term(name: str, what: str) -> Iterator[str]:
    yield from (".TP", name, what or "\\&")


def _terms(told: Mapping[str, str]) -> Iterator[str]:
    for name, what in told.items():
        yield from _term(_bold(name), _said(what))


def _example(text: str) -> Iterator[str]:
    yield from (".PP", ".nf", ".RS 4")
    for line in textwrap.dedent(text).strip("\n").splitlines():
        plain = line.replace("\\", "\\e").replace("-", "\\-") or "\\&"
        yield f"\\&{plain}" if plain.startswith((".", "'")) else plain
    yield from (".RE", ".fi")


def _paragraphs(text: str) -> Iterator[str]:
    """A docstring: filled, but for what click is told to leave as it is."""
    for part in text.replace("\f", "").strip().split("\n\n"):
        first, *rest = part.splitlines()
        if first.strip() == "\b":
            yield from _example("\n".join(rest))
        else:
            yield from (".PP", _said(part))


# --- mailmirror(1) ----------------------------------------------------------------------------------------------------


def _commands() -> Iterator[str]:
    yield from _head("mailmirror", 1, "two mail servers, a live mirror between them, and the users moved in seconds")
    yield from (".SH SYNOPSIS", f"{_bold('mailmirror')} [\\fIOPTIONS\\fR] \\fIVERB\\fR [\\fIPAIR\\fR]")
    yield from (".SH DESCRIPTION", _said(str(group.help)))
    yield _said("Without PAIR verbs that only read show all pairs, and others refuse where there are several.")
    yield ".SH OPTIONS"
    context = click.Context(group, info_name="mailmirror")
    yield from _options(context)
    yield ".SH VERBS"
    for name in VERBS:
        command = group.get_command(context, name)
        assert command is not None
        yield from _verb(command, click.Context(command, info_name=name, parent=context))
    yield from (".SH EXIT STATUS", _said("`check` alone has those of Nagios; all the others:"))
    yield from _example("\n".join(EXIT_CODES.replace("\b", "").strip().splitlines()[1:-1]))
    yield ".SH FILES"
    yield from _term(_bold("./inventory.yaml, /etc/mailmirror/inventory.yaml"), "the inventory, in this order")
    yield from _term(_bold("/etc/mailmirror/playbooks/"), "playbooks of the site's own")
    yield from (".SH SEE ALSO", "mailmirror\\-inventory(5), mailmirror\\-playbook(5), mailmirror\\-guard(8)")


def _verb(command: click.Command, context: click.Context) -> Iterator[str]:
    usage = " ".join(command.collect_usage_pieces(context))
    path = context.command_path.removeprefix("mailmirror ")
    yield f'.SS "{_said(path)} {_said(usage)}"'
    yield from list(_paragraphs(command.help or ""))[1:]
    yield from _options(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _verb(inner, click.Context(inner, info_name=name, parent=context))


def _options(context: click.Context) -> Iterator[str]:
    for each in context.command.get_params(context):
        record = each.get_help_record(context) if isinstance(each, click.Option) else None
        if record is not None and "--help" not in each.opts:
            yield from _term(_bold(record[0]), _said(record[1]))


# --- mailmirror-inventory(5) ------------------------------------------------------------------------------------------


def _inventory() -> Iterator[str]:
    schema: Any = json_schema()
    known: Mapping[str, Any] = schema["$defs"]
    yield from _head("mailmirror-inventory", 5, "which hosts make a pair, and how it is to be kept")
    yield from (".SH DESCRIPTION", _said(str(schema["description"])))
    yield _said(
        "The sample that comes with mailmirror explains each key where it stands; this page is the list of them. "
        "`mailmirror config check` tells every problem with its line and column, `mailmirror config show` each value "
        "in effect and where it comes from."
    )
    yield from _example(
        "mailmirror:\n  vars: {}            # for all pairs\n  children:\n    example_org:      # a pair\n"
        "      vars: {}        # for this pair\n      hosts:\n        mail1.example.org: {mm_place: primary}\n"
        "        mail2.example.org: {mm_place: mirror}"
    )
    yield ".SH VALUES"
    yield from _terms(
        {
            "durations": "a number and its unit, as 250ms, 30s, 15m, 2h, 7d or 1w",
            "rates": "10M or 10MB/s is bytes, 80Mbit/s is bits; k, M and G are powers of 1000",
            "secrets": "only by reference: {file: PATH}, {env: NAME} or {credential: NAME}, which is systemd's",
            "text": 'in quotes where YAML would read something else: "22:30", "no", "0750"',
        }
    )
    yield from (".SH KEYS IN VARS", _said("Those that begin with ansible_ may stand at a host too."))
    yield from _keys(known["PairVars"], known)
    yield ".SH KEYS AT A HOST"
    hosts = {key: what for key, what in known["HostVars"]["properties"].items() if what != _of(known, key)}
    yield from _keys({"properties": hosts}, known)
    yield ".SH FILES"
    yield from _term(
        _bold("share/mailmirror/inventory.yaml"), "the sample, below the prefix that mailmirror was installed to"
    )
    yield from (".SH SEE ALSO", "mailmirror(1), mailmirror\\-playbook(5)")


def _of(known: Mapping[str, Any], key: str) -> Any:
    return known["PairVars"]["properties"].get(key)


def _keys(of: Mapping[str, Any], known: Mapping[str, Any]) -> Iterator[str]:
    for key, what in of["properties"].items():
        yield from _term(_bold(key), _described(what))
        inner = _inner(what, known)
        if inner:
            yield ".RS"
            yield from _keys(inner, known)
            yield ".RE"


def _described(what: Mapping[str, Any]) -> str:
    words = str(what.get("description", ""))
    if "enum" in what:
        words += f" ({', '.join(map(str, what['enum']))})"
    elif what.get("examples") and "default" not in words:
        words += f" (as {what['examples'][0]})"
    return _said(words)


def _inner(what: Mapping[str, Any], known: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The mapping that a key takes, or that its list has; None for plain values and for secrets, told once."""
    told = what.get("items", what)
    name = str(told.get("$ref", "")).rpartition("/")[2]
    return None if name in ("", "Secret") or "properties" not in known[name] else known[name]


# --- mailmirror-playbook(5) -------------------------------------------------------------------------------------------


def _playbook() -> Iterator[str]:
    yield from _head("mailmirror-playbook", 5, "the steps of a journey, as the person on call reads them")
    yield ".SH DESCRIPTION"
    yield _said(
        "A playbook is a YAML file named after its journey. One in /etc/mailmirror/playbooks/ takes the place of the "
        "one that comes with mailmirror: it may add commands of the site's own and change times; it can't leave out, "
        "repeat or reorder the journey's steps, nor move the point of no return. The daemon and every journey check "
        "it whole before anything begins. There are no variables, conditions, loops or templates."
    )
    yield ".SH HEADER"
    yield from _terms(
        {
            "journey": "its name",
            "what": "what it does, in a line",
            "from": f"the states from which it may begin: some of {', '.join(verbs.STATES)}",
            "rto": "for how long users may be without mail",
            "may_lose": "what may be lost",
            "never": "what never happens",
            "steps": "the list of steps, in their order",
        }
    )
    yield ".SH A STEP"
    yield from _terms(
        {
            "do": "the verb, one of those below; or run, a list of words, for a command of the site's own",
            "why": "why it stands here",
            "within": "the most that it may take, and once more for its undo",
            "undo": "false: it isn't undone on the way back",
            "point_of_no_return": "true at one step: before it a failure goes back, after it only forward",
        }
    )
    yield ".SH VERBS"
    for name, verb in verbs.VERBS.items():
        takes = "; ".join(f"{key}: {kind.value}" for key, kind in verb.takes.items())
        more = f" Takes {takes}." if takes else ""
        undone = " It can be undone." if verb.undoes else ""
        yield from _term(_bold(name), _said(f"{verb.what}.{more}{undone}"))
    yield ".SH JOURNEYS"
    for name, journey in verbs.JOURNEYS.items():
        steps = ", ".join(f"[{each}]" if each in journey.may else each for each in journey.order or journey.parts)
        yield from _term(
            _bold(name), _said(f"{steps}." + (f" Point of no return: {journey.point}." * bool(journey.point)))
        )
    yield from (".SH EXAMPLE", _said("The whole of the playbook seed:"))
    yield from _example((PLAYBOOKS / "seed.yaml").read_text())
    yield from (".SH SEE ALSO", "mailmirror(1), mailmirror\\-inventory(5)")


# --- mailmirror-guard(8) ----------------------------------------------------------------------------------------------


def _guard() -> Iterator[str]:
    top = parser()
    yield from _head("mailmirror-guard", 8, "who may serve on this host, and until when")
    yield from (".SH SYNOPSIS", f"{_bold('mailmirror-guard')} [\\fB\\-\\-pair\\fR \\fINAME\\fR] \\fIVERB\\fR")
    yield ".SH DESCRIPTION"
    yield _said(
        "The guard holds a mail host's lease, epoch register and boot gate. Its command works on the host itself, "
        "without any controller. Never attest while the other host may be serving, or may be promoted: nothing else "
        "keeps them apart then."
    )
    yield ".SH OPTIONS"
    yield from _arguments(top)
    yield ".SH VERBS"
    for action in top._actions:  # argparse has no other way to ask
        if isinstance(action, argparse._SubParsersAction):
            for said in action._choices_actions:
                yield f'.SS "{_said(said.dest)}"'
                sentence = str(said.help)[:1].upper() + str(said.help)[1:]
                yield _said(sentence if sentence.endswith("?") else f"{sentence}.")
                yield from _arguments(action.choices[said.dest])
    yield ".SH EXIT STATUS"
    for code, meaning in {"0": "done", "1": "failed, or no guard answers", "2": "usage", "4": "refused"}.items():
        yield from _term(_bold(code), _said(meaning))
    yield from (".SH SEE ALSO", "mailmirror(1)")


def _arguments(of: argparse.ArgumentParser) -> Iterator[str]:
    for action in of._actions:
        plain = isinstance(action, argparse._SubParsersAction | argparse._HelpAction)
        if plain or action.help == argparse.SUPPRESS:
            continue
        value = "" if action.nargs == 0 else str(action.metavar or action.dest).upper()
        name = f"{', '.join(action.option_strings)} {value}".strip()
        yield from _term(_bold(name), _said(str(action.help or "")))


if __name__ == "__main__":
    for name, text in pages().items():
        Path(sys.argv[1], name).write_text(text)
