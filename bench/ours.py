"""mailmirror, driven only by its command line and an inventory file, like any user would.

Invariant: nothing of the product is imported here. The near side is the mirror and runs the controller, its agent is a
child process; the source is reached by ssh. The agent's and the controller's state lie on the near file system, which
pays for their durability.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.arrange import Endpoint, Site

PAIR = "bench"
INVENTORY = """\
mailmirror:
  children:
    {pair}:
      vars:
        mm_stores: [{sink}]
        mm_services: {{}}
        mm_state_dir: {state}
      hosts:
        source:
          mm_place: primary
          mm_stores: [{source}]
          ansible_host: {address}
          ansible_port: {port}
          ansible_user: {user}
          ansible_ssh_private_key_file: {key}
          mm_known_hosts: {known}
        copy:
          mm_place: mirror
          ansible_connection: local
"""


@dataclass(slots=True)
class Mailmirror:
    """The product as a peer: `init` once, then `sync`."""

    name: str = "mailmirror"
    binary: str = ""
    raised: bool = True
    mtime_unit: int = 1
    inventory: Path = Path()

    def prepare(self, site: Site, endpoint: Endpoint) -> None:
        """Write the inventory and lay the store markers down. Raises RuntimeError with what `init` said."""
        self.inventory = site.space / "inventory.yaml"
        filled = INVENTORY.format(
            pair=PAIR,
            sink=site.sink,
            source=site.source,
            state=site.disk / "controller",
            address=endpoint.address,
            port=endpoint.port,
            user=endpoint.user,
            key=endpoint.key,
            known=endpoint.known_hosts,
        )
        self.inventory.write_text(filled)
        self.ask(site, "init", PAIR)

    def command(self, site: Site) -> list[str]:
        """Return a one-shot pass; while `run` holds the pair the same command asks the daemon."""
        return self.verb(site, "sync", PAIR)

    def verb(self, site: Site, *words: str) -> list[str]:
        """Return the command line of any verb."""
        return site.near([sys.executable, "-m", "orchestrator", "-i", str(self.inventory), *words])

    def ask(self, site: Site, *words: str) -> str:
        """Run a verb, unmeasured, and return what it printed. Raises RuntimeError when it fails."""
        done = subprocess.run(self.verb(site, *words), capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            raise RuntimeError(f"mailmirror {' '.join(words)}: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def says_equal(self, site: Site) -> bool:
        """Ask `verify` whether both ends' digests agree."""
        reports = json.loads(self.ask(site, "verify", PAIR, "--format", "json"))
        return bool(reports) and all(report.get("equal", False) for report in reports)
