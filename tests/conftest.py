"""What every test gets: mounts of its own process, settings for random tests, and an eye on what is left behind.

Invariant: as root, whatever a test mounts is mounted in a namespace of this process and vanishes with it, also after
SIGKILL; the machine's own mount table stays as it was. No test leaves the default state directory behind, nor hears of
the developer's SSH agent or inventory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# Their assertions tell what they compared, too; said before they are imported.
pytest.register_assert_rewrite("tests.support", "tests.lab")

from tests.support import kernel  # noqa: E402

_REFUSED = pytest.StashKey[str]()
_DEFAULT_STATE = (Path("/var/lib/mailmirror-agent"), Path("/var/lib/mailmirror"), Path("/etc/mailmirror"))

# No deadline: other tests run beside these. A failure prints how to reproduce it (print_blob), and the seed is in it.
# In CI the examples are always the same, as in the library's own profile for CI: what it says depends on the change.
hypothesis.settings.register_profile(
    "house", deadline=None, print_blob=True, derandomize=os.environ.get("CI") == "true"
)
hypothesis.settings.load_profile("house")


def pytest_configure(config: pytest.Config) -> None:
    for name in [name for name in os.environ if name.startswith("MAILMIRROR_") and name != "MAILMIRROR_IMAGE_DIR"]:
        del os.environ[name]
    os.environ.pop("SSH_AUTH_SOCK", None)
    if os.geteuid() != 0:
        return
    try:
        kernel.unshare(kernel.CLONE_NEWNS)
        kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    except PermissionError as refused:
        config.stash[_REFUSED] = str(refused)


def pytest_report_header(config: pytest.Config) -> str | None:
    refused = config.stash.get(_REFUSED, None)
    return f"mounts: not private ({refused}); tests with the marker lab won't run" if refused else None


@pytest.fixture(scope="session", autouse=True)
def machine_stays_clean() -> Iterator[None]:
    """A test that forgets to name a state directory writes into the machine's own: that fails the run."""
    before = [path.exists() for path in _DEFAULT_STATE]
    yield
    assert [path.exists() for path in _DEFAULT_STATE] == before, f"a test wrote into one of {_DEFAULT_STATE}"
