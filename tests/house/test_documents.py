"""What a stranger reads names nothing of the machine that it was written on."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tests.house import source

_PRIVATE = re.compile(r"(?<![\w.$)}])/(?:work|tmp/v|opt/pypi|root/\.pyenv)/|/home/(?!\*|user\b|vmail\b)\w+/|file:///")
_INDEX = re.compile(r"pypi\.org|pythonhosted\.org|pypi\.|deb\.debian\.org|archive\.ubuntu\.com|--(?:extra-)?index-url")


@pytest.mark.parametrize("pattern", [_PRIVATE, _INDEX], ids=["paths", "package indexes"])
def test_no_path_of_a_machine_and_no_package_index(pattern: re.Pattern[str]) -> None:
    this = source.CHECKOUT / "tests/house/test_documents.py"
    named = [
        f"{source.short(path)}:{number} {line.strip()[:80]}"
        for path in [*source.documents(), *source.modules()]
        if path != this
        for number, line in enumerate(source.text(path).splitlines(), 1)
        if pattern.search(line)
    ]
    source.expect_none(named, "public text names no path of a machine and no package index")


@pytest.mark.issue("2.1 README first screen: what it is, it running, two commands")
def test_the_first_screen_of_the_readme() -> None:
    screen = source.text(source.CHECKOUT / "README.md").splitlines()[:45]
    assert screen[0].startswith("# ")
    text = "\n".join(screen)
    assert "make demo" in text
    assert text.count("```") >= 2, "it shows no command and no output"
    assert re.search(r"Maildir", text) and re.search(r"mirror", text)


@pytest.mark.issue("2.1 ARCHITECTURE outline")
def test_the_architecture_follows_its_outline() -> None:
    """Ten chapters or fewer; floors, code map with invariants, disk formats, entry points are there."""
    text = source.text(source.CHECKOUT / "ARCHITECTURE.md")
    headings = " ".join(re.findall(r"^#+ (.*)$", text, re.MULTILINE)).lower()
    for word in ("floors", "code map", "on disk", "cross-cutting", "entry points"):
        assert word in headings
    assert text.count("**Invariant:**") >= 5
    rooms = [path.name for path in source.PRODUCT.iterdir() if path.is_dir() and path.name != "__pycache__"]
    assert [room for room in rooms if f"`{room}/`" not in text and f"{room}/" not in text] == []


@pytest.mark.parametrize("name", ["ARCHITECTURE.md", "CHANGELOG.md", "README.md"])
def test_no_sentence_stands_twice(name: str) -> None:
    """Two changes of one paragraph, brought together carelessly, leave both of them there."""
    words = source.text(source.CHECKOUT / name).split()
    runs = Counter(tuple(words[at : at + 9]) for at in range(len(words) - 8))
    source.expect_none([" ".join(run) for run, count in runs.items() if count > 1], "a document says a thing once")


@pytest.mark.issue("2.1 CHANGELOG")
def test_the_changelog_has_the_version_that_is_being_made() -> None:
    text = source.text(source.CHECKOUT / "CHANGELOG.md")
    assert re.search(r"^## (Unreleased|\d+\.\d+\.\d+)", text, re.MULTILINE)


@pytest.mark.issue("2.1 licence Apache-2.0")
def test_the_licence_is_apache_2() -> None:
    text = source.text(source.CHECKOUT / "LICENSE")
    assert "Apache License" in text and "Version 2.0, January 2004" in text
