"""A small store that the generator made, shared by this folder's tests."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench import tree
from bench.tree import Shape, Tree

SMALL = Shape(messages=400, accounts=3, mean=2500)


@dataclass
class Made:
    """A store on disk and what the generator says of it."""

    root: Path
    tree: Tree
    rng: random.Random


@pytest.fixture
def made(tmp_path: Path) -> Made:
    root = tmp_path / "store"
    return Made(root, tree.generate(root, SMALL, 11), random.Random(11))


def files(root: Path) -> dict[str, bytes]:
    """Return every file below the root by its relative path."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def uidlist(path: Path) -> tuple[int, list[tuple[int, str]]]:
    """Read a uidlist of version 3 strictly: its next UID (an appended row may lie above it) and its rows."""
    head, *lines = path.read_text().splitlines()
    words = head.split(" ")
    assert words[0] == "3" and {word[0] for word in words[1:]} == {"V", "N", "G"}
    rows = [(int(line.split(" :", 1)[0]), line.split(" :", 1)[1]) for line in lines]
    uids = [uid for uid, _ in rows]
    assert uids == sorted(set(uids))
    return max(int(next(word for word in words if word[0] == "N")[1:]), (uids or [0])[-1] + 1), rows
