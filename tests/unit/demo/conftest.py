"""One host behind its SSH server, for the whole room: starting it costs more than any test here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.demo.started import Started, ssh_host


@pytest.fixture(scope="package")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    with ssh_host(tmp_path_factory.mktemp("ssh")) as started:
        yield started
