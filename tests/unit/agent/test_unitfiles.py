"""The boot gate's drop-ins and the guard's unit, as systemd reads them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from orchestrator.agent import unitfiles
from orchestrator.agent.homes import PLAIN, Home

MAIL = {"pair": "org", "place": "primary", "stores": ["/var/vmail"], "postfix": True, "units": []}


def lines(text: str) -> set[str]:
    return set(text.splitlines())


def test_a_service_asks_and_is_skipped_a_socket_asks_and_fails() -> None:
    asks = "+/usr/lib/mailmirror/guard gate %n"
    assert f"ExecCondition={asks}" in lines(unitfiles.drop_in("dovecot.service", 252))
    assert f"ExecStartPre={asks}" in lines(unitfiles.drop_in("dovecot.service", 239)), "which knows no condition"
    assert {"[Socket]", f"ExecStartPre={asks}"} <= lines(unitfiles.drop_in("dovecot.socket", 252))
    with pytest.raises(ValueError, match="neither"):
        unitfiles.drop_in("mail.timer", 252)


def test_a_templates_drop_in_counts_for_each_instance() -> None:
    path = "/etc/systemd/system/postfix@.service.d/mailmirror-gate.conf"
    assert unitfiles.drop_in_path("postfix@-.service") == unitfiles.drop_in_path("postfix@.service") == path
    assert unitfiles.drop_in_path("dovecot.socket") == "/etc/systemd/system/dovecot.socket.d/mailmirror-gate.conf"


def test_the_guard_may_write_where_it_must_and_no_further() -> None:
    mail, witness = unitfiles.guard_unit(MAIL), unitfiles.guard_unit({"pair": "org", "place": "witness"})
    assert 'ReadWritePaths=-/etc/postfix -/var/spool/postfix -/var/lib/postfix "-/var/vmail" -/run/systemd' in mail
    assert (
        "ReadWritePaths=-/run/systemd\n" in witness and "CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW\n" in witness
    )
    imap = unitfiles.guard_unit({**MAIL, "units": ["dovecot.service"]})
    assert " -/etc/dovecot " in imap and "dovecot" not in mail + witness
    assert "ProtectHome=yes" in mail and "ProtectHome=no" in unitfiles.guard_unit({**MAIL, "stores": ["/home"]})


def test_it_comes_before_the_network_and_waits_for_nothing_after_it() -> None:
    """Else what brings the network up before sysinit.target (cloud-init) would wait for it, and it for that."""
    unit = lines(unitfiles.guard_unit(MAIL))
    assert {"DefaultDependencies=no", "Before=network-pre.target shutdown.target", "Wants=network-pre.target"} <= unit
    [after] = [line for line in unit if line.startswith("After=")]
    assert not {"sysinit.target", "basic.target", "network.target"} & set(after.split("=")[1].split())


def test_a_further_guard_has_a_unit_code_register_and_socket_of_its_own() -> None:
    told = {"pair": "org", "place": "witness"}
    plain, named = lines(unitfiles.guard_unit(told)), lines(unitfiles.guard_unit(told, Home("org")))
    assert plain - named == {
        "RequiresMountsFor=/var/lib/mailmirror-guard /usr/lib/mailmirror",
        "ExecStart=/usr/lib/mailmirror/guard run",
        "ExecStopPost=/usr/lib/mailmirror/guard tidy",
        "RuntimeDirectory=mailmirror-guard",
        "StateDirectory=mailmirror-guard",
    }
    assert named - plain == {
        "RequiresMountsFor=/var/lib/mailmirror-guard/pairs/org /usr/lib/mailmirror/pairs/org",
        "ExecStart=/usr/lib/mailmirror/pairs/org/guard --pair org run",
        "ExecStopPost=/usr/lib/mailmirror/pairs/org/guard --pair org tidy",
        "RuntimeDirectory=mailmirror-guard@org",
        "StateDirectory=mailmirror-guard/pairs/org",
    }
    assert '"/usr/lib/mailmirror/pairs/org/code/current"' in unitfiles.program("python3", Home("org"))


@pytest.mark.parametrize(
    ("stores", "home"), [(["/var/vmail"], PLAIN), (['/srv/my "mail" 100%'], PLAIN), ([], Home("example_org"))]
)
def test_systemd_finds_no_fault_with_it(stores: list[str], home: Home, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs the command systemd-analyze")
    path = tmp_path / home.unit
    path.write_text(unitfiles.guard_unit({**MAIL, "stores": stores}, home).replace(home.program, "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if home.unit in line] == []
