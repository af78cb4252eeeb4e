"""The site is a mail site: SMTP to LMTP to Maildir, IMAP, POP3, submission, Sieve, names, and the service address."""

from __future__ import annotations

import base64
import json
import socket
import ssl

import pytest

from tests.lab import post
from tests.lab.capture import Capture
from tests.lab.host import CommandFailed
from tests.lab.plan import PORTS, QUEUE, SERVICE_ADDRESS, User
from tests.lab.site import CA, Site
from tests.lab.waiting import until

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab")]


def _arrived(site: Site, user: User, subject: str, **where: str) -> None:
    until(lambda: subject in post.subjects(site, user, **where), what=f"{subject} for {user.name}")


@pytest.mark.issue("3.1 Postfix takes by SMTP through the MX, LMTP, Dovecot serves IMAP and POP3")
def test_a_letter_is_delivered_and_read(site: Site) -> None:
    user = site.users[0]
    exchangers = sorted(site.client.run("dig +short mx example.test").split("\n")[:-1])
    assert exchangers == ["10 mail1.example.test.", "20 mail2.example.test."]
    post.send(site, user, "by SMTP", body="Grüße.")
    _arrived(site, user, "by SMTP")
    assert "Grüße." in post.fetch(site, user, "INBOX;UID=1")
    assert "Subject: by SMTP" in post.fetch(site, user, "1", scheme="pop3s")
    names = site.primary.run(f"ls {user.home}/Maildir/new {user.home}/Maildir/cur")
    assert ".mail1,S=" in names


@pytest.mark.issue("3.1 submission with passwords, certificates of the lab CA")
def test_submission_asks_for_a_password_over_tls(site: Site) -> None:
    origin, target = site.users[1], site.users[2]
    post.submit(site, origin, target, "submitted")
    _arrived(site, target, "submitted")
    with pytest.raises(CommandFailed, match="authentication failed"):
        post.submit(site, origin, target, "refused", password="wrong")
    plain = ["swaks", "--server", "mail", "--port", "587", "--to", target.address, "--from", origin.address]
    with pytest.raises(CommandFailed, match="Must issue a STARTTLS command first"):
        site.client.run(plain)


@pytest.mark.issue("3.1 certificates from a lab CA")
def test_every_tls_port_shows_a_certificate_of_the_labs_authority(site: Site) -> None:
    trusted = ssl.create_default_context(cafile=site.describe().ca)
    for host in ("mail1.example.test", "mail.example.test"):
        for port in (PORTS["imaps"], PORTS["pop3s"]):
            with (
                site.client.network(),
                socket.create_connection((SERVICE_ADDRESS, port), timeout=10) as raw,
                trusted.wrap_socket(raw, server_hostname=host) as tls,
            ):
                assert tls.version() in ("TLSv1.2", "TLSv1.3")


@pytest.mark.issue("3.1 Sieve files into a folder, uploaded by ManageSieve")
def test_a_sieve_script_files_letters(site: Site) -> None:
    user = site.users[3]
    script = 'require ["fileinto", "mailbox"];\nif header :contains "subject" "list" { fileinto :create "Lists"; }\n'
    with site.client.network(), socket.create_connection((SERVICE_ADDRESS, PORTS["sieve"]), timeout=10) as door:
        talk = door.makefile("rw", encoding="utf-8", newline="")
        login = base64.b64encode(f"\0{user.address}\0{user.password}".encode()).decode()
        _said_ok(talk.readline)
        for line in (
            f'AUTHENTICATE "PLAIN" "{login}"',
            f'PUTSCRIPT "filter" {{{len(script)}+}}\r\n{script}',
            'SETACTIVE "filter"',
        ):
            talk.write(f"{line}\r\n")
            talk.flush()
            _said_ok(talk.readline)
    post.send(site, user, "for the list")
    post.send(site, user, "for me")
    _arrived(site, user, "for the list", folder="Lists")
    _arrived(site, user, "for me")
    assert "for the list" not in post.subjects(site, user)


def _said_ok(readline: object) -> None:
    assert callable(readline)
    while not (line := readline()).startswith("OK"):
        assert line and not line.startswith(("NO", "BYE")), line


@pytest.mark.issue("3.1 LMTP is open to the outside client")
def test_lmtp_delivers(site: Site) -> None:
    user = site.users[4]
    words = ["--protocol", "LMTP", "--port", str(PORTS["lmtp"]), "--header", "Subject: by LMTP", "--silent", "2"]
    site.client.run(["swaks", "--server", "mail1", "--to", user.address, "--from", post.STRANGER, *words])
    assert post.subjects(site, user) == ["by LMTP"]


