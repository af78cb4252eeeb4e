"""What the house rules look at: the project's own files, read and parsed once."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PRODUCT = CHECKOUT / "orchestrator"
AGENT = PRODUCT / "agent"


def modules(*rooms: str) -> list[Path]:
    """Every Python file below the given top-level directories, by default all that the project writes."""
    places = [CHECKOUT / room for room in rooms or ("orchestrator", "tests", "bench")]
    return sorted(path for place in places for path in place.rglob("*.py"))


def documents() -> list[Path]:
    """What people read or configure: Markdown, YAML, units, the Makefile, setup.cfg and its neighbours."""
    kinds = {".md", ".yaml", ".yml", ".service", ".timer", ".cfg", ".toml", ".txt"}
    rooms = [CHECKOUT / name for name in ("docs", "deploy", "playbooks", ".ci", "bench", "tests")]
    found = [path for path in CHECKOUT.iterdir() if path.suffix in kinds or path.name == "Makefile"]
    found += [path for room in rooms for path in room.rglob("*") if path.suffix in kinds or path.name == "run"]
    return sorted(path for path in found if path.is_file())


@functools.cache
def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(text(path), str(path))


def expect_none(found: Iterable[object], rule: str) -> None:
    """Fails with one line for each thing that breaks the rule."""
    lines = [str(thing) for thing in found]
    if lines:
        pytest.fail("\n".join([f"{len(lines)} break the rule: {rule}", *lines]), pytrace=False)


def short(path: Path) -> str:
    """The path as people say it."""
    return str(path.relative_to(CHECKOUT))


def at(path: Path, node: ast.AST) -> str:
    return f"{short(path)}:{getattr(node, 'lineno', 1)}"


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def imports(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Each import below `node` with the absolute or relative name of its module."""
    for found in ast.walk(node):
        if isinstance(found, ast.Import):
            yield from ((found, name.name) for name in found.names)
        elif isinstance(found, ast.ImportFrom):
            yield found, "." * found.level + (found.module or "")
