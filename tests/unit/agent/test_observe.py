"""The verb with which a host is looked at."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import pytest

from orchestrator.agent import observe as observing
from orchestrator.agent.observe import Observer
from orchestrator.agent.serve import Answer, Fault
from orchestrator.agent.vitals import Disk, disk

pytestmark = pytest.mark.issue("4.1 one probe room, total deadlines")

WANT = {"service": "smtp", "host": "127.0.0.1", "port": 25, "recipient": "canary@example.test"}
CANARY = {"sender": "mirror", "send": WANT, "read": {**WANT, "service": "imap"}}


def answered(head: dict[str, Any], observer: Observer | None = None) -> dict[str, Any]:
    work = (observer or Observer()).observe(head)
    while True:
        try:
            time.sleep(next(work) or 0.0)
        except StopIteration as end:
            assert isinstance(end.value, Answer)
            return end.value.head


def looking() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("look-")]


def test_every_look_that_was_asked_for_is_in_the_answer_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    found = answered(
        {"seconds": 2.0, "probes": [{**WANT, "port": port}] * 3, "disks": ["/", "/nowhere"], "queue": True}
    )
    assert [reading[:3] for reading in found["probes"]] == [["smtp", False, "refused"]] * 3
    assert [each[0] for each in found["disks"]] == ["/", "/nowhere"]
    assert len(found["queue"]) == 1
    assert len(found["clock"]) == 3
    assert found["canary"] == []


def test_a_look_that_hangs_is_late_and_delays_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def dead_server(path: str) -> Disk:
        if path == "/nfs":
            release.wait(10)
        return disk(path)

    monkeypatch.setattr(observing, "disk", dead_server)
    observer = Observer()
    began = time.monotonic()
    found = answered({"seconds": 0.2, "disks": ["/nfs", "/"]}, observer)
    assert time.monotonic() - began < 5
    assert [each[4] for each in found["disks"]] == ["no answer in time, not even that it failed", ""]
    with pytest.raises(Fault, match="1 earlier looks hang"):
        observer.observe({"seconds": 0.2, "disks": ["/"] * observing.MOST_LOOKS})
    release.set()
    for thread in looking():
        thread.join(5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"seconds": "3"},
        {"seconds": 0.0},
        {"seconds": 1e9},
        {"disks": "/"},
        {"disks": ["relative"]},
        {"disks": [7]},
        {"probes": [{**WANT, "service": "ssh"}]},
        {"probes": [{**WANT, "port": 0}]},
        {"probes": [{**WANT, "host": ""}]},
        {"probes": [{**WANT, "tls": "maybe"}]},
        {"probes": [{**WANT, "recipient": "a@b\r\nDATA"}]},
        {"probes": [{**WANT, "password": 5}]},
        {"probes": [7]},
        {"probes": [{"service": "lmtp", "socket": "relative"}]},
        {"canary": 7},
        {"canary": {**CANARY, "sender": 'a"b'}},
        {"canary": {**CANARY, "read": WANT}},
        {"canary": {**CANARY, "send": None}},
    ],
    ids=str,
)
def test_a_wrong_request_is_a_fault_and_looks_at_nothing(wrong: dict[str, Any]) -> None:
    with pytest.raises(Fault):
        Observer().observe({"seconds": 1.0, **wrong})
    assert not looking()
