"""The shape of a module: explained, small, honest about errors, and imported at its top."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.house import source

MODULE_LINES = 450
FUNCTION_LINES = 60
# Its text is an argument of `python3 -c`: comments cost it nothing, a docstring does.
SHIPPED_TEXT = {"orchestrator/remote/loader.py"}


def test_every_module_says_what_it_is() -> None:
    silent = [
        source.short(path)
        for path in source.modules()
        if source.text(path).strip()
        and source.short(path) not in SHIPPED_TEXT
        and not ast.get_docstring(source.tree(path))
    ]
    source.expect_none(silent, "every module has a docstring")


def test_no_module_is_longer_than_a_sitting() -> None:
    lengths = {source.short(path): len(source.text(path).splitlines()) for path in source.modules()}
    long = [f"{name}: {lines} lines" for name, lines in lengths.items() if lines > MODULE_LINES]
    source.expect_none(long, f"a module has at most {MODULE_LINES} lines")


def test_no_function_is_longer_than_a_screen() -> None:
    long = [
        f"{source.at(path, function)} {function.name}: {lines} lines"
        for path in source.modules()
        for function in source.functions(path)
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES
    ]
    source.expect_none(long, f"a function has at most {FUNCTION_LINES} lines")


def test_no_exception_is_swallowed() -> None:
    """An `except` whose body is only `pass` or `...` hides what went wrong; name the case or let it fly."""
    swallowed = [
        source.at(path, node)
        for path in source.modules()
        for node in ast.walk(source.tree(path))
        if isinstance(node, ast.ExceptHandler) and all(_does_nothing(statement) for statement in node.body)
    ]
    source.expect_none(swallowed, "no except whose body does nothing")


def _does_nothing(statement: ast.stmt) -> bool:
    empty = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return isinstance(statement, ast.Pass) or empty


def test_the_house_is_imported_at_the_top_of_a_module() -> None:
    """The command line loads its verbs late, so that `--help` is quick, and the agent its probes: by importlib."""
    hidden = [
        f"{source.at(path, node)} {name}"
        for path in source.modules("orchestrator")
        for function in source.functions(path)
        for node, name in source.imports(function)
        if name.startswith((".", "orchestrator"))
    ]
    source.expect_none(hidden, "no import of the house inside a function")


def test_only_the_command_line_and_the_demo_print() -> None:
    """What runs unattended logs; print would land in nobody's terminal, or inside the agent's protocol."""
    printing = [
        source.at(path, node)
        for path in source.modules("orchestrator")
        if path.relative_to(source.PRODUCT).parts[0] not in ("cli", "demo")
        for node in ast.walk(source.tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    source.expect_none(printing, "no print outside cli and demo")


def test_types_are_silenced_only_a_counted_few_times() -> None:
    silenced = [
        f"{source.short(path)}:{number}"
        for path in source.modules("orchestrator")
        for number, line in enumerate(source.text(path).splitlines(), 1)
        if "type: ignore" in line or "pragma: no cover" in line
    ]
    assert len(silenced) <= 20, silenced


@pytest.mark.parametrize("library", ["paramiko"])
def test_only_the_ssh_door_imports_the_ssh_library(library: str) -> None:
    """As import-linter says it too; the demo has the server's side, which the product never is."""
    doors = {source.short(path) for path in source.modules("orchestrator") if library in _libraries(path)}
    assert {door for door in doors if not door.startswith("orchestrator/demo/")} == {"orchestrator/remote/ssh.py"}


def _libraries(path: Path) -> set[str]:
    """What is imported at run time: by a statement outside `if TYPE_CHECKING`, or late, by importlib."""
    for_types = {
        imported
        for node in ast.walk(source.tree(path))
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for imported in ast.walk(node)
    }
    named = {name for node, name in source.imports(source.tree(path)) if node not in for_types}
    for node in ast.walk(source.tree(path)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
            named.add(ast.unparse(node.args[0]).strip("'"))
    return {name.split(".")[0] for name in named}
