"""The demo shows what an operator gets: it drives the product through its command line and inventory, nothing else."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from orchestrator import demo

MODULES = sorted(Path(demo.__file__).parent.glob("*.py"))
HOUSE = {"orchestrator.errors", "orchestrator.telemetry"}
EXCEPTED = {"smtpfront.py": {"orchestrator.agent"}}
"""A host's mail server asks its guard, by the guard's own client: it moves nobody and copies nothing."""
STARTERS = {"control.py", "guard.py", "product.py", "sshsession.py"}
COMMANDS = {
    "product.py": {"orchestrator.cli", "orchestrator.agent.guardtalk"},
    "guard.py": {"orchestrator.agent.guardtalk"},
}
"""The two command lines that an operator has: `mailmirror`, and `mailmirror-guard` on a host."""
FORBIDDEN_CALLS = {"__import__", "exec", "eval", "import_module", "run_module", "run_path", "system", "popen"}


def _imports(tree: ast.Module) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            base = node.module or ""
            found |= {f"{base}.{alias.name}" for alias in node.names} if base == "orchestrator" else {base}
    return found


def _own(name: str) -> bool:
    return name in HOUSE or name == "orchestrator.demo" or name.startswith("orchestrator.demo.")


@pytest.mark.issue("2.7 the demo drives only the command line")
@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_a_module_of_the_demo_imports_nothing_of_the_house_but_its_errors(path: Path) -> None:
    tree = ast.parse(path.read_text())
    house = {name for name in _imports(tree) if name.partition(".")[0] == "orchestrator"}
    assert {name for name in house if not _own(name)} == EXCEPTED.get(path.name, set())
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    names = {call.id if isinstance(call, ast.Name) else getattr(call, "attr", "") for call in calls}
    assert not names & FORBIDDEN_CALLS
    assert ("subprocess" in _imports(tree)) == (path.name in STARTERS)


@pytest.mark.issue("2.7 the demo drives only the command line")
@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_whatever_python_program_is_started_is_the_command_line_or_the_demos_own(path: Path) -> None:
    named = {
        node.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("orchestrator.")
    }
    foreign = {name for name in named if not _own(name)}
    assert foreign == COMMANDS.get(path.name, set())
