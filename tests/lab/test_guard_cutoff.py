"""An installation of the guard, or its removal, that is killed at any act: what is left is taken away whole."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.lab import product
from tests.lab.site import PAIR, Site
from tests.support import require, seeds

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("guards")]

EVERY = 6
ERRAND = """
import sys
from orchestrator.inventory.load import load
from orchestrator.records import pairkey
from orchestrator.remote import guarding, install
[pair] = load("/etc/mailmirror/inventory.yaml").pairs.values()
really, dying = install._words, sys.argv[2:]
def words(python, script):
    *first, text = really(python, script)
    return [*first, dying[0].replace("AT", dying[1]) + text] if dying else [*first, text]
install._words = words
if sys.argv[1] == "install":
    guarding.install(pair, pair.mirror, pairkey.key(pair.state_dir, pair.name))
else:
    guarding.remove(pair, pair.mirror, even_active=True)
"""
DYING = """
import os, signal, subprocess
count = 0
def wrap(module, name, counts):
    real = getattr(module, name)
    def wrapped(*a, **k):
        global count
        if counts(a[0]):
            if count == AT:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1
        return real(*a, **k)
    setattr(module, name, wrapped)
for name in ("rename", "unlink", "rmdir", "mkdir", "symlink"):
    wrap(os, name, lambda path: "/.new/" not in str(path) and "/tmp/" not in str(path) and "/code/" not in str(path))
wrap(subprocess, "run", lambda words: {"daemon-reload", "restart", "stop", "-e", "-X"} & set(words))
"""
"""Kills the installer before an act of its own: a name made or removed outside the code's directory, a command."""
ETC = "find /etc -printf '%p %y %m %U %G %l\\n' | sort; find /etc -type f -exec sha256sum {} + | sort"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    require.hosts()
    with Site(PAIR, users=1) as built:
        built.boot()
        built.mirror.run("mailmirror init --yes", timeout=60)
        yield built


@pytest.mark.issue(
    "4.2 agent install, agent remove: cut off at any act, what is left is taken away whole; /etc as it was"
)
@pytest.mark.parametrize("verb", ["install", "remove"])
def test_what_was_cut_off_is_taken_away_whole(site: Site, verb: str) -> None:
    """Every sixth act, from one that is drawn."""
    mirror = site.mirror

    def errand(word: str, *dying: str) -> str:
        done = mirror.attempt([product.PYTHON, "-c", ERRAND, word, *dying], timeout=60)
        return done.stderr if done.returncode else ""

    assert errand("remove") == ""
    before = mirror.run(ETC)
    for at in range(random.Random(seeds.drawn(f"cut off {verb}")).randrange(EVERY), 200, EVERY):
        if verb == "remove":
            assert errand("install") == ""
        lived = errand(verb, DYING, str(at)) == ""
        assert errand("remove") == "", f"after act {at}"
        left = set(mirror.run(ETC).splitlines()) ^ set(before.splitlines())
        assert not left, f"after act {at}"
        assert mirror.run("ls -A /var/lib/mailmirror-guard").split() in ([], ["lost+found"])
        assert mirror.attempt("ls /usr/lib/mailmirror /usr/local/sbin/mailmirror-guard").stdout == ""
        if lived:
            assert at > 5
            return
    raise AssertionError("it has more acts than were tried")
