"""After any sequence of changes each directory whose listing changed is named by a hint, or an overflow is told."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.agent.hint import Hint
from tests.contract import watched
from tests.contract.watched import KINDS, Site


@pytest.fixture(params=[pytest.param(kind, marks=[pytest.mark.lab] if "fan" in kind else []) for kind in KINDS])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with watched.site(request.param, tmp_path) as found:
        yield found


@pytest.mark.issue("2.5 fanotify and inotify tell what a mail server does")
@pytest.mark.parametrize("seed", range(4))
def test_every_directory_whose_listing_changed_is_named(site: Site, seed: int) -> None:
    print(f"seed {seed}")
    choices = random.Random(seed)
    before = listings(site.root)
    for _ in range(12):
        for _ in range(choices.randrange(1, 25)):
            random_change(site, choices)
            if choices.random() < 0.1:
                site.follow_all()  # An audit came by between the change and its event.
        found = site.drain()
        for hint in found:
            if hint.is_directory and hint.what in ("appeared", "overflow"):
                site.follow_all(os.path.join(hint.directory, hint.name))
        after = listings(site.root)
        changed = {path for path in after if after[path] != before.get(path)}
        assert not [path for path in changed if not named(path, found)], found
        before = after


def listings(root: Path) -> dict[bytes, frozenset[bytes]]:
    """Each directory's entries, without those of tmp."""
    base = os.fsencode(root)
    return {
        here[len(base) + 1 :]: frozenset(below + files)
        for here, below, files in os.walk(base)
        if os.path.basename(here) != b"tmp"
    }


def named(path: bytes, found: list[Hint]) -> bool:
    for hint in found:
        if hint.what == "overflow" or hint.directory == path:
            return True
        if hint.what == "appeared" and hint.is_directory:
            top = os.path.join(hint.directory, hint.name)
            if path == top or path.startswith(top + b"/"):
                return True
    return False


def random_change(site: Site, choices: random.Random) -> None:
    """One change that a mail server or an operator may make; what can't be done now isn't."""
    tree = listings(site.root)
    folders = sorted(path[:-4] for path in tree if path.endswith(b"/cur"))
    files = sorted(os.path.join(path, name) for path in tree for name in tree[path] - {b"tmp"} if name[:1] == b"f")
    fresh = b"%d" % choices.randrange(10**6)
    verb = choices.choice(["write", "write", "flag", "move", "unlink", "folder", "rename", "rename", "swap", "rmtree"])
    if verb == "folder" or not folders:
        top = b"ex.org/" + choices.choice([b"joe", b"ann", b"bob"])
        if not (site.root / os.fsdecode(top)).exists():
            site.folder(top)
        else:
            site.folder(top + b"/.F" + fresh)
    elif verb == "write":
        site.act("write", choices.choice(folders) + choices.choice([b"/cur/f", b"/new/f", b"/f"]) + fresh)
    elif verb == "flag" and files:
        file = choices.choice(files)
        site.act("rename", file, os.path.join(os.path.dirname(file), b"f" + fresh))
    elif verb == "move" and files:
        site.act("rename", choices.choice(files), choices.choice(folders) + b"/cur/f" + fresh)
    elif verb == "unlink" and files:
        site.act("unlink", choices.choice(files))
    elif verb == "rename":
        folder = choices.choice(folders)
        site.act("rename", folder, os.path.join(os.path.dirname(folder), b".R" + fresh))
    elif verb == "swap" and len(folders) > 1:
        one, two = choices.sample(folders, 2)
        if not (one.startswith(two + b"/") or two.startswith(one + b"/")):
            for source, target in ((one, b"../aside"), (two, one), (b"../aside", two)):
                site.act("rename", source, target)
    elif verb == "rmtree":
        site.act("rmtree", choices.choice(folders))
