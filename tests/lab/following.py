"""mailmirror on a site: started as an operator starts it, and waited for until both places are equal."""

from __future__ import annotations

from tests.lab import product
from tests.lab.site import Site
from tests.lab.waiting import until


def follow_live(site: Site) -> None:
    """Initialises the pair, starts the daemon and waits until it follows live."""
    site.mirror.run("mailmirror init")
    site.mirror.systemctl("start", product.UNIT)
    until(lambda: is_live(site), within=20, what="it follows live")


def is_live(site: Site) -> bool:
    return " live " in site.mirror.run("mailmirror status")


def become_equal(site: Site, *, deep: bool = True, within: float = 60) -> str:
    """Waits until `verify` says that both places are equal; what it says. AssertionError with that and the status."""
    told: list[str] = []

    def equal() -> bool:
        asked = site.mirror.attempt("mailmirror verify --deep" if deep else "mailmirror verify")
        told[:] = [asked.stdout + asked.stderr]
        return " is equal " in told[0]

    try:
        until(equal, within=within, every=0.3)
    except AssertionError as error:
        raise AssertionError(f"{told[0]}\n{site.mirror.attempt('mailmirror status').stdout}") from error
    return told[0]
