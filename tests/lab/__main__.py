"""`make lab`: boots a site, runs mailmirror on it, and gives the operator a shell. See `tests.lab.shell`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from tests.lab import product, roots
from tests.lab.shell import Shell
from tests.lab.site import EVERYBODY, PAIR, Site
from tests.lab.waiting import until
from tests.support import require


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    parser.add_argument("--everybody", action="store_true", help="with a witness and an archive")
    parser.add_argument("--users", type=int, default=20, metavar="N", help="how many accounts (default: 20)")
    chosen = parser.parse_args()
    if missing := require.missing() or require.missing_for_hosts():
        print(f"the lab can't run here: {missing}", file=sys.stderr)
        return 69
    roots.privately()
    with Site(EVERYBODY if chosen.everybody else PAIR, users=chosen.users) as site:
        began = time.monotonic()
        print("booting ...", flush=True)
        took = ", ".join(f"{place} {seconds:.1f} s" for place, seconds in site.boot().items())
        print(f"booted in {time.monotonic() - began:.1f} s ({took})")
        print(site.mirror.run("mailmirror init"), end="")
        site.mirror.systemctl("start", product.UNIT)
        until(lambda: not asked(site)["stale"], within=30.0, what="the daemon answers")
        Shell(site).cmdloop()
        print("tearing down ...", flush=True)
    return 0


def asked(site: Site) -> dict[str, Any]:
    """What `mailmirror status` says; its exit code tells how the pair stands, which is of no concern here."""
    told: dict[str, Any] = json.loads(site.mirror.run("mailmirror status --format json || true"))
    return told


if __name__ == "__main__":
    sys.exit(main())
