"""The agent is shipped once, is what was asked for, and what a host says instead is told."""

from __future__ import annotations

import ast
import json
import os
import shlex
import sys
import zlib
from pathlib import Path

import pytest

from orchestrator import agent
from orchestrator.errors import HostUnreachable
from orchestrator.remote import bootstrap
from orchestrator.remote.bootstrap import Archive, command, greet, pack
from orchestrator.remote.host import Conversation
from orchestrator.remote.lines import ChildLine
from orchestrator.remote.loader import MARK

TOY = (Path(__file__).parents[2] / "support" / "toy_agent.py").read_text()


def toy_code(version: str = "") -> Archive:
    """The toy as the agent's code; `version` makes another hash."""
    folder = Path(agent.__file__).parent
    files = {name: (folder / name).read_text() for name in ("__init__.py", "wire.py", "lanes.py")}
    return pack({**files, "main.py": f"{TOY}# {version}\n"})


def shell(words: str, **environment: str) -> ChildLine:
    """As sshd runs it, without sshd."""
    return ChildLine(
        ["/usr/bin/env", *(f"{key}={value}" for key, value in environment.items()), "/bin/sh", "-c", words]
    )


def talk(line: ChildLine, code: Archive) -> Conversation:
    return Conversation(greet(line, "far", code), name="far")


def run(state: Path, code: Archive, *arguments: str, before: str = "") -> Conversation:
    return talk(shell(before + command("python3", ["--state", str(state), *arguments], code)), code)


@pytest.mark.issue("2.3 the agent is shipped once")
def test_the_first_start_ships_the_code_and_the_second_finds_it(tmp_path: Path) -> None:
    code = toy_code()
    with run(tmp_path, code, "--allow", "replication") as first:
        told = first.request("arguments", timeout=10).head
    assert told["arguments"] == ["--state", str(tmp_path), "--allow", "replication"]
    home = tmp_path / "code" / code.sha
    assert Path(told["file"]).is_relative_to(home)
    laid = home.stat().st_ino
    assert (home / "orchestrator" / "agent" / "main.py").stat().st_mode & 0o777 == 0o600
    with run(tmp_path, Archive(code.sha, b"never asked for")) as second:
        second.request("echo", timeout=10)
    assert home.stat().st_ino == laid and os.listdir(tmp_path / "code") == [code.sha]
    assert list(home.rglob("main.*.pyc")), "the bytecode is kept for the next start"


def test_the_newest_two_versions_are_kept(tmp_path: Path) -> None:
    codes = [toy_code(str(n)) for n in range(4)]
    for age, code in enumerate(reversed(codes[:3])):
        run(tmp_path, code).close()
        os.utime(tmp_path / "code" / code.sha, (1000 - age, 1000 - age))
    run(tmp_path, codes[3]).close()
    assert set(os.listdir(tmp_path / "code")) == {codes[3].sha, codes[2].sha}


def test_the_installed_version_is_kept_whatever_its_age(tmp_path: Path) -> None:
    codes = [toy_code(str(n)) for n in range(4)]
    run(tmp_path, codes[0]).close()
    os.symlink(codes[0].sha, tmp_path / "code" / "current")
    for code in codes[1:]:
        run(tmp_path, code).close()
    assert codes[0].sha in os.listdir(tmp_path / "code")


def test_a_login_shell_may_print_what_it_likes(tmp_path: Path) -> None:
    noise = "head -c 60000 /dev/urandom; printf 'Welcome\\nmailmirror-agent have\\n'; "
    with run(tmp_path, toy_code(), before=noise) as far:
        far.request("echo", timeout=10)


def test_but_not_without_end(tmp_path: Path) -> None:
    with pytest.raises(HostUnreachable, match=r"(?s)64 KiB came from it.*yyy"):
        run(tmp_path, toy_code(), before="yes yyy; ")


def test_a_host_without_python_is_told_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(HostUnreachable, match="python9: not found") as caught:
        talk(shell(command("python9", [], toy_code())), toy_code())
    assert "Install Python 3.9" in caught.value.remedy


