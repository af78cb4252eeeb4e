"""The site that tests share: booted once, and made whole again after a test that broke something."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.machine import Trace
from tests.lab.site import EVERYBODY, Site
from tests.support import require


@pytest.fixture(scope="session")
def machine_before() -> Trace:
    """What the machine looked like before any host was booted."""
    require.hosts()
    return Trace.taken()


@pytest.fixture(scope="session")
def site(machine_before: Trace) -> Iterator[Site]:
    """Six hosts. A test that breaks something asks for `fragile_site` instead."""
    with Site(EVERYBODY) as built:
        took = built.boot()
        print(f"booted: {', '.join(f'{place} {seconds:.1f} s' for place, seconds in took.items())}")
        yield built


@pytest.fixture
def fragile_site(site: Site) -> Iterator[Site]:
    """The same site, mended after the test."""
    yield site
    site.mend()
