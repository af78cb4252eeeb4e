"""A site whose health mailmirror watches: the daemon on the mirror, the witness as the second observer."""

from __future__ import annotations

import json
from typing import Any

import yaml

from tests.lab import plan, product
from tests.lab.files import File
from tests.lab.following import follow_live
from tests.lab.host import Host
from tests.lab.site import PAIR, Site
from tests.lab.waiting import until

PLACES = (*PAIR, "witness")
_HISTORY = f"""import json, pathlib
from orchestrator.records import history
print(json.dumps(history.told(pathlib.Path("/var/lib/mailmirror"), {product.PAIR!r})))"""
INVENTORY = "/etc/mailmirror/inventory.yaml"


def watch(site: Site) -> None:
    """Has the site followed and watched: a canary account, references, services that may be restarted."""
    canary = site.users[-1]
    described: Any = product.inventory(PLACES)
    described["mailmirror"]["vars"] |= {
        "mm_probe": {"services": ["smtp", "submission", "imap"]},
        "mm_canary": {"address": canary.address, "password": {"file": "/etc/mailmirror/canary"}, "every": "5s"},
        "mm_references": [f"{plan.SEATS[place].address}:{port}" for place, port in (("nameserver", 53), ("client", 9))],
        "mm_restart": {"services": ["imap", "submission"]},
    }
    site.mirror.lay({INVENTORY: yaml.safe_dump(described), "/etc/mailmirror/canary": File(canary.password, 0o600)})
    site.mirror.run("mailmirror config check")
    follow_live(site)
    become(site, "HEALTHY")


def status(site: Site) -> dict[str, Any]:
    """The pair's status, with its health."""
    [pair] = json.loads(site.mirror.run("mailmirror status --format json"))["pairs"]
    return dict(pair)


def place(site: Site, name: str = "primary") -> dict[str, Any]:
    """What is told of one mail host."""
    return next(dict(each) for each in status(site)["health"]["places"] if each["place"] == name)


def become(site: Site, level: str, *, analysis: str = "", within: float = 60.0) -> dict[str, Any]:
    """Waits until the verdict on the primary is of this level, and what it is; returns what is told of it."""

    def told() -> dict[str, Any] | None:
        found = place(site)
        return found if found["level"] == level and found["analysis"].startswith(analysis) else None

    try:
        found = until(told, within=within, every=0.2)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{site.mirror.run('mailmirror status')}") from error
    assert found is not None
    return found


def history(host: Host) -> list[dict[str, Any]]:
    """The pair's orders and verdicts as the controller on that host keeps them, oldest first."""
    return list(json.loads(host.run([product.PYTHON, "-c", _HISTORY])))


def verdicts(site: Site, name: str = "primary") -> list[dict[str, Any]]:
    """Every verdict on a mail host that was kept."""
    return [each for each in history(site.mirror) if each["verb"] == "verdict" and each["place"] == name]
