"""What is built and how: metadata, entry point, the wheel's contents, and what `make` promises."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.house import source


@pytest.fixture(scope="module")
def config() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read_string(source.text(source.CHECKOUT / "setup.cfg"))
    return parser


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from a copy so that the checkout stays as it is."""
    place = tmp_path_factory.mktemp("wheel")
    copy = place / "source"
    copy.mkdir()
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source.PRODUCT, copy / "orchestrator", ignore=ignored, symlinks=True)
    for name in ("playbooks", "deploy"):
        shutil.copytree(source.CHECKOUT / name, copy / name)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "inventory.yaml"):
        shutil.copy(source.CHECKOUT / name, copy)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(place), str(copy)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return zipfile.ZipFile(next(place.glob("mailmirror-*.whl")))


@pytest.mark.issue("2.1 setup.cfg has all metadata and the entry point mailmirror")
def test_the_metadata(config: configparser.ConfigParser) -> None:
    assert config["metadata"]["name"] == "mailmirror"
    assert config["metadata"]["license"] == "Apache-2.0"
    assert config["options"]["python_requires"] == ">=3.11"
    assert config["options.entry_points"]["console_scripts"].split() == ["mailmirror", "=", "orchestrator.cli:main"]


@pytest.mark.issue("2.1 pyproject minimal: the build and ruff, which reads nothing else")
def test_pyproject_holds_only_what_cannot_stand_in_setup_cfg() -> None:
    content = tomllib.loads(source.text(source.CHECKOUT / "pyproject.toml"))
    assert set(content) == {"build-system", "tool"}
    assert set(content["tool"]) == {"ruff"}


@pytest.mark.issue("2.1 ruff, mypy strict, branch coverage, floors by import-linter")
def test_the_tools_are_set_to_strict(config: configparser.ConfigParser) -> None:
    assert config["mypy"].getboolean("strict")
    assert config["coverage:run"].getboolean("branch")
    assert int(config["coverage:report"]["fail_under"]) >= 90
    assert config["importlinter:contract:floors"].getboolean("exhaustive")


def test_the_floors_name_only_rooms_that_exist(config: configparser.ConfigParser) -> None:
    named = re.findall(r"\w+", config["importlinter:contract:floors"]["layers"])
    rooms = {path.stem for path in source.PRODUCT.iterdir() if not path.name.startswith("__pycache__")}
    assert sorted(named) == sorted(rooms - {"__init__", "py", "playbooks"})


def test_every_library_has_a_lower_bound(config: configparser.ConfigParser) -> None:
    extras = " ".join(config["options.extras_require"].values())
    wanted = (config["options"]["install_requires"] + extras).split()
    assert [line for line in wanted if ">=" not in line] == []


@pytest.mark.xdist_group("wheel")
def test_the_wheel_has_the_agent_and_the_sample(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    modules = {source.short(path) for path in source.modules("orchestrator")}
    assert modules <= names
    assert any(name.endswith("share/mailmirror/inventory.yaml") for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    shipped = {name.rpartition("/")[2] for name in names if "share/mailmirror/systemd/" in name}
    assert shipped == {path.name for path in (source.CHECKOUT / "deploy/systemd").iterdir()}
    assert not [name for name in names if name.startswith(("tests/", "bench/"))]


@pytest.mark.issue("5.3 the playbooks travel with the wheel")
@pytest.mark.xdist_group("wheel")
def test_the_wheel_has_the_playbooks_and_their_runbooks(wheel: zipfile.ZipFile) -> None:
    shipped = {path.name: path.read_bytes() for path in (source.CHECKOUT / "playbooks").iterdir()}
    place = "orchestrator/playbooks/"
    packed = {name.removeprefix(place): wheel.read(name) for name in wheel.namelist() if name.startswith(place)}
    assert packed == shipped and len(shipped) == 12


@pytest.mark.issue("6.7 the wheel installs the man pages where man looks")
@pytest.mark.xdist_group("wheel")
def test_the_wheel_has_the_man_pages(wheel: zipfile.ZipFile) -> None:
    packed = {name.partition("/data/share/man/")[2]: wheel.read(name) for name in wheel.namelist() if "/man/" in name}
    pages = (source.CHECKOUT / "deploy/man").iterdir()
    assert packed == {f"man{path.suffix[1:]}/{path.name}": path.read_bytes() for path in pages} and len(packed) == 4


@pytest.mark.xdist_group("wheel")
def test_the_wheel_brings_the_command(wheel: zipfile.ZipFile) -> None:
    entries = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert wheel.read(entries).decode().split() == ["[console_scripts]", "mailmirror", "=", "orchestrator.cli:main"]


def _make(*words: str) -> str:
    command = ["make", *words]
    return subprocess.run(command, cwd=source.CHECKOUT, capture_output=True, text=True, check=True).stdout


@pytest.mark.issue("2.1 make help; make targets demo, test, check, bench")
def test_make_alone_prints_help() -> None:
    told = _make("--no-print-directory")
    for target in ("demo", "test", "check", "bench"):
        assert f"make {target}" in told


@pytest.mark.issue("2.1 .ci/run exports CI=true and calls make test, and make test includes make check")
def test_ci_is_make_test_and_nothing_else() -> None:
    script = source.CHECKOUT / ".ci/run"
    assert os.access(script, os.X_OK)
    lines = [line for line in source.text(script).splitlines() if line and not line.startswith("#")]
    assert lines[-2:] == ["export CI=true", "exec make test"] and len(lines) == 4
    plan = _make("-n", "test")
    for part in ("ruff check", "ruff format --check", "mypy", "lint-imports", "vermin", "pytest", "--cov"):
        assert part in plan


@pytest.mark.issue("2.7 python3-venv is installed with apt, or one line says what to type")
def test_make_says_what_to_type_where_venv_is_missing(tmp_path: Path) -> None:
    """A python3 without ensurepip, no sudo, not root: as a fresh Debian looks to an ordinary user."""
    told = _make_venv(tmp_path, 'case "$2" in *ensurepip*) exit 1;; esac\nexit 0\n', "id", "echo 1000\n")
    assert told.returncode != 0
    assert "python3-venv is missing; type: sudo apt-get install python3-venv" in told.stdout


def test_make_says_so_when_python_is_too_old(tmp_path: Path) -> None:
    told = _make_venv(tmp_path, "exit 1\n")
    assert told.returncode != 0
    assert "needs Python 3.11 or newer" in told.stdout


def _make_venv(place: Path, python: str, *others: str) -> subprocess.CompletedProcess[str]:
    """`make demo` with a python3 of our own and without sudo, in a directory where nothing is installed yet."""
    programs = place / "bin"
    programs.mkdir()
    scripts = ["python3", python, "sudo", "exit 1\n", *others]
    for name, script in zip(scripts[::2], scripts[1::2], strict=True):
        (programs / name).write_text("#!/bin/sh\n" + script)
        (programs / name).chmod(0o755)
    for name in ("Makefile", "setup.cfg", "pyproject.toml"):
        shutil.copy(source.CHECKOUT / name, place)
    environment = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(place)}
    return subprocess.run(["make", "demo"], cwd=place, env=environment, capture_output=True, text=True, check=False)
