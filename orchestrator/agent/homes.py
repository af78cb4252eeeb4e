"""Where each guard of a host has its things: settings, key, code, register, socket and unit.

The first guard of a host lies in the plain places, as the one of a mail host always does. Each further one, which only
a witness of several pairs has, lies in directories named after its pair, with a unit of its own. One that nobody
installed, beside an agent that was started by hand, has a single directory for all (`mailmirror-agent --guard`).

Pure. Invariant: two guards of a host share nothing but the name of the command `mailmirror-guard`.
"""

from __future__ import annotations

import os
from typing import NamedTuple

ETC, LIB, STATE, RUN = "/etc/mailmirror", "/usr/lib/mailmirror", "/var/lib/mailmirror-guard", "/run/mailmirror-guard"
PAIRS = "pairs"
"""Below each of the first three: a directory per further pair."""


class Home(NamedTuple):
    """`named`: the pair after which it is named; "" for the plain one. `alone`: the directory that holds all of it,
    instead of the system's. All else are paths, but for `unit`.
    """

    named: str = ""
    alone: str = ""

    def _below(self, top: str) -> str:
        if self.alone:
            return self.alone
        return f"{top}/{PAIRS}/{self.named}" if self.named else top

    @property
    def settings(self) -> str:
        return self._below(ETC) + "/guard.json"

    @property
    def key(self) -> str:
        return self._below(ETC) + "/guard.key"

    @property
    def code(self) -> str:
        return self._below(LIB) + "/code"

    @property
    def program(self) -> str:
        """What systemd starts."""
        return self._below(LIB) + "/guard"

    @property
    def state(self) -> str:
        return self._below(STATE)

    @property
    def run(self) -> str:
        return self.alone or (f"{RUN}@{self.named}" if self.named else RUN)

    @property
    def unit(self) -> str:
        return os.path.basename(self.run) + ".service"


PLAIN = Home()
