"""The daemon as a whole, on a real socket, with replication in memory."""

from __future__ import annotations

import json
import os
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestrator.daemon.service import Daemon, Shown, needs_restart
from orchestrator.errors import ConfigError, MailmirrorError, TryAgain
from orchestrator.inventory.model import Inventory
from orchestrator.records import snapshot
from orchestrator.replication.report import Link, PairStatus, PassiveStatus, Waiting
from orchestrator.web import ask, pointer
from tests.unit.daemon.memory import Site, inventory
from tests.unit.daemon.test_follower import until


class Running:
    """A daemon in a thread, and a way to ask it."""

    def __init__(self, site: Site, described: Inventory, reload: Callable[[], Inventory] | None = None) -> None:
        self.daemon = Daemon(described, site.connect, reload or (lambda: described))
        self.socket = str(described.state_dir / "control.sock")
        self.error: MailmirrorError | None = None
        self.clean: bool | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.clean = self.daemon.run()
        except MailmirrorError as error:
            self.error = error

    def ask(self, verb: str, **fields: Any) -> Any:
        return ask.ask(self.socket, {"verb": verb, **fields})

    def __enter__(self) -> Running:
        self._thread.start()
        until(lambda: self.daemon.ready.is_set() or self.error is not None)
        return self

    def __exit__(self, *_: object) -> None:
        self.daemon.stop.set()
        self._thread.join(5.0)
        assert not self._thread.is_alive()


@contextmanager
def running(tmp_path: Path, *names: str) -> Iterator[tuple[Running, Site]]:
    site = Site(*names)
    with Running(site, inventory(tmp_path / "inventory.yaml", tmp_path / "state", *names)) as it:
        until(lambda: all(s["link"] in ("live", "refused", "connecting") for s in it.ask("status")["pairs"]))
        yield it, site


@pytest.mark.issue("2.6 run: every pair, live; the control socket")
def test_one_pair_s_trouble_never_stops_another(tmp_path: Path) -> None:
    site = Site("good", "bad")
    site.worlds["bad"].unreachable = True
    with Running(site, inventory(tmp_path / "inventory.yaml", tmp_path / "state", "good", "bad")) as it:
        site.worlds["good"].active["a/1"] = b"body"
        assert it.ask("sync", pair="good")[0]["host"] == "mirror.good"
        with pytest.raises(ask.Fault) as fault:
            it.ask("sync", pair="bad")
        assert (fault.value.code, fault.value.exit) == ("HostUnreachable", 69)
        links = {told["pair"]: told["link"] for told in it.ask("status")["pairs"]}
        assert links == {"good": "live", "bad": "connecting"}


def test_it_stops_cleanly_within_two_seconds_though_a_pass_hangs(tmp_path: Path) -> None:
    with running(tmp_path, "org", "net") as (it, site):
        site.worlds["org"].slow = threading.Event()

        def wait() -> None:
            with pytest.raises(ask.Fault):
                it.ask("sync", pair="org")

        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.05)
        began = time.monotonic()
        it.daemon.stop.set()
        until(lambda: it.clean is not None)
        assert time.monotonic() - began < 2.0
        waiting.join(2.0)
    assert it.clean
    assert not Path(it.socket).exists()
    assert snapshot.read(tmp_path / "state", "net")["link"] == "stopped"  # type: ignore[index]


def test_a_second_daemon_on_the_same_state_directory_doesn_t_start(tmp_path: Path) -> None:
    with running(tmp_path, "org") as (it, _):
        with Running(Site("other"), inventory(tmp_path / "b.yaml", tmp_path / "state", "other")) as second:
            assert isinstance(second.error, TryAgain)
        assert it.ask("status")["pairs"][0]["pair"] == "org"


@pytest.mark.issue("4.1 a replication-only pair is unchanged")
def test_a_pair_that_only_replicates_isnt_looked_at(tmp_path: Path) -> None:
    with running(tmp_path, "org") as (it, _):
        assert "health" not in it.ask("status")["pairs"][0]
        names = [thread.name for thread in threading.enumerate()]
        assert not [name for name in names if name.startswith(("observer", "health", "references"))]


def test_when_roles_have_moved_the_other_place_is_looked_at_as_the_active(tmp_path: Path) -> None:
    described = inventory(tmp_path / "inventory.yaml", tmp_path / "state", "org")
    plain = described.pairs["org"]
    hosts = {name: replace(host, connection="local") for name, host in plain.hosts.items()}
    served = replace(plain, hosts=hosts, services={"imap": "dovecot"})
    site = Site("org")
    with Running(site, replace(described, pairs={"org": served})) as it:

        def active() -> list[str]:
            health = it.ask("status")["pairs"][0]["health"]
            return [place["host"] for place in health["places"] if place["active"]]

        until(lambda: active() == ["primary.org"], 20.0)
        site.worlds["org"].turned = True
        until(lambda: active() == ["mirror.org"], 20.0)
        until(lambda: snapshot.active(tmp_path / "state", "org") == "mirror.org", 10.0)
    site.worlds["org"].unreachable = True  # what is remembered counts then
    with Running(site, replace(described, pairs={"org": served})) as it:
        assert it.ask("status")["pairs"][0]["active"] == "mirror.org"


