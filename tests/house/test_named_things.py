"""Each thing that the order names has a test that says so (tests/house/named_things.txt)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.house import source

OWED = source.CHECKOUT / "tests/house/named_things_owed.txt"
LIST = source.CHECKOUT / "tests/house/named_things.txt"


@dataclass(frozen=True)
class Thing:
    item: str
    words: str

    def is_named_by(self, mark: str) -> bool:
        item, _, rest = mark.partition(" ")
        return item == self.item and all(word in rest.lower() for word in self.words.lower().split())


def things() -> list[Thing]:
    lines = [line for line in source.text(LIST).splitlines() if line.strip() and not line.startswith("#")]
    return [Thing(item.strip(), words.strip()) for item, _, words in (line.partition("|") for line in lines)]


def marks() -> Iterator[tuple[str, str]]:
    """Each (place, text) of pytest.mark.issue("...") in a test module, found without importing it."""
    for path in source.modules("tests"):
        if not path.name.startswith("test_"):
            continue
        for node in ast.walk(source.tree(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "issue":
                for argument in node.args:
                    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                        yield source.at(path, node), argument.value


@pytest.mark.issue("2.P each named thing has a test marked with its number")
def test_each_named_thing_has_a_test() -> None:
    named = [text for _, text in marks()]
    missing = {f"{t.item} | {t.words}" for t in things() if not any(t.is_named_by(text) for text in named)}
    owed = {line for line in source.text(OWED).splitlines() if line.strip() and not line.startswith("#")}
    source.expect_none(sorted(missing - owed), "each named thing has a test that is marked with it")
    source.expect_none(sorted(owed - missing), "what is proven by now is taken off the list of what is owed")


def test_each_mark_names_an_item_of_the_order() -> None:
    items = {thing.item for thing in things()} | {"2.R"}
    astray = [f"{place} {text!r}" for place, text in marks() if text.partition(" ")[0] not in items]
    source.expect_none(astray, "a mark begins with an item of the order, 2.1 to 2.8 or 2.P")


def test_a_missing_thing_would_be_found() -> None:
    assert Thing("2.5", "delete firewall").is_named_by("2.5 the delete firewall holds")
    assert not Thing("2.5", "delete firewall").is_named_by("2.6 the delete firewall holds")
    assert not Thing("2.5", "delete firewall").is_named_by("2.5 the firewall holds")