def test_what_was_printed_instead_is_shown(tmp_path: Path) -> None:
    with pytest.raises(HostUnreachable, match=r"(?s)exit status 1.*This account is not available"):
        talk(shell("echo This account is not available; exit 1"), toy_code())


def test_a_host_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    line = shell("sleep 60")
    with pytest.raises(HostUnreachable, match="no answer in time"):
        greet(line, "far", toy_code(), within=0.1)


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ("sys.version_info = (3, 8, 2, 'final', 0)", "its Python is 3.8; the agent needs 3.9 or newer"),
        ("sys.modules['sqlite3'] = None", "has no sqlite3 module"),
    ],
)
def test_a_python_that_will_not_do_says_so(before: str, message: str, tmp_path: Path) -> None:
    code = toy_code()
    start = f"import sys; {before}; __name__ = '__main__'; exec(open({str(LOADER)!r}).read())"
    words = shlex.join([sys.executable, "-c", start, "--code", code.sha, str(len(code.data)), "--state", str(tmp_path)])
    with pytest.raises(HostUnreachable, match=message):
        talk(shell(words), code)


LOADER = Path(bootstrap.__file__).with_name("loader.py")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (Archive(toy_code().sha, zlib.compress(b"{}")), "arrived damaged"),
        (Archive(toy_code().sha, b"what is no deflate stream"), "arrived damaged"),
        (pack({"../../evil.py": "1"}), "odd name"),
        (pack({"lanes.py": "", "main.py": "import nonsense"}), "nonsense"),
    ],
)
def test_code_that_is_not_what_was_asked_for_is_not_run(code: Archive, message: str, tmp_path: Path) -> None:
    with pytest.raises(HostUnreachable, match=message):
        run(tmp_path, code)
    assert not (tmp_path / "evil.py").exists() and not (tmp_path / "code" / "evil.py").exists()


def test_a_state_directory_that_can_not_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HostUnreachable, match="can't be kept or found there"):
        run(tmp_path / "file", toy_code())


def test_two_at_once_lay_it_once(tmp_path: Path) -> None:
    code = toy_code()
    lines = [shell(command("python3", ["--state", str(tmp_path)], code)) for _ in range(4)]
    talks = [talk(line, code) for line in lines]
    for one in talks:
        one.request("echo", timeout=10)
        one.close()
    assert os.listdir(tmp_path / "code") == [code.sha]


def forced(state: Path, asked: str) -> Conversation:
    """What a forced command runs, whatever the client asked for."""
    code = toy_code()
    run(state, code).close()
    os.symlink(code.sha, state / "code" / "current")
    words = shlex.join([sys.executable, "-I", "-S", str(LOADER), "--state", str(state), "--stores", "/a"])
    return talk(shell(words, SSH_ORIGINAL_COMMAND=asked), code)


@pytest.mark.issue("2.3 a forced command ignores what was asked")
@pytest.mark.parametrize(
    "asked",
    ["rm -rf /", "python3 -c x --allow services", "lane ../../x", "lane 0123abcdef --allow services", "lane", ""],
)
def test_a_forced_command_takes_nothing_from_the_client(asked: str, tmp_path: Path) -> None:
    with forced(tmp_path, asked) as far:
        assert far.request("arguments", timeout=10).head["arguments"] == ["--state", str(tmp_path), "--stores", "/a"]


def test_but_for_a_lane_which_only_its_own_agent_takes(tmp_path: Path) -> None:
    with pytest.raises(HostUnreachable, match="no agent takes this lane"):
        forced(tmp_path, "whatever it takes lane 0123abcdef")


def test_the_real_archive_is_named_by_its_content_and_fits_a_command_line() -> None:
    code = bootstrap.archive()
    files = json.loads(zlib.decompress(code.data))
    assert pack(files) == code and {"__init__.py", "wire.py"} <= set(files)
    assert len(command("python3", ["--stores", "/var/vmail"], code)) < 32_000
    assert MARK.startswith(b"\n\0")


def test_the_loader_is_understood_by_an_old_python() -> None:
    ast.parse(LOADER.read_text(), feature_version=(3, 4))
