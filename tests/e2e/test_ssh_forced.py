"""A key that is bound to the agent: on a real sshd it does what its line allows, and nothing else."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.agent.main import Agent
from orchestrator.agent.serve import Desk, Outlet
from orchestrator.cli.front import run
from orchestrator.errors import AgentFault, NotPermitted
from orchestrator.inventory import Host, Store
from orchestrator.remote import bootstrap, ssh
from orchestrator.remote.host import Conversation
from orchestrator.remote.install import Installed, install, key_line
from orchestrator.remote.opening import open_conversation
from tests.support import require
from tests.support.sshd import Sshd, make_key, running_sshd

pytestmark = pytest.mark.lab
ACTIVE, PASSIVE, OUTSIDE = "/srv/active", "/srv/passive", "/srv/outside"
VERBS = sorted(Agent(Desk(0, Outlet(1), {}), "/nowhere", None, [])._desk.verbs)
OF_SERVICES = ("observe", "address", "guard", "services", "queue", "advertised")
OF_STORES = [verb for verb in VERBS if verb not in ("lane", *OF_SERVICES)]  # lane: test_ssh_lanes


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    require.root()
    with running_sshd(tmp_path_factory.mktemp("sshd")) as server:
        server.root.check(["mkdir", "-p", ACTIVE, PASSIVE, OUTSIDE])
        yield server


@pytest.fixture(scope="module")
def bound(sshd: Sshd) -> Host:
    """The host as a key that is bound to the agent reaches it; installed by another key."""
    key = make_key(sshd.client_key.with_name("bound"))
    host = sshd.host(key_file=key, stores=(Store(ACTIVE), Store(PASSIVE)), forced=True)
    line = key_line(host, ssh.public_half(key))
    done = install(sshd.host(), line)
    assert done == Installed("/var/lib/mailmirror-agent", "added")
    assert install(sshd.host(), line) == Installed("/var/lib/mailmirror-agent", "there")
    for root, role in ((ACTIVE, "active"), (PASSIVE, "passive")):
        with open_conversation(host) as talk:
            place = {"active": "primary", "passive": "mirror"}[role]
            head = {"store": root, "store_id": role, "pair": "org", "place": place, "role": role, "epoch": 1}
            assert talk.request("store.init", head, timeout=20).head["made"]
    return host


def refusal(talk: Conversation, verb: str, **head: object) -> str:
    """The code of the fault that the request ends in; fails when it is done instead."""
    with pytest.raises(AgentFault) as caught:
        talk.request(verb, {"store_id": "x", "pair": "org", "place": "mirror", "role": "passive", "epoch": 1, **head},
                     timeout=20)  # fmt: skip
    return caught.value.code


def seen(sshd: Sshd, path: str) -> list[str]:
    return sorted(os.listdir(sshd.root.path(path)))


@pytest.mark.issue("2.P two ssh ends forced command: running anything else")
def test_whatever_is_asked_for_the_agent_is_what_runs(sshd: Sshd, bound: Host) -> None:
    code = bootstrap.archive()
    trunk = ssh.connect(bound)
    with Conversation(bootstrap.greet(trunk.run("touch /srv/evil; echo evil"), "far", code), name="far") as talk:
        assert talk.hello["allow"] == ["replication"] and talk.hello["stores"] == [ACTIVE, PASSIVE]
    with open_conversation(bound, stores=[OUTSIDE], allow=["services"], state="/srv/evil") as talk:
        assert talk.hello["allow"] == ["replication"] and talk.hello["stores"] == [ACTIVE, PASSIVE]
    assert "evil" not in seen(sshd, "/srv")


def test_no_forwarding_no_terminal_no_files_either(sshd: Sshd, bound: Host) -> None:
    def openssh(*words: str) -> subprocess.CompletedProcess[bytes]:
        key, known, port = str(bound.key_file), f"UserKnownHostsFile={bound.known_hosts}", str(bound.port)
        options = ["-F", "none", "-i", key, "-p", port, "-o", known, "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"]
        argv = ["ssh", *options, *words]
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False)

    forward = openssh("-W", f"127.0.0.1:{bound.port}", "root@127.0.0.1")
    assert b"SSH-2.0" not in forward.stdout and b"prohibited" in forward.stderr
    assert b"PTY allocation request failed" in openssh("-tt", "root@127.0.0.1").stderr
    sftp = openssh("-s", "root@127.0.0.1", "sftp")
    assert b"subsystem request failed" in sftp.stderr or b"mailmirror-agent" in sftp.stdout


@pytest.mark.issue("2.P forced command leaving store")
@pytest.mark.parametrize("verb", OF_STORES)
def test_no_verb_leaves_the_stores_of_the_line(sshd: Sshd, bound: Host, verb: str) -> None:
    with open_conversation(bound) as talk:
        for outside in (OUTSIDE, f"{ACTIVE}/../outside", "/", "/etc"):
            code = refusal(talk, verb, store=outside, side="sink")
            assert code == ("not-allowed" if verb.startswith("store.") else "not-open")
    assert seen(sshd, OUTSIDE) == []


@pytest.mark.issue("2.3 forced command verb by verb: the active's role")
def test_a_key_for_replication_does_nothing_that_takes_services(bound: Host) -> None:
    with open_conversation(bound) as talk:
        assert {verb: refusal(talk, verb) for verb in OF_SERVICES} == dict.fromkeys(OF_SERVICES, "not-allowed")


@pytest.mark.issue("2.3 forced command verb by verb: the active's role")
@pytest.mark.issue("2.P forced command writing read-only source")
def test_on_the_active_place_no_verb_writes_the_store(sshd: Sshd, bound: Host) -> None:
    before = sshd.root.path(f"{ACTIVE}/.mailmirror/store.json")
    marker = before.read_bytes()
    with open_conversation(bound) as talk:
        assert refusal(talk, "store.open", store=ACTIVE, side="sink", store_id="active") != "bug"
        assert refusal(talk, "store.init", store=ACTIVE) == "marked"
        for verb in VERBS:
            if verb.startswith("sink."):
                assert refusal(talk, verb, store=ACTIVE) == "not-open", verb
    assert before.read_bytes() == marker
    assert seen(sshd, ACTIVE) == [".mailmirror"]


@pytest.mark.issue("2.3 forced command verb by verb: the passive's role")
def test_on_the_passive_place_no_verb_reads_it_as_a_source(sshd: Sshd, bound: Host) -> None:
    with open_conversation(bound) as talk:
        assert refusal(talk, "store.open", store=PASSIVE, side="source", store_id="passive") != "bug"
        for verb in VERBS:
            if verb.startswith("source."):
                assert refusal(talk, verb, store=PASSIVE) == "not-open", verb


@pytest.mark.issue("2.3 forced command verb by verb: observe")
def test_a_key_for_replication_looks_at_no_service(bound: Host) -> None:
    with open_conversation(bound) as talk:
        assert refusal(talk, "observe", seconds=1.0, disks=["/"]) == "not-allowed"
        assert refusal(talk, "guard", order={"verb": "status"}) == "not-allowed"
        assert refusal(talk, "services", do="look") == "not-allowed"
        assert refusal(talk, "queue", do="list", instance="", after="") == "not-allowed"
        assert refusal(talk, "address", action="show", interface="lo", addresses=["192.0.2.1"]) == "not-allowed"


def test_a_key_that_isnt_bound_looks_at_services(sshd: Sshd) -> None:
    with open_conversation(sshd.host()) as talk:
        found = talk.request("observe", {"seconds": 2.0, "disks": ["/"]}, timeout=20).head
    assert found["disks"][0][0] == "/" and found["disks"][0][4] == ""


def test_a_refusal_is_logged_on_the_host(sshd: Sshd, bound: Host) -> None:
    trunk = ssh.connect(bound)
    line = bootstrap.greet(trunk.run("anything"), "far", bootstrap.archive())
    with Conversation(line, name="far") as talk:
        refusal(talk, "store.look", store=OUTSIDE)
        talk.request("store.look", {"store": PASSIVE}, timeout=20)
    assert "refused store.look (not-allowed): this key may not work on /srv/outside" in line.settle()


def test_a_bound_key_can_not_bind_itself_anew(sshd: Sshd, bound: Host) -> None:
    with pytest.raises(NotPermitted, match="is bound to an agent already") as caught:
        install(bound, "restrict ssh-ed25519 AAAA mailmirror")
    assert "--login-key" in caught.value.remedy


@pytest.mark.issue("2.6 agent install over ssh")
def test_the_command_installs_and_says_what_it_did(
    sshd: Sshd, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = make_key(tmp_path / "key")
    inventory = tmp_path / "inventory.yaml"
    inventory.write_text(
        f"mailmirror:\n  vars: {{mm_stores: [{PASSIVE}], mm_known_hosts: {sshd.known_hosts}, "
        f"mm_state_dir: {tmp_path}/state}}\n  children:\n    org:\n"
        f"      hosts:\n        mail1: {{mm_place: primary, ansible_connection: local}}\n"
        f"        mail2: {{mm_place: mirror, ansible_host: 127.0.0.1, ansible_port: {sshd.port}, ansible_user: root, "
        f"ansible_ssh_private_key_file: {key}}}\n"
    )
    words = ["-i", str(inventory), "agent", "install", "mail2", "--login-key", str(sshd.client_key), "--yes"]
    assert run(words) == 0
    assert "the key's line was added" in capsys.readouterr().out
    assert run(words) == 0
    assert "the key's line was there already" in capsys.readouterr().out
    host = sshd.host(key_file=key)
    with open_conversation(host) as talk:
        assert talk.hello["stores"] == [PASSIVE]
