"""The daemon's log: one sentence a line, with key=value behind it, on stderr.

Under systemd the lines carry a priority prefix instead of a time (sd-daemon(3)); elsewhere
the time stands in front. Invariant: at INFO no address's local part is logged; account
and folder names belong into `status`, which asks who may see it.
"""

from __future__ import annotations

import logging
import os
import sys

PRIORITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}
NOISY = ("paramiko", "apscheduler")
"""Libraries whose INFO is our DEBUG: they tell of every login and every job."""


class Prefixed(logging.Formatter):
    """`<6>sentence`, each line of a traceback with the same priority."""

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{PRIORITIES.get(record.levelno, 6)}>"
        return "\n".join(prefix + line for line in super().format(record).splitlines())


def under_systemd() -> bool:
    """Does the journal read our stderr ($JOURNAL_STREAM, systemd.exec(5))?"""
    try:
        found = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):  # no stderr, or one that is no file
        return False
    return os.environ.get("JOURNAL_STREAM", "") == f"{found.st_dev}:{found.st_ino}"


def configure(debug: bool) -> None:
    """Send the house's log to stderr from INFO on, from DEBUG on with `debug`."""
    output = logging.StreamHandler()
    if under_systemd():
        output.setFormatter(Prefixed("%(message)s"))
    else:
        output.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=[output], force=True)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.DEBUG if debug else logging.WARNING)