def test_a_snapshot_is_written_when_something_changes(tmp_path: Path) -> None:
    with running(tmp_path, "org"):
        until(lambda: (snapshot.read(tmp_path / "state", "org") or {}).get("link") == "live")


@pytest.mark.issue("2.6 metrics: lag, rates, pending, firewall, equality")
def test_metrics_are_served_while_it_runs(tmp_path: Path) -> None:
    described = inventory(tmp_path / "inventory.yaml", tmp_path / "state", "org")
    with_port = {name: replace(pair, listen="127.0.0.1:0") for name, pair in described.pairs.items()}
    site = Site("org")
    with Running(site, Inventory(described.path, with_port)) as it:
        until(lambda: it.ask("status")["pairs"][0]["link"] == "live")
        assert it.daemon.web is not None
        url = f"http://127.0.0.1:{it.daemon.web.port}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            assert 'mailmirror_replication_lag_seconds{host="mirror.org",pair="org"} 0.0' in answer.read().decode()
        base = url.removesuffix("/metrics")
        with urllib.request.urlopen(f"{base}/", timeout=5) as answer:
            page = answer.read().decode()
            assert "primary.org" in page and "Lag of mirror.org" in page
        for path in ("/active/primary.org", "/lag/mirror.org", "/liveness", "/ready"):
            with urllib.request.urlopen(base + path, timeout=5) as answer:
                assert answer.status == 200, path


def test_the_note_for_quick_commands_is_there_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    written = tmp_path / "inventory.yaml"
    written.write_text("mailmirror: {}\n")
    with running(tmp_path, "org") as (it, _):
        assert pointer.find(str(written)) == it.socket
        written.write_text("mailmirror: {children: {}}\n")
        assert pointer.find(str(written)) is None
    assert list((tmp_path / "mailmirror").iterdir()) == []


def test_events_reach_a_subscriber(tmp_path: Path) -> None:
    with running(tmp_path, "org") as (it, site):
        heard: list[dict[str, Any]] = []

        def listen() -> None:
            with pytest.raises(ask.Fault, match="stopping"):
                ask.ask(it.socket, {"verb": "subscribe"}, heard.append)

        listener = threading.Thread(target=listen)
        listener.start()
        time.sleep(0.1)
        site.worlds["org"].waiting.append(Waiting("w1", "a", 300, "over budget", 1.0))
        until(lambda: any(event["event"] == "deletions_wait" for event in heard))
        assert "mailmirror ack org w1" in next(e["text"] for e in heard if e["event"] == "deletions_wait")
        it.daemon.stop.set()
        listener.join(5.0)
        assert not listener.is_alive()


def fewer(answers: list[Any], before: int) -> bool:
    return len(answers) < before


def test_reading_the_inventory_again_says_what_needs_a_restart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = inventory(tmp_path / "inventory.yaml", tmp_path / "state", "kept", "gone")
    answers: list[Inventory | ConfigError] = [
        ConfigError("inventory.yaml:3:1: nonsense"),
        inventory(tmp_path / "inventory.yaml", tmp_path / "state", "kept", "come"),
        old,
    ]

    def reload() -> Inventory:
        answer = answers.pop(0)
        if isinstance(answer, ConfigError):
            raise answer
        return answer

    caplog.set_level("INFO")
    with Running(Site("kept", "gone"), old, reload) as it:
        while answers:
            before = len(answers)
            it.daemon.hang_up()
            until(partial(fewer, answers, before))
        until(lambda: "says what the daemon does already" in caplog.text)
    assert "inventory.yaml:3:1: nonsense" in caplog.text
    assert "come was added; gone was removed" in caplog.text


def test_a_changed_pair_needs_a_restart(tmp_path: Path) -> None:
    pairs = dict(inventory(tmp_path, tmp_path, "org").pairs)
    assert needs_restart(pairs, {"org": replace(pairs["org"], rpo=1.0)}) == ["org was changed"]
    assert needs_restart(pairs, dict(pairs)) == []


def test_only_what_changes_is_told() -> None:
    shown, status = Shown(), PairStatus("org", Link.LIVE)
    assert shown.news(status) == [("live", "Replication is live")]
    assert shown.news(status) == []
    held = PassiveStatus("m", "mirror", waiting=[Waiting("w1", "someone", 3, "over budget", 1.0)])
    (event, text) = shown.news(replace(status, passives=[held]))[0]
    assert event == "deletions_wait"
    assert "someone" not in text


@pytest.mark.issue("2.6 APScheduler times audits and verifications")
def test_audits_and_verifications_are_timed(tmp_path: Path) -> None:
    described = inventory(tmp_path / "inventory.yaml", tmp_path / "state", "org")
    pairs = {name: replace(pair, audit=0.1, verify=0.1) for name, pair in described.pairs.items()}
    site = Site("org")
    with Running(site, Inventory(described.path, pairs)) as it:
        until(lambda: it.ask("status")["pairs"][0]["link"] == "live")
        site.worlds["org"].active["a/1"] = b"nobody told us"
        until(lambda: "a/1" in site.worlds["org"].passive)


def test_the_status_of_the_daemon_is_json(tmp_path: Path) -> None:
    with running(tmp_path, "org") as (it, _):
        told = it.ask("status")
        assert told["stale"] is False
        assert json.loads(json.dumps(told)) == told
        assert os.stat(it.socket).st_mode & 0o777 == 0o660
