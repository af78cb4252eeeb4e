"""Coverage of the product's code where a root's own Python runs it, which has neither our packages nor environment.

`begin()` is Python's own text, to be put before a program's code; the program calls `measured()` when it is about to
end in a way that runs no exit functions (os._exit). Both do nothing where the suite isn't measured.

Invariant: nothing but `coverage` itself is lent to the root, so that a package missing there stays missing.
"""

from __future__ import annotations

import os
from pathlib import Path

import coverage

HOUSE, LENT = "/house", "/measuring"
"""Where the checkout and the package stand in the root."""
_NOTHING = "def measured():\n    pass\n"
_BEGIN = f"""
import sys
sys.path.append({LENT!r})
import coverage
_told = coverage.Coverage(
    data_file="{HOUSE}/.coverage", data_suffix=True, branch=True, source=["{HOUSE}/orchestrator"], config_file=False,
)
_told.start()
def measured():
    _told.stop()
    _told.save()
import atexit
atexit.register(measured)
"""


def on() -> bool:
    """Whether the suite is measured, its child processes included."""
    return "COVERAGE_PROCESS_CONFIG" in os.environ


def binds() -> list[tuple[str | Path, str | Path]]:
    """What a root has to be lent, as of `image.Root`."""
    return [(Path(coverage.__file__).parent, f"{LENT}/coverage")] if on() else []


def begin() -> str:
    """The text; see above."""
    return _BEGIN if on() else _NOTHING
