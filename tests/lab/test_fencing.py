"""Debian's own fence_redfish against a device whose Off is the primary's power cut and whose state is its PID 1."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from tests.lab import plan, product, redfish, watched
from tests.lab.files import File
from tests.lab.host import Host
from tests.lab.redfish import PowerController
from tests.lab.site import Site
from tests.lab.waiting import until
from tests.support import require

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab")]

PLACES = ("primary", "mirror")
ADDRESS = "10.20.0.31"
PASSWORD = "of the power, not of the mail"
KEY = "/etc/mailmirror/bmc1.password"
HOST = plan.SEATS["primary"].full_name
CUT = """
import json, sys, time
from dataclasses import replace
from orchestrator.fencing import device, levels, proof
from orchestrator.fencing.device import State
from orchestrator.inventory.load import load
from orchestrator.records import fences
[pair] = load("/etc/mailmirror/inventory.yaml").pairs.values()
host, epoch = pair.primary, 1
for outcomes, proven in levels.each(levels.devices(host), State.OFF, float(sys.argv[1])):
    pass
clock = levels.boot_id()
tests = fences.tests(pair.state_dir, pair.name)
found = levels.off_proof(host.name, epoch, outcomes, tests, by="controller", clock=clock)
case = proof.Case(host.name, epoch, pair.mirror.name, device.boottime(), clock, time.time())
early = replace(found.sights[0], read=found.sights[0].acted - 0.001)
print(json.dumps({
    "proven": proven,
    "words": proof.words(found),
    "promotion": proof.promotion(2, proof.Known([found], acknowledged={pair.mirror.name: 2}), case).enough,
    "without the mirror": proof.promotion(2, proof.Known([found]), case).enough,
    "now": proof.why_not(found, case),
    "a minute later": proof.why_not(found, replace(case, now=case.now + 61)),
    "a week later": proof.why_not(found, replace(case, wall=case.wall + 8 * 86400)),
    "the next epoch": proof.why_not(found, replace(case, epoch=2)),
    "the next boot": proof.why_not(found, replace(case, clock="another")),
    "read before the act": proof.why_not(replace(found, sights=(early,)), case),
}))
"""
"""What a journey does: cut off, proven, judged."""


@dataclass
class Fenced:
    site: Site
    device: PowerController

    @property
    def mirror(self) -> Host:
        return self.site.mirror

    def typed(self, *words: str) -> tuple[int, Any]:
        """`mailmirror fence ...` with JSON: exit code and answer."""
        done = self.mirror.attempt(["mailmirror", "fence", *words, "--format", "json"], timeout=90)
        return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr

    def state(self, *words: str) -> tuple[int, str]:
        """The exit code and the one device's state."""
        code, told = self.typed(*(words or ("status",)))
        return code, told[0]["state"]

    def cut_off(self, within: float) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.mirror.run([product.PYTHON, "-c", CUT, str(within)], timeout=90))
        return told

    def password(self, text: str) -> None:
        self.mirror.lay({KEY: File(text + "\n", 0o600)})


@pytest.fixture(scope="module")
def built() -> Iterator[Fenced]:
    require.hosts()
    with Site(PLACES, users=1) as site:
        site.boot()
        with redfish.holding(site.primary, site.switch, ADDRESS, PASSWORD) as device:
            site.mirror.lay({"/etc/mailmirror/inventory.yaml": inventory()})
            yield Fenced(site, device)


@pytest.fixture
def fenced(built: Fenced) -> Fenced:
    """Its device is well, its password right, and the primary is up."""
    built.device.mood = "well"
    built.device.orders.clear()
    built.password(PASSWORD)
    if not built.site.primary.is_up:
        built.site.primary.boot()
    return built


def inventory() -> str:
    """The site's own, with the device at its primary."""
    told: Any = product.inventory(PLACES)
    [pair] = told["mailmirror"]["children"].values()
    parameters = {"ip": ADDRESS, "username": redfish.USER, "password": {"file": KEY}, "ssl_insecure": True}
    pair["hosts"][HOST]["mm_fence"] = [{"agent": "fence_redfish", "parameters": parameters, "within": "40s"}]
    return yaml.safe_dump(told, sort_keys=False)


