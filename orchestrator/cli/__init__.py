"""The front door: one file a verb, loaded when it is typed.

    fast      asks the running daemon, before anything heavy is imported
    front     the click group, global options, and errors turned into sentences
    reach     a pair's lock and session, or else the daemon
    words     what is printed, from the JSON that `--format json` shows
    progress  how far a pass is
    VERB      a click command named `command`

Invariant: importing this package costs nothing; how long a command takes to start is part
of the product. Exit codes stand in `front`.
"""

from __future__ import annotations

import importlib
import sys

from orchestrator.cli import fast


def main() -> None:
    """The entry point `mailmirror`. Ends the process with the verb's exit code."""
    code = fast.answer(sys.argv[1:])
    if code is None:
        code = importlib.import_module("orchestrator.cli.front").run(sys.argv[1:])
    sys.exit(code)
