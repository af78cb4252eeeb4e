"""Who is asked to look at whom, and at what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.health import asked
from orchestrator.health.asked import LETTER, PROBES, VITALS, Seat, Task
from orchestrator.inventory.model import Canary, Host, Pair, Probe, Secret, Store

HOSTS = {
    "mail1": Host("mail1", "primary", "192.0.2.11", stores=(Store("/var/vmail"),)),
    "mail2": Host("mail2", "mirror", "192.0.2.12", connection="local", stores=(Store("/var/vmail"),)),
    "wit": Host("wit", "witness", "192.0.2.13"),
    "vault": Host("vault", "archive", "192.0.2.14"),
}
CANARY = Canary("canary@example.test", Secret("env", "X"), "canary", 30.0)
PAIR = Pair("org", HOSTS, (Store("/var/vmail"),), services={"smtp": "postfix", "imap": "dovecot"})


def without(pair: Pair, *names: str) -> Pair:
    return replace(pair, hosts={name: host for name, host in pair.hosts.items() if name not in names})


def tasks(seats: tuple[Seat, ...]) -> dict[str, list[tuple[str, str]]]:
    return {seat.observer.name: [(task.kind, task.place) for task in seat.tasks] for seat in seats}


def wants(task: Task) -> dict[str, dict[str, Any]]:
    return {want["service"]: want for want in task.head["probes"]}


@pytest.mark.issue("4.1 every observer: controller, mirror, witness, the host itself")
def test_a_controller_on_the_mirror_is_one_observer_and_the_witness_the_other() -> None:
    seats = asked.seats(PAIR, "mail1", "")
    assert tasks(seats) == {
        "controller": [(PROBES, "primary"), (PROBES, "mirror"), (VITALS, "mirror")],
        "primary": [(VITALS, "primary")],
        "witness": [(PROBES, "primary"), (PROBES, "mirror")],
        "archive": [],
    }
    assert {seat.observer.host for seat in seats if seat.looks} == {"mail2", "wit"}
    assert asked.lone(seats) == ""


def test_a_controller_on_a_third_host_has_the_mirror_for_a_second_observer() -> None:
    hosts = {**HOSTS, "mail2": replace(HOSTS["mail2"], connection="ssh")}
    seats = asked.seats(without(replace(PAIR, hosts=hosts), "wit", "vault"), "mail1", "")
    assert tasks(seats)["mirror"] == [(PROBES, "primary"), (VITALS, "mirror")]
    assert asked.lone(seats) == ""


@pytest.mark.issue("4.1 quorum of two observers: a pair without a witness is told that it lacks a second observer")
def test_a_pair_without_a_witness_is_told_that_it_lacks_a_second_observer() -> None:
    assert asked.lone(asked.seats(without(PAIR, "wit"), "mail1", "")) == (
        "Only mail2 looks: automatic decisions lack a second observer (a witness)."
    )


def test_of_a_passive_place_only_its_postfix_is_asked_and_nobody_logs_in_there() -> None:
    pair = replace(PAIR, canary=CANARY)
    [primary, mirror, *_] = asked.seats(pair, "mail1", "secret")[0].tasks
    assert (primary.services, mirror.services) == (("smtp", "imap"), ("smtp",))
    assert "secret" not in str(mirror.head) and "recipient" not in str(mirror.head)
    turned = asked.seats(pair, "mail2", "secret")[0].tasks
    assert (turned[0].services, turned[1].services) == (("smtp",), ("smtp", "imap"))


def test_a_canary_logs_in_and_sends_a_letter_and_without_its_password_nobody_does() -> None:
    pair = replace(PAIR, canary=CANARY, probe=Probe(services=("smtp", "submission", "imap")))
    controller = asked.seats(pair, "mail1", "secret")[0]
    found = wants(controller.tasks[0])
    assert found["smtp"]["recipient"] == CANARY.address and "password" not in found["smtp"]
    assert (found["imap"]["user"], found["imap"]["password"]) == ("canary", "secret")
    [letter] = [task for task in controller.tasks if task.kind == LETTER]
    assert (letter.every, letter.head["canary"]["send"]["service"]) == (30.0, "submission")
    bare = asked.seats(pair, "mail1", "")
    assert not [task for seat in bare for task in seat.tasks if task.kind == LETTER or "user" in str(task.head)]


def test_tls_comes_first_on_its_own_ports_and_elsewhere_where_it_is_offered() -> None:
    ports = {"smtp": 25, "submission": 465, "lmtp": 24, "imap": 143, "pop3": 995}
    pair = replace(PAIR, ports=ports, probe=Probe(services=("smtp", "submission", "imap", "pop3")))
    found = wants(asked.seats(pair, "mail1", "")[0].tasks[0])
    assert {name: (want["port"], want["tls"]) for name, want in found.items()} == {
        "smtp": (25, "offered"), "submission": (465, "implicit"), "imap": (143, "offered"), "pop3": (995, "implicit"),
    }  # fmt: skip


def test_a_passive_place_without_a_postfix_is_asked_nothing_but_itself() -> None:
    pair = replace(PAIR, services={"pop3": "dovecot"})
    assert tasks(asked.seats(pair, "mail1", ""))["controller"] == [(PROBES, "primary"), (VITALS, "mirror")]
    pair = replace(PAIR, services={"smtp": "exim4"})
    controller = tasks(asked.seats(pair, "mail1", ""))["controller"]
    assert controller == [(PROBES, "primary"), (VITALS, "mirror")], "Postfix alone queues; others are stopped"


def test_a_pair_that_only_replicates_is_asked_nothing() -> None:
    assert replace(PAIR, services={}).probed == ()


def test_the_program_of_a_service_is_the_one_that_would_be_restarted() -> None:
    programs = {name: asked.program_of(PAIR, name) for name in ("smtp", "submission", "imap", "pop3", "lmtp")}
    assert set(programs.items()) == {
        ("smtp", "postfix"), ("submission", "postfix"), ("imap", "dovecot"), ("pop3", "dovecot"), ("lmtp", "dovecot"),
    }  # fmt: skip