def agents(host: Host) -> str:
    """Fence agents that still run on a host."""
    return host.attempt(["pgrep", "-f", "[f]ence_redfish"]).stdout


@pytest.mark.issue("4.3 fence status and fence test with a real fence agent from Debian")
def test_the_power_is_told_as_it_is(fenced: Fenced) -> None:
    assert fenced.state() == (0, "on")
    assert fenced.state("test", HOST) == (0, "on")
    assert fenced.device.orders == []
    fenced.site.primary.power_cut()
    assert fenced.state() == (0, "off")
    assert "fence_redfish 10.20.0.31" in fenced.mirror.run("mailmirror fence status")


@pytest.mark.issue("4.3 a wrong password is UNKNOWN")
def test_a_wrong_password_is_unknown_though_the_host_is_off(fenced: Fenced) -> None:
    fenced.site.primary.power_cut()
    fenced.password("hunter2-lab")
    assert fenced.state() == (1, "unknown")
    told = fenced.cut_off(8.0)
    assert (told["proven"], told["promotion"]) == (False, False) and "says unknown, not off" in told["now"]
    assert "hunter2-lab" not in fenced.mirror.journal() + json.dumps(told)


@pytest.mark.issue("4.3 a silent device is UNKNOWN within the deadline")
def test_a_silent_device_is_unknown_when_its_time_is_over(fenced: Fenced) -> None:
    fenced.site.primary.power_cut()
    fenced.device.mood = "silent"
    code, told = fenced.typed("test", HOST, "--timeout", "3")
    assert (code, told[0]["state"]) == (1, "unknown") and "didn't end within 3.0 s" in told[0]["said"]
    assert told[0]["seconds"] < 10
    began = time.monotonic()
    assert fenced.cut_off(4.0)["proven"] is False
    assert time.monotonic() - began < 25
    until(lambda: not agents(fenced.mirror), what="no fence agent is left")


@pytest.mark.issue("4.3 a device that says OK to off and stays on is not proven")
def test_a_device_that_says_yes_and_does_nothing_proves_nothing(fenced: Fenced) -> None:
    fenced.state("test", HOST)
    fenced.device.mood = "liar"
    told = fenced.cut_off(8.0)
    assert "ForceOff" in fenced.device.orders and fenced.site.primary.is_up
    assert (told["proven"], told["promotion"]) == (False, False) and "says on, not off" in told["now"]


@pytest.mark.issue("4.3 Off is power_cut and state the host's PID 1: off ordered, read back, proven; stale refused")
def test_off_is_read_back_after_the_act_and_counts_only_while_fresh(fenced: Fenced) -> None:
    assert fenced.state("test", HOST) == (0, "on")
    told = fenced.cut_off(40.0)
    assert not fenced.site.primary.is_up and fenced.device.orders == ["ForceOff"]
    assert (told["proven"], told["now"], told["promotion"]) == (True, "", True)
    assert "says off (exit code 2: Status: OFF)" in told["words"]
    assert not told["without the mirror"]
    assert "read it again" in told["a minute later"] and "no test within 7 days" in told["a week later"]
    assert "is of epoch 1" in told["the next epoch"] and "last boot" in told["the next boot"]
    assert "before the act" in told["read before the act"]


@pytest.mark.issue("4.3 fence test --cycle: a real off and on")
def test_a_cycle_cuts_the_power_proves_it_and_brings_the_host_back(fenced: Fenced) -> None:
    code, said = fenced.typed("test", HOST, "--cycle", "--yes")
    assert code == 5 and "Its name wasn't typed again" in said
    assert fenced.device.orders == [] and fenced.site.primary.is_up
    code, told = fenced.typed("test", HOST, "--cycle", "--yes", "--active-host", HOST, "--reason", "a test")
    assert (code, [row["state"] for row in told]) == (0, ["off", "on"])
    assert fenced.device.orders == ["ForceOff", "On"]
    assert fenced.site.primary.wait_booted() > 0
    assert watched.history(fenced.mirror)[-1]["verb"] == "fence cycle"
