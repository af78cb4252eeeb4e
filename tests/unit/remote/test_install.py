"""The authorized_keys line gives one command and nothing else, and laying it down twice changes nothing."""

from __future__ import annotations

import base64
import getpass
import json
import shlex
import subprocess
from pathlib import Path

import pytest

from orchestrator.cli.front import run
from orchestrator.errors import ConfigError
from orchestrator.inventory import Host, Store
from orchestrator.remote import bootstrap
from orchestrator.remote.install import key_line
from orchestrator.remote.installer import MARK, authorize
from orchestrator.remote.known_hosts import Key

KEY = Key("ssh-ed25519", b"a key")
BLOB = base64.b64encode(KEY.blob).decode()
INSTALLER = Path(bootstrap.__file__).with_name("installer.py")


def host(*roots: str, user: str = "root", python: str = "python3") -> Host:
    return Host("mail1", "primary", "192.0.2.1", user=user, python=python, stores=tuple(Store(root) for root in roots))


@pytest.mark.issue("2.3 agent install prints the authorized_keys line")
def test_the_line_restricts_the_key_to_the_agent_on_these_stores() -> None:
    assert key_line(host("/var/vmail", "/home"), KEY) == (
        'restrict,command="exec /usr/bin/python3 -I -S /var/lib/mailmirror-agent/agent.py '
        f'--stores /var/vmail,/home --allow replication" ssh-ed25519 {BLOB} mailmirror'
    )


def test_another_users_agent_stands_in_the_home_that_sshd_starts_in() -> None:
    line = key_line(host("/var/my mail", user="vmail", python="/opt/python/bin/python3"), KEY)
    assert 'command="exec /opt/python/bin/python3 -I -S .local/state/mailmirror-agent/agent.py' in line
    assert shlex.split(line.split('"')[1])[6] == "/var/my mail"


@pytest.mark.parametrize("root", ["/a,b", '/a"b', "/a\\b", "/a\nb"])
def test_a_store_that_would_break_the_line_is_refused(root: str) -> None:
    with pytest.raises(ConfigError, match="can't stand in an authorized_keys line"):
        key_line(host(root), KEY)


def test_the_line_takes_the_place_of_the_keys_others_and_only_of_these(tmp_path: Path) -> None:
    line, path = key_line(host("/a"), KEY), tmp_path / ".ssh" / "authorized_keys"
    assert authorize(line, str(path)) == "added"
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    path.write_text(f"# {BLOB} stays: a remark\nssh-rsa AAAA other\nno-pty ssh-ed25519 {BLOB} me@home\n\n")
    assert authorize(line, str(path)) == "replaced"
    assert path.read_text() == f"# {BLOB} stays: a remark\nssh-rsa AAAA other\n\n{line}\n"
    assert authorize(line, str(path)) == "there"
    assert [each.name for each in path.parent.iterdir()] == ["authorized_keys"]


def test_installing_lays_code_start_and_line_and_again_changes_nothing(tmp_path: Path) -> None:
    main = "import sys\nprint(sys.argv[1:])\nsys.exit(7)\n"
    files = {"__init__.py": "", "lanes.py": "", "main.py": main}
    code, line, loader = bootstrap.pack(files), key_line(host("/a", user="vmail"), KEY), bootstrap.loader_text()
    if getpass.getuser() == "root":  # whose state directory is fixed
        loader = loader.replace('"/var/lib/mailmirror-agent"', repr(str(tmp_path / "state")))
    job = {"loader": loader, "sha": code.sha, "files": files, "line": line}
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    said = []
    for _ in range(2):
        done = subprocess.run(
            ["/usr/bin/python3", "-I", "-S", INSTALLER], input=json.dumps(job).encode() + b"\n",
            capture_output=True, check=True, env=environment,
        )  # fmt: skip
        said.append(json.loads(done.stdout.partition(MARK)[2]))
    assert [each["line"] for each in said] == ["added", "there"]
    state = Path(said[0]["state"])
    assert (state / "code" / "current").readlink() == Path(code.sha)
    started = subprocess.run(
        ["/usr/bin/python3", "-I", "-S", state / "agent.py", "--stores", "/a"],
        capture_output=True, check=False, env=environment,
    )  # fmt: skip
    assert started.returncode == 7 and started.stdout.endswith(b"have\n['--stores', '/a']\n")


def inventory(directory: Path, more: str = "") -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / "key"], check=True)
    path = directory / "inventory.yaml"
    path.write_text(
        "mailmirror:\n  vars: {mm_stores: [/var/vmail], ansible_user: root}\n  children:\n    org:\n      hosts:\n"
        f"        mail1: {{mm_place: primary, ansible_ssh_private_key_file: {directory / 'key'}}}\n"
        "        mail2: {mm_place: mirror, ansible_connection: local}\n"
    )
    return path


@pytest.mark.issue("2.6 agent install --print")
def test_print_prints_the_line_and_touches_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = inventory(tmp_path)
    assert run(["-i", str(path), "agent", "install", "org", "mail1", "--print"]) == 0
    printed = capsys.readouterr().out
    public = (tmp_path / "key.pub").read_text().split()[1]
    assert printed.startswith('restrict,command="exec ') and printed.endswith(f" ssh-ed25519 {public} mailmirror\n")
    (tmp_path / "key.pub").unlink()
    assert run(["-i", str(path), "agent", "install", "mail1", "--print", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"host": "mail1", "authorized_keys": printed.strip()}


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["org", "mail9"], 2, "has no host mail9; it has mail1, mail2"),
        (["org", "mail2"], 3, "mail2 gets no guard: org has no services and no lease"),
        (["org", "mail1", "--guard"], 3, "mail1 gets no guard"),
        (["org", "mail1", "extra"], 2, "takes a pair and one host"),
    ],
)
def test_a_host_that_can_not_be_meant_is_told(
    words: list[str], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["-i", str(inventory(tmp_path)), "agent", "install", *words]) == code
    assert message in capsys.readouterr().err


def test_without_a_terminal_it_asks_for_yes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-i", str(inventory(tmp_path)), "agent", "install", "mail1"]) == 5
    assert "there is no terminal to ask on" in capsys.readouterr().err


def test_on_this_machine_installing_takes_root_and_the_dry_run_says_what_would_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = inventory(tmp_path)
    services = "mm_stores: [/var/vmail], mm_services: {smtp: postfix}, mm_state_dir: " + str(tmp_path / "state")
    text = path.read_text().replace("mm_stores: [/var/vmail]", services)
    path.write_text(text.replace("connection: local", "connection: local, ansible_host: 192.0.2.12")
                    .replace("primary,", "primary, ansible_host: 192.0.2.11,"))  # fmt: skip
    assert run(["-i", str(path), "agent", "install", "mail2", "--dry-run"]) == 0
    assert "a boot gate on postfix.service, postfix@-.service. What runs goes on running." in capsys.readouterr().out
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert run(["-i", str(path), "agent", "install", "mail2", "--yes"]) == 77
    assert "takes root" in capsys.readouterr().err
