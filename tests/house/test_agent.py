"""The agent ships alone to hosts that have Python 3.9 and nothing else."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.house import source

pytestmark = pytest.mark.issue("2.4 standard library only, Python 3.9 syntax and calls held by vermin")


def test_it_imports_only_the_standard_library_and_itself() -> None:
    foreign = [
        f"{source.at(path, node)} {name}"
        for path in source.modules("orchestrator/agent")
        for node, name in source.imports(source.tree(path))
        if not _allowed(name)
    ]
    source.expect_none(foreign, "the agent imports the standard library and itself")


def _allowed(name: str) -> bool:
    """One dot is a neighbour in the agent; two would be the house."""
    if name.startswith("."):
        return not name.startswith("..")
    return name.split(".")[0] in sys.stdlib_module_names


def test_its_syntax_is_that_of_python_3_9() -> None:
    for path in source.modules("orchestrator/agent"):
        ast.parse(source.text(path), str(path), feature_version=(3, 9))


def test_annotations_are_never_evaluated() -> None:
    """`X | None` in an annotation is 3.10 at run time; with this import it is only text."""
    eager = [
        source.short(path)
        for path in source.modules("orchestrator/agent")
        if path.name != "__init__.py" and "from __future__ import annotations" not in source.text(path)
    ]
    source.expect_none(eager, "from __future__ import annotations")


def test_vermin_finds_nothing_newer_than_python_3_9() -> None:
    command = [
        sys.executable,
        "-c",
        "import vermin; vermin.main()",
        "--no-tips",
        "--violations",
        "--target=3.9-",
        str(source.AGENT),
    ]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
