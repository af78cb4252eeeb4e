"""`mailmirror completion SHELL`: what a shell's start-up file reads, so that it completes verbs, options and pairs.

The shell asks this command itself, with the words that are typed so far; see `front.run`.
"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from orchestrator.cli.front import COMPLETES, group
from orchestrator.errors import UsageError


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the lines for SHELL.

    \b
    bash   mailmirror completion bash > /etc/bash_completion.d/mailmirror
    zsh    mailmirror completion zsh > /usr/share/zsh/vendor-completions/_mailmirror
    fish   mailmirror completion fish > /etc/fish/completions/mailmirror.fish
    """
    found = get_completion_class(shell)
    if found is None:
        raise UsageError(f"This click knows no {shell}.", remedy="Update click.")
    click.echo(found(group, {}, "mailmirror", COMPLETES).source())
