"""mailmirror: an active-passive mirror for ordinary mail servers.

The command is `mailmirror`; the rooms of this package and the floors between them
are drawn in ARCHITECTURE.md and held by import-linter (`setup.cfg`).
"""

__version__ = "0.1.0"
