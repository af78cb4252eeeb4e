"""A switchover on real hosts, typed as an operator types it: the users move, and nothing is lost on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.lab.guarded import answers, guarded_site, serves, status
from tests.lab.site import Site
from tests.support import require

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("guards")]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    require.hosts()
    with guarded_site() as site:
        yield site


def test_the_users_move_and_come_back(site: Site) -> None:
    told = site.mirror.attempt("mailmirror plan switchover", timeout=60)
    print(told.stdout, told.stderr)
    done = site.mirror.attempt("mailmirror switchover --yes --reason test --format json", timeout=200)
    print(done.stdout, done.stderr)
    assert json.loads(done.stdout)["state"] == "done"
    assert status(site.mirror)["role"] == "active" and status(site.primary)["role"] == "passive"
    assert serves(site, site.mirror) and not answers(site, site.primary)
    done = site.mirror.attempt("mailmirror failback --yes --reason test --format json", timeout=200)
    print(done.stdout, done.stderr)
    assert json.loads(done.stdout)["state"] == "done"
    assert serves(site) and not answers(site, site.mirror)
