"""The click group: global options, verbs loaded when they are typed, errors turned into sentences and exit codes.

Invariant: every error leaves here as one sentence and what to do next, on stderr, with its
exit code; a traceback only with --debug. `--help` lists the verbs without importing them.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import click
from click.shell_completion import CompletionItem, shell_complete

from orchestrator import __version__
from orchestrator.cli import words
from orchestrator.errors import MailmirrorError

if TYPE_CHECKING:
    from orchestrator.inventory.model import Pair
    from orchestrator.web.replicates import Replicates

VERBS = {
    "demo": "Show it at work: an embedded site on loopback.",
    "init": "Lay the markers down for a pair whose mirror is empty.",
    "run": "Follow every pair, live, in the foreground (the daemon).",
    "service": "Have systemd run the daemon on this host.",
    "status": "How each pair stands.",
    "check": "One line for Nagios and its kin, with their exit codes.",
    "doctor": "Whether automatic failover is ready; what is in the way, and what to do.",
    "sync": "One pass, from the active place to the passive ones.",
    "seed": "Make a mirror anew, or take a copy that it holds (--adopt).",
    "verify": "Prove that both ends are equal.",
    "undelete": "List or bring back what was deleted on the mirror.",
    "ack": "Let waiting deletions through, by id; end a cooldown.",
    "account": "Let a vanished account's deletion through.",
    "uidlist": "Check a dovecot-uidlist.",
    "plan": "The steps of a journey, and what is there now of each.",
    "switchover": "Move the users to the passive place, by plan; nothing is lost.",
    "failover": "Have the passive place take over from an active one that is lost.",
    "failback": "Move the users back to the primary.",
    "drill": "Move the users to the mirror and home again, and report how long they waited.",
    "rejoin": "Bring a lost host home: deliver what only it has, then copy to it again.",
    "pause": "Do nothing unasked, for a while.",
    "resume": "End a pause.",
    "explain": "What was decided, and why.",
    "replay": "Decide again what was decided then.",
    "history": "The journeys of each pair, and how they ended.",
    "op": "Resume, roll back or abort an operation that hasn't ended.",
    "window": "Maintenance windows: list, add, extend, cancel.",
    "alerts": "Try every way that tells people.",
    "simulate": "Look for what breaks a journey, in virtual time.",
    "agent": "Install, update or remove the agent on a host.",
    "dns": "See the names that follow the active place; try a change.",
    "vip": "See the addresses that move with the active place; try a move.",
    "fence": "See the devices that can cut a host's power; test them.",
    "config": "Check or show the inventory.",
    "completion": "The lines by which a shell completes verbs, options and pairs.",
}

EXIT_CODES = """
\b
Exit codes:
   0  ok                              6  timed out and still running
   1  failed                          7  partly done
   2  usage                          69  host unreachable
   3  nothing to do                  75  try again
   4  refused by a safety rule       77  permission
   5  needs confirmation and         78  configuration
      has no terminal               130  interrupted
`check` alone has Nagios' exit codes.
"""

F = TypeVar("F", bound=Callable[..., object])


@dataclass
class Front:
    """What was said before the verb (or, for --format, behind it)."""

    inventory_path: str | None = None
    style: str = "table"
    debug: bool = False
    connect: Callable[[Pair], Replicates] | None = None  # None: as `daemon.connecting` does; a test may bring its own


class Verbs(click.Group):
    """The verbs, by name; a verb's module is imported when it is needed."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        command = importlib.import_module(f"orchestrator.cli.{name}").command
        assert isinstance(command, click.Command)
        return command

    def shell_complete(self, context: click.Context, incomplete: str) -> list[CompletionItem]:
        """As click does it, but without importing every verb for its first sentence: a TAB would take 0.8 s."""
        verbs = [CompletionItem(name, help=what) for name, what in VERBS.items() if name.startswith(incomplete)]
        return verbs + click.Command.shell_complete(self, context, incomplete)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


def _say_style(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value:
        context.ensure_object(Front).style = value


def style_option(function: F) -> F:
    """`--format`, which may stand before the verb or behind it."""
    option = click.option(
        "--format",
        type=click.Choice(["table", "json"]),
        expose_value=False,
        callback=_say_style,
        help="How to print the answer.",
    )
    return option(function)


def journey_options(function: F) -> F:
    """What every order takes beside its own options: `yes`, `reason` and --format."""
    for option in (
        style_option,
        click.option(
            "--reason", default="", metavar="TEXT", help="Why: kept in the journal in mm_state_dir, and logged."
        ),
        click.option("--yes", is_flag=True, help="Don't ask; what may lose mail wants --accept-loss."),
    ):
        function = option(function)
    return function


def order_options(function: F) -> F:
    """As `journey_options`, and `timeout` (seconds): an order that can be cut off, and given again."""
    option = click.option(
        "--timeout", type=click.FloatRange(min=0.1), metavar="SECONDS", help="How long to wait for it."
    )
    return journey_options(option(function))


@click.group(
    cls=Verbs,
    epilog=EXIT_CODES,
    subcommand_metavar="VERB [PAIR]",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "-i",
    "--inventory",
    metavar="FILE",
    help="The inventory; by default ./inventory.yaml, then /etc/mailmirror/inventory.yaml.",
)
@style_option
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.version_option(__version__, prog_name="mailmirror", message="%(prog)s %(version)s")
@click.pass_obj
def group(front: Front, inventory: str | None, debug: bool) -> None:
    """Keep a mail server's mirror true, move its users there when it is lost, and bring them home."""
    front.inventory_path, front.debug = inventory, debug


COMPLETES = "_MAILMIRROR_COMPLETE"
"""What the lines of `mailmirror completion` set when they ask."""


def run(argv: list[str], front: Front | None = None) -> int:
    """Do what the command line says; the exit code."""
    front = front or Front()
    if asked := os.environ.get(COMPLETES):
        return shell_complete(group, {"obj": front}, "mailmirror", COMPLETES, asked)
    try:
        # Not group.main: it would turn a broken pipe into exit code 1 before we see it.
        with group.make_context("mailmirror", list(argv), obj=front) as context:
            code = group.invoke(context)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as left:
        return left.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        sys.stdout.write(f"{error.format_message()}\n")
        return 0
    except click.ClickException as error:
        where = error.ctx if isinstance(error, click.UsageError) else None
        path = where.command_path if where else "mailmirror"
        _show(front, words.failure(error.format_message(), f"See `{path} --help`."))
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        sys.stderr.write("\n")
        return 130
    except BrokenPipeError:
        words.abandon_stdout()
        return 141
    except MailmirrorError as error:
        _show(front, words.failure(str(error), error.remedy))
        return error.exit_code
    except Exception as error:  # noqa: BLE001  # the front door: whatever it is, a person gets a sentence
        _show(front, words.failure(f"an unexpected {type(error).__name__}: {error}", MailmirrorError.default_remedy))
        return 1


def _show(front: Front, sentence: str) -> None:
    if front.debug:
        traceback.print_exc()
    sys.stderr.write(sentence)
