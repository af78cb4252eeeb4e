"""The whole performance: build the site, play the acts, and leave nothing behind.

Invariant: however it ends (well, by a failed proof, by Ctrl-C, SIGTERM or SIGHUP) every process is ended and, unless
`keep` was said, the directory is gone before this returns.
"""

from __future__ import annotations

import random
import sys
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from smtplib import SMTPException
from typing import TextIO

from orchestrator.demo import interrupts
from orchestrator.demo.acts import play
from orchestrator.demo.control import tail
from orchestrator.demo.letters import Writer
from orchestrator.demo.product import Mailmirror
from orchestrator.demo.site import Site
from orchestrator.demo.stage import Stage
from orchestrator.demo.story import Story
from orchestrator.errors import ConfigError, MailmirrorError

FIRST_LETTER = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
LOG_LINES = 8


class DemoFailed(MailmirrorError):
    """A proof didn't hold, or something that it needs broke; the message says which, and what the logs end with."""


def perform(*, seed: int, keep: bool, out: TextIO = sys.stdout) -> None:
    """Errors: ConfigError (it can't be run here), DemoFailed; KeyboardInterrupt once all is cleaned up."""
    if find_spec("aiosmtpd") is None:
        raise ConfigError("the demo needs aiosmtpd, which isn't installed", remedy="pip install 'mailmirror[demo]'")
    story = Story(out)
    with interrupts.once(), ExitStack() as leaving:
        with interrupts.held():
            site = Site(Path(tempfile.mkdtemp(prefix="mailmirror-demo-")))
            leaving.callback(_leave, site, keep, story)
            leaving.callback(interrupts.ignore)
        story.title(f"mailmirror demo: a site on loopback, in {site.directory} (seed {seed})")
        try:
            site.start()
            product = Mailmirror(site.inventory, site.logs)
            play(Stage(site, product, story, Writer(seed, FIRST_LETTER), random.Random(seed)))
        except (MailmirrorError, OSError, ValueError, KeyError, SMTPException) as error:
            raise DemoFailed(f"the demo failed: {error}\n{_last_words(site)}", remedy=_where(site, keep)) from error
        story.say(f"{story.proofs} proofs held, in {story.seconds:.0f} s.")


def _leave(site: Site, keep: bool, story: Story) -> None:
    site.stop()
    if keep:
        story.say(f"kept: {site.directory}")
    else:
        site.remove()


def _last_words(site: Site) -> str:
    logs = sorted(site.logs.glob("*.log")) if site.logs.is_dir() else []
    return "\n".join(f"  {log.name} ends with\n{tail(log, LOG_LINES)}" for log in logs if log.stat().st_size)


def _where(site: Site, keep: bool) -> str:
    if keep:
        return f"Read {site.logs}; both mail trees stand beside it."
    return "Run `mailmirror demo --keep` to keep the logs and both mail trees."
