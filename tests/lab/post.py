"""Letters sent and mailboxes read from the client's host, with programs that users have: swaks and curl.

Invariant: every TLS session is checked against the lab's authority. For load and for the proof that nothing is lost
there is the oracle; this is for a letter or two.
"""

from __future__ import annotations

import re
import subprocess

from tests.lab.host import CommandFailed
from tests.lab.plan import DOMAIN, User
from tests.lab.site import CA, Site

STRANGER = "stranger@elsewhere.test"


def send(site: Site, user: User, subject: str, *, server: str = "mail1", body: str = "Hello.") -> None:
    """One letter by SMTP to port 25. CommandFailed when it isn't taken."""
    done = attempt(site, user, subject, server=server, body=body)
    if done.returncode != 0:
        raise CommandFailed("client", ["swaks"], done)


def attempt(
    site: Site, user: User, subject: str, *, server: str = "mail1", body: str = "Hello."
) -> subprocess.CompletedProcess[str]:
    """As `send`, whatever comes of it."""
    words = ["--from", STRANGER, "--to", user.address, "-tls", *_verified(server)]
    return site.client.attempt(_swaks(subject, body, words))


def submit(site: Site, origin: User, target: User, subject: str, *, server: str = "mail", password: str = "") -> None:
    """One letter by submission: STARTTLS and AUTH. CommandFailed when it isn't taken."""
    login = ["--auth", "PLAIN", "--auth-user", origin.address, "--auth-password", password or origin.password]
    words = ["--from", origin.address, "--to", target.address, "--port", "587", "-tls", *login, *_verified(server)]
    site.client.run(_swaks(subject, "Hello.", words))


def _verified(server: str) -> list[str]:
    return ["--server", f"{server}.{DOMAIN}", "--tls-ca-path", CA, "--tls-verify"]


def _swaks(subject: str, body: str, words: list[str]) -> list[str]:
    return ["swaks", "--silent", "2", "--timeout", "15", "--header", f"Subject: {subject}", "--body", body, *words]


def fetch(site: Site, user: User, path: str, *, scheme: str = "imaps", server: str = "mail", command: str = "") -> str:
    """What curl gets from a URL such as imaps://mail.example.test/INBOX;UID=1. CommandFailed when it is refused."""
    login = ["--user", f"{user.address}:{user.password}", "--cacert", CA, "--ssl-reqd", "--max-time", "15"]
    asked = ["--request", command] if command else []
    return site.client.run(["curl", "--silent", "--show-error", *login, *asked, f"{scheme}://{server}.{DOMAIN}/{path}"])


def subjects(site: Site, user: User, *, folder: str = "INBOX", server: str = "mail") -> list[str]:
    """The subjects in a folder, over IMAP, in the order of their UIDs."""
    answer = fetch(site, user, folder, server=server, command="UID FETCH 1:* ENVELOPE")
    return re.findall(r'ENVELOPE \("[^"]*" "([^"]*)"', answer)
