"""Facts of a pair in which all is well, to be changed one at a time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.health.answers import Reading
from orchestrator.health.looks import Observer
from orchestrator.health.verdict import Disk
from orchestrator.inventory.model import Canary as Account
from orchestrator.inventory.model import Dns, Host, Mx, Pair, Secret, Store, Vip
from orchestrator.readiness.facts import (
    Canary,
    Clock,
    Copied,
    Device,
    Facts,
    Guard,
    HostFacts,
    Looked,
    Names,
    Sent,
    Unknown,
)
from orchestrator.traffic.holding import Sight, Stand
from orchestrator.traffic.pointing import Mark
from orchestrator.traffic.pointing import Sight as Server

NOW = 1_800_000_000.0
M1, M2, WIT, VAULT = "mail1.example.org", "mail2.example.org", "wit.example.org", "vault.example.org"
AWAY = Unknown("no answer within 12 s", "Switch it on.")
STORES = (Store("/var/vmail"),)
SECRET = Secret("file", "/etc/mailmirror/secret")
ADDRESS, MACS = "192.0.2.10", {M1: "02:00:00:00:00:01", M2: "02:00:00:00:00:02"}
HOSTS = {
    M1: Host(M1, "primary", "192.0.2.11", stores=STORES),
    M2: Host(M2, "mirror", "192.0.2.12", stores=STORES),
    VAULT: Host(VAULT, "archive", "192.0.2.14"),
    WIT: Host(WIT, "witness", "192.0.2.13"),
}
PAIR = Pair(
    "org",
    HOSTS,
    STORES,
    services={"smtp": "postfix", "imap": "dovecot"},
    lease=8.0,
    vip=Vip((f"{ADDRESS}/24",), "eth0"),
    dns=Dns("192.0.2.53", "example.org", ("mail",), 60, SECRET, Mx("example.org")),
    canary=Account("canary@example.org", SECRET, "canary@example.org"),
    state_dir=Path("/var/lib/mailmirror"),
)
MX = ((10, M1), (20, M2))
WELL = (Reading("smtp", "", "", 0.1, None), Reading("imap", "", "", 0.1, None))
DEAF = (Reading("smtp", "timeout", "no answer", 3.0, None), Reading("imap", "timeout", "no answer", 3.0, None))


def host(name: str) -> HostFacts:
    """One host that is well."""
    place = HOSTS[name].place
    role = {"primary": "active", "mirror": "passive"}.get(place, "witness")
    mail = place in ("primary", "mirror")
    return HostFacts(
        HOSTS[name],
        Guard(role, 3, "primary", True, queues=place == "mirror") if place != "archive" else Unknown("it has none"),
        Clock(0.2, 1.0001, 0.001, True),
        tuple(Disk(path, 0.5, 0.9, False) for path in ("/var/vmail", "/var/spool/postfix")) if mail else (),
        "none",
    )


def sight(name: str, *, holds: bool, claim: str | None) -> Sight:
    """What a mail host says of the moving address: whether it has it, and whose answer it heard."""
    stands = (Stand(ADDRESS, 24, "eth0", True),) if holds else ()
    return Sight(name, "eth0", MACS[name], stands, True, "", {ADDRESS: claim})


def server(**more: Any) -> Server:
    told = {"addresses": {"mail": (ADDRESS,)}, "ttls": {"mail": 60}, "mark": Mark(3, M1), "mx": MX}
    return Server("ns.example.org", 7, **{**told, **more})


def well() -> Facts:
    """All is well, seen from a controller on a third host."""
    return Facts(
        PAIR,
        M1,
        NOW,
        tuple(map(host, HOSTS)),
        (Looked(Observer("controller", "controller"), WELL), Looked(Observer("witness", WIT), WELL)),
        "",
        Copied("live", 0.0),
        NOW - 3600,
        Canary(0, "", NOW - 30),
        (Device(M1, 1, "fence_redfish", NOW - 86400), Device(M2, 1, "fence_redfish", NOW - 86400)),
        (sight(M1, holds=True, claim=None), sight(M2, holds=False, claim=MACS[M1])),
        Names((server(),)),
        Sent("primary"),
        {"ns.example.org": MX},
        Reading("smtp", "", "", 0.1, None),
    )


def at(facts: Facts, name: str, **more: Any) -> Facts:
    """With other facts of one host."""
    hosts = tuple(replace(each, **more) if each.host.name == name else each for each in facts.hosts)
    return replace(facts, hosts=hosts)


def guarded(facts: Facts, name: str, **more: Any) -> Facts:
    """With other words of one guard."""
    [guard] = [each.guard for each in facts.hosts if each.host.name == name]
    assert isinstance(guard, Guard)
    return at(facts, name, guard=replace(guard, **more))


def paired(facts: Facts, **more: Any) -> Facts:
    """With another inventory."""
    return replace(facts, pair=replace(facts.pair, **more))


def unfenced(facts: Facts) -> Facts:
    return replace(facts, fences=())
