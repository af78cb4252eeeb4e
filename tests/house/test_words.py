"""Two vocabularies, never mixed: places are fixed for life, roles move; and no name that says nothing."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

from tests.house import source

# Spelled in halves, so that this file passes its own test.
NOT_USED = {
    front + back + plural
    for front, back in (
        ("mas", "ter"),
        ("sla", "ve"),
        ("stand", "by"),
        ("back", "up"),
        ("mana", "ger"),
        ("hand", "ler"),
        ("hel", "per"),
        ("ut", "il"),
        ("mi", "sc"),
        ("com", "mon"),
    )
    for plural in ("", "s")
}
RULE = "the words of places and roles only, and none that says nothing (not used: see NOT_USED)"
# Names that others chose: of libraries, files and programs.
OTHERS = re.compile(
    r"context ?managers?|asynccontextmanager|AbstractContextManager|os\.path\.common\w+|email\.utils|importlib\.util"
    r"|[Dd]ovecot(?:'s)? master|master\.(?:cf|pid)|auth-master|doveadm backup|dsync backup|rsync(?:'s)? --backup"
    r"|\w*Handler\b|\bhandlers?\b(?==)|signal handlers?|logging\.handlers|common-licenses|fence-agents-common"
    r"|commonLabels|commonAnnotations"
    r"|\[Manager\]|bind9-utils|link set \S+ master",
)


def _words(text: str) -> set[str]:
    """The words of a text or an identifier: split at underscores and at humps, in lower case."""
    plain = OTHERS.sub(" ", text)
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", plain)} & NOT_USED


def test_names_that_we_give() -> None:
    bad = [
        f"{source.at(path, node)} {name}"
        for path in source.modules()
        for node, name in _given(source.tree(path))
        if _words(name)
    ]
    source.expect_none(bad, RULE)


def _given(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node, node.name
        elif isinstance(node, ast.arg):
            yield node, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node, node.attr


def test_names_of_files() -> None:
    names = [source.short(path) for path in [*source.modules(), *source.documents()]]
    source.expect_none([name for name in names if _words(name)], RULE)


def test_comments_docstrings_and_messages() -> None:
    this = source.CHECKOUT / "tests/house/test_words.py"  # it has to name what others named
    bad = [f"{place} {found}" for path in source.modules() if path != this for place, found in _spoken(path)]
    source.expect_none(bad, RULE)


_SPOKEN = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}


def _spoken(path: Path) -> Iterator[tuple[str, set[str]]]:
    for token in tokenize.generate_tokens(io.StringIO(source.text(path)).readline):
        if token.type in _SPOKEN and (found := _words(token.string)):
            yield f"{source.short(path)}:{token.start[0]}", found


def test_documents() -> None:
    """In Markdown `code` is quoted from elsewhere, and may name what others call it."""
    bad = []
    for path in source.documents():
        for number, line in enumerate(source.text(path).splitlines(), 1):
            found = _words(re.sub(r"`[^`]*`", " ", line) if path.suffix == ".md" else line)
            if found:
                bad.append(f"{source.short(path)}:{number} {found}")
    source.expect_none(bad, RULE)
