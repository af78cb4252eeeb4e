"""An operator with a phone: an alert with a link, a page behind a proxy, a failover that begins when they say so."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import ViewportSize, expect

from tests.lab import plan, product, scraped
from tests.lab.decided import become, decide, pair, shell
from tests.lab.files import File
from tests.lab.guarded import CONNECT, guarded_site, serves, status
from tests.lab.host import Host
from tests.lab.site import CA, Site
from tests.lab.waiting import until
from tests.support import browser, image, require

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("confirm")]
NAME = f"mailmirror.{plan.DOMAIN}"
ALERTS = "/var/lib/alerts"
STATE = f'mailmirror_state{{{{pair="{product.PAIR}",state="{{}}"}}}}'
DOWN = "MailmirrorActiveDown"
PICTURED = ("State", "Lag, and mm_rpo", "Probes, by observer", "Verdict", "Failover ready", "How long a look takes")
KEEPS = f"#!/bin/sh\ncat >> {ALERTS} && echo >> {ALERTS}\n"
PHONE: ViewportSize = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A pair with guards and a witness that asks before it fails over; nginx with our example before the daemon."""
    require.hosts()
    with guarded_site() as site:
        example = (image.CHECKOUT / "deploy/nginx/mailmirror.conf").read_text()
        site.mirror.lay(
            {
                "/etc/nginx/sites-enabled/default": example.replace("mailmirror.example.net", NAME),
                "/etc/nginx/mailmirror.pem": File(site.signed(NAME), 0o600),
                "/usr/local/bin/keep-alerts": File(KEEPS, 0o755),
            }
        )
        site.mirror.run("printf 'ann:%s\\n' $(openssl passwd -apr1 s3cret) > /etc/nginx/mailmirror.htpasswd")
        site.mirror.systemctl("start", "nginx.service")
        decide(
            site, mm_mode="confirm", mm_url=f"https://{NAME}",
            mm_alerts=[{"name": "pager", "exec": {"command": ["/usr/local/bin/keep-alerts"]}}],
        )  # fmt: skip
        yield site