@pytest.mark.issue("3.1 the mirror is the second MX and queues")
def test_the_mirror_takes_letters_and_keeps_them_queued(site: Site) -> None:
    user = site.users[5]
    post.send(site, user, "queued", server="mail2")

    def mine() -> list[dict[str, str]]:
        queue = [json.loads(line) for line in site.mirror.run("postqueue -j").splitlines()]
        return [entry for entry in queue if entry["recipients"][0]["address"] == user.address]

    until(lambda: [entry["queue_name"] for entry in mine()] == ["deferred"], what="it waits")
    assert site.mirror.run(f"ls {QUEUE}/deferred/*").strip()
    assert post.subjects(site, user) == []
    site.mirror.run(["postsuper", "-d", mine()[0]["queue_id"]])
    with pytest.raises(CommandFailed):
        site.client.run("curl --silent --max-time 3 imaps://mail2.example.test/")


@pytest.mark.issue("3.1 BIND with TSIG and update-policy")
def test_names_change_by_signed_updates_within_the_policy(fragile_site: Site) -> None:
    def address() -> str:
        return fragile_site.client.run("dig +short mail.example.test").strip()

    assert address() == SERVICE_ADDRESS
    fragile_site.update_names("update delete mail.example.test. A\nupdate add mail.example.test. 5 A 10.20.0.12")
    assert address() == "10.20.0.12"
    for script, key, why in (
        ("update add mail.example.test. 5 A 10.20.0.13", "d3Jvbmc=", "BADSIG|NOTAUTH"),
        ("update delete ns.example.test. A", None, "REFUSED"),
        ("update add mail1.example.test. 5 A 10.20.0.99", None, "REFUSED"),
    ):
        with pytest.raises(CommandFailed, match=why):
            fragile_site.update_names(script, key=key)
    fragile_site.update_names(
        f"update delete mail.example.test. A\nupdate add mail.example.test. 5 A {SERVICE_ADDRESS}"
    )
    assert address() == SERVICE_ADDRESS


@pytest.mark.issue("3.1 the service address can be put on either host")
def test_the_service_address_moves(fragile_site: Site) -> None:
    site = fragile_site

    def neighbour() -> str:
        site.client.run(f"ping -c 1 -W 1 {SERVICE_ADDRESS}")
        return site.client.run(f"ip neighbour show {SERVICE_ADDRESS}")

    before = neighbour()
    site.point_at(site.mirror)
    after = neighbour()
    assert before.split("lladdr")[1].split()[0] != after.split("lladdr")[1].split()[0]
    assert SERVICE_ADDRESS not in site.primary.run("ip address show dev eth0")


@pytest.mark.issue("3.3 which place answered is told by the cable on which the reply entered the bridge")
def test_the_cable_tells_who_answered(fragile_site: Site) -> None:
    site = fragile_site
    with Capture(site.switch.path) as capture:
        for place in ("primary", "mirror"):
            site.point_at(site.hosts[place])
            with site.client.network(), socket.create_connection((SERVICE_ADDRESS, 25), timeout=10) as door:
                assert door.recv(100).startswith(b"220 ")
            replies = until(lambda: list(capture.replies()), what="the reply was seen")
            assert {reply.veth for reply in replies} == {site.describe().places[place].veth}
            assert replies[0].server == (SERVICE_ADDRESS, 25)
            assert replies[0].payload.startswith(f"220 {site.hosts[place].name}.example.test".encode())
            site.hosts[place].power_cut()
            site.hosts[place].boot()
    assert capture.lost == 0


@pytest.mark.issue("3.3 the outside client is told of the site, as JSON")
def test_a_site_describes_itself(site: Site) -> None:
    said = json.loads(site.describe().as_json())
    assert [exchanger["host"] for exchanger in said["mx"]] == ["mail1.example.test", "mail2.example.test"]
    assert said["service"] == {"name": "mail.example.test", "address": SERVICE_ADDRESS}
    assert said["places"]["mirror"] == {"host": "mail2.example.test", "address": "10.20.0.12", "veth": "mail2"}
    assert said["users"][0] == {"address": "u01@example.test", "password": "secret-01"}
    assert said["ports"]["submission"] == 587
    assert site.client.run(["openssl", "x509", "-noout", "-subject", "-in", CA]).strip()


@pytest.mark.issue("3.1 Prometheus on the controller's host")
def test_prometheus_runs_on_the_controllers_host(fragile_site: Site) -> None:
    fragile_site.mirror.systemctl("start", "prometheus.service")
    query = "curl --silent --fail 'localhost:9090/api/v1/targets?state=active'"
    until(lambda: '"job":"mailmirror"' in fragile_site.mirror.attempt(query).stdout, what="it scrapes mailmirror")
    fragile_site.mirror.systemctl("stop", "prometheus.service")
