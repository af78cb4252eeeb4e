"""A site whose daemon decides: its inventory changed, its state asked and waited for, by what an operator types.

Invariant: it asks the command line on the controller's host, and nothing else.
"""

from __future__ import annotations

import json
from typing import Any

import yaml

from tests.lab import plan, product
from tests.lab.files import File
from tests.lab.following import is_live
from tests.lab.guarded import INVENTORY
from tests.lab.site import Site
from tests.lab.waiting import until


def lay(site: Site, **variables: Any) -> None:
    """These variables in the inventory, and a daemon that has read it."""
    described = yaml.safe_load(site.mirror.path(INVENTORY).read_text())
    described["mailmirror"]["vars"] |= variables
    site.mirror.lay({INVENTORY: yaml.safe_dump(described, sort_keys=False)})
    site.mirror.systemctl("restart", product.UNIT)
    until(lambda: is_live(site), within=30, what="it follows live")


def decide(site: Site, **variables: Any) -> None:
    """With all that a failover's readiness asks for, and these variables."""
    canary = site.users[-1]
    site.mirror.lay({"/etc/mailmirror/canary": File(canary.password, 0o600)})
    lay(
        site,
        mm_canary={"address": canary.address, "password": {"file": "/etc/mailmirror/canary"}, "every": "5s"},
        mm_references=[f"{plan.SEATS['nameserver'].address}:53", f"{plan.SEATS['client'].address}:9"],
        **variables,
    )


def pair(site: Site) -> dict[str, Any]:
    [told] = json.loads(site.mirror.run("mailmirror status --format json"))["pairs"]
    return dict(told)


def become(site: Site, state: str, within: float = 40.0) -> dict[str, Any]:
    """Waits until the pair is in that state; what is told of it."""

    def told() -> dict[str, Any] | None:
        found = pair(site)
        return found if found["state"] == state else None

    try:
        found = until(told, within=within, every=0.2)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{site.mirror.run('mailmirror status; mailmirror explain')}") from error
    assert found is not None
    return found


def shell(site: Site, *words: str) -> str:
    return site.mirror.run(["mailmirror", *words])