@contextmanager
def led(host: Host, port: int) -> Iterator[int]:
    """A port of this machine's loopback that leads to one of the host's own address, byte by byte."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    near, _ = listening.accept()
                except OSError:
                    return  # closed: the end of the test
                with host.network():
                    far = socket.create_connection((host.address, port), 5)
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=pump, args=(one, other), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield int(listening.getsockname()[1])
        listening.shutdown(socket.SHUT_RDWR)


def pump(one: socket.socket, other: socket.socket) -> None:
    try:
        while data := one.recv(1 << 16):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)
    except OSError:
        other.close()


def asked(site: Site) -> list[str]:
    """The links of all alerts so far."""
    text = str(site.mirror.run(f"cat {ALERTS} || true"))
    alerts = [alert for line in text.splitlines() if line.strip() for alert in json.loads(line)["alerts"]]
    return [each["annotations"]["answer"] for each in alerts if each["labels"]["alertname"] == "failover asked"]


def by_address(site: Site) -> bool:
    words = ["python3", "-c", CONNECT, plan.SERVICE_ADDRESS, str(plan.PORTS["imap"])]
    return site.client.attempt(words).returncode == 0


def code(site: Site, path: str, *words: str) -> str:
    """Asked by the client, as somebody outside."""
    lead = ["--resolve", f"{NAME}:443:{site.mirror.address}", "--cacert", CA, "--silent", "--output", "/dev/null"]
    return str(site.client.run(["curl", *lead, "--write-out", "%{http_code}", *words, f"https://{NAME}{path}"])).strip()


@pytest.mark.issue("6.4 loopback only, with a tested reverse-proxy example for more")
def test_the_proxy_asks_for_a_password_but_for_a_link(site: Site) -> None:
    assert [code(site, path) for path in ("/", "/metrics", "/active/mail1")] == ["401"] * 3
    ann = ("--user", "ann:s3cret")
    paths = ("/", "/metrics", f"/active/mail1.{plan.DOMAIN}", "/liveness")
    assert [code(site, path, *ann) for path in paths] == ["200"] * 4
    assert (code(site, "/confirm/x"), code(site, "/static/style.css")) == ("404", "200"), "the daemon's own answers"
    assert code(site, "/", *ann, "--header", "Host: elsewhere.example") == "421", "its name and no other"


def told_of(site: Site, since: float) -> None:
    """What Prometheus has of the failover."""
    pair, mirror = f'pair="{product.PAIR}"', site.mirror
    failover = f'{{{pair},journey="failover"}}'
    until(lambda: scraped.value(mirror, f"mailmirror_journey_users_away_seconds{failover}"), within=30, what="the RTO")
    away = scraped.value(mirror, f"mailmirror_journey_users_away_seconds{failover}")
    assert away is not None and 10 < away < time.time() - since, "from the first suspicion until it was proven"
    assert scraped.value(mirror, f'mailmirror_journeys_total{{{pair},journey="failover",state="done"}}') == 1
    steps = scraped.ask(mirror, "query", query=f"mailmirror_journey_step_duration_seconds{failover}")["result"]
    assert {"fence", "advance", "serve", "verify_outside"} <= {each["metric"]["step"] for each in steps}
    assert scraped.value(mirror, f"mailmirror_journey_lag_seconds{failover}") is not None
    assert scraped.value(mirror, STATE.format("ALONE")) == 1
    for state in ("PROTECTED", "SUSPECT", "DOWN", "MOVING", "ALONE"):
        was = scraped.value(mirror, f"max_over_time({STATE.format(state)}[5m])")
        assert was == 1 or state == "MOVING", f"{state} was seen"
    if os.environ.get("SCREENSHOTS"):
        drawn = scraped.picture(mirror, PICTURED, since, time.time())
        (image.CHECKOUT / "docs/dashboard.svg").write_text(drawn)


@pytest.mark.issue("6.3 the lab's Prometheus scrapes the daemon through a failover: alerts fire and clear")
@pytest.mark.issue("6.4 the whole confirm flow in Chromium against a lab failover")
def test_a_failover_waits_for_a_word_and_a_phone_says_it(site: Site) -> None:
    shell(site, "verify")
    become(site, "PROTECTED", within=100)
    scraped.start(site.mirror)
    until(lambda: scraped.value(site.mirror, STATE.format("PROTECTED")) == 1, within=30, what="it is scraped")
    assert scraped.firing(site.mirror) == set()
    since = time.time() - 5
    site.primary.power_cut()
    become(site, "DOWN", within=40)
    until(lambda: asked(site), within=40, what="an alert that asks")
    [link] = asked(site)
    assert link.startswith(f"https://{NAME}/confirm/") and not by_address(site)
    assert pair(site)["state"] == "DOWN", "nobody is moved unasked"
    with (
        led(site.mirror, 443) as port,
        browser.running(f"--host-resolver-rules=MAP {NAME}:443 127.0.0.1:{port}") as chromium,
    ):
        page = chromium.new_context(viewport=PHONE, ignore_https_errors=True).new_page()
        page.goto(link)
        expect(page.get_by_role("heading", level=1)).to_contain_text(f"Move the users of {product.PAIR} to mail2")
        expect(page.get_by_text("at the last contact").first).to_be_visible()
        page.get_by_label("Type").fill("example")
        page.get_by_role("button", name="Fail over now").click()
        expect(page.get_by_role("alert")).to_contain_text("That isn't the name of the pair")
        assert status(site.mirror)["role"] == "passive" and pair(site)["state"] == "DOWN"
        until(lambda: DOWN in scraped.firing(site.mirror), within=60, what="Prometheus' own alert fires")
        page.get_by_label("Type").fill(product.PAIR)
        page.get_by_role("button", name="Fail over now").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Answered.")
        until(lambda: by_address(site), within=40, every=0.2, what="the mirror serves")
        expect(page.get_by_text("ALONE", exact=True)).to_be_visible(timeout=30_000)  # it draws itself anew
        page.goto(link)
        expect(page.get_by_role("heading", level=1)).to_have_text("Answered.")
        assert page.get_by_role("button").count() == 0, "good once"
    until(lambda: DOWN not in scraped.firing(site.mirror), within=30, what="and is over")
    told_of(site, since)
    [operation] = json.loads(shell(site, "history", "--format", "json"))
    assert (operation["journey"], operation["by"], operation["state"]) == (
        "failover", "a link sent to pager", "done"
    )  # fmt: skip
    assert serves(site, site.mirror) and status(site.mirror)["role"] == "active"
    assert urlsplit(link).path.removeprefix("/confirm/") not in site.mirror.journal(product.UNIT), "no log has it"
