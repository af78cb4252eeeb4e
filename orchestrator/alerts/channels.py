"""The ways that reach people: a webhook, mail by a smarthost outside of the pair, a program of the site's own.

A webhook gets what Alertmanager sends to its receivers (its documentation, "webhook_config", version 4), so that
whatever understands that one understands us. A program gets the same on its standard input.

Invariant: `send` returns only when the other end has taken it, within its time; a secret is read when it is used, and
is part of no error.
"""

from __future__ import annotations

import json
import os
import smtplib
import ssl
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from http.client import HTTPException
from typing import Any, Protocol

from orchestrator.alerts.ledger import FIRING, RESOLVED, Notice
from orchestrator.errors import HostError
from orchestrator.fencing import program
from orchestrator.inventory import secret
from orchestrator.inventory.model import AlertChannel, AlertProgram, Smarthost, Webhook

SECONDS = 15.0
"""For one answer of the other end."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Channel(Protocol):
    """Notices of one pair and one status; raises MailmirrorError where they didn't arrive, or nobody knows."""

    def send(self, notices: Sequence[Notice]) -> None: ...


def of(channel: AlertChannel) -> Channel:
    """The way that the inventory names."""
    if channel.webhook is not None:
        return Posted(channel.name, channel.webhook)
    if channel.smtp is not None:
        return Mailed(channel.smtp)
    assert channel.program is not None, "the inventory has exactly one"
    return Run(channel.name, channel.program)


def payload(channel: str, notices: Sequence[Notice]) -> dict[str, Any]:
    """As Alertmanager's, version 4."""
    status = FIRING if any(each.status == FIRING for each in notices) else RESOLVED
    pair = notices[0].pair
    labels = {"pair": pair, "job": "mailmirror"}
    return {
        "version": "4", "groupKey": f"mailmirror/{pair}", "truncatedAlerts": 0, "status": status, "receiver": channel,
        "groupLabels": {"pair": pair}, "commonLabels": labels, "commonAnnotations": {}, "externalURL": "",
        "alerts": [_alert(each, labels) for each in notices],
    }  # fmt: skip


def _alert(each: Notice, labels: dict[str, str]) -> dict[str, Any]:
    condition = each.condition
    answer = {"answer": each.link} if each.link else {}
    return {
        "status": each.status,
        "labels": {"alertname": condition.name, "severity": condition.severity, **labels},
        "annotations": {
            "summary": condition.summary, "description": condition.remedy, **answer,
        },
        "startsAt": _moment(each.since), "endsAt": _moment(each.ended) if each.ended else "0001-01-01T00:00:00Z",
        "generatorURL": each.link, "fingerprint": f"{each.pair}/{condition.name}",
    }  # fmt: skip


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def text(notices: Sequence[Notice]) -> tuple[str, str]:
    """A subject and a body for people."""
    first = notices[0]
    what = f"{len(notices)} alerts" if len(notices) > 1 else first.condition.name
    word = "over" if all(each.status == RESOLVED for each in notices) else first.condition.severity
    lines = []
    for each in notices:
        at = f"since {_moment(each.since)}" if each.status == FIRING else f"from {_moment(each.since)}"
        end = f" to {_moment(each.ended)}" if each.ended else ""
        lines += [
            f"{each.pair}: {each.condition.summary}",
            f"  {each.status} {at}{end}",
            f"  {each.condition.remedy}",
            *([f"  Look, and answer (good once, for a day): {each.link}"] if each.link else []),
            "",
        ]
    return f"[mailmirror] {word}: {first.pair}: {what}", "\n".join(lines)


class Posted:
    """A webhook; any 2xx is its word that it has it."""

    def __init__(self, name: str, said: Webhook) -> None:
        self._name, self._said = name, said
        self._opener = urllib.request.build_opener(_NoRedirect())

    def send(self, notices: Sequence[Notice]) -> None:
        headers = {"Content-Type": "application/json", "User-Agent": "mailmirror"}
        if self._said.token is not None:
            headers["Authorization"] = f"Bearer {secret.read(self._said.token)}"
        body = json.dumps(payload(self._name, notices)).encode()
        request = urllib.request.Request(self._said.url, body, headers, method="POST")
        try:
            with self._opener.open(request, timeout=SECONDS) as answer:
                answer.read(1)
        except urllib.error.HTTPError as error:
            raise _lost(self._name, f"it answers {error.code} {error.reason}") from error
        except (OSError, HTTPException, ValueError) as error:
            raise _lost(self._name, str(getattr(error, "reason", error))) from error


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would take the token elsewhere."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class Mailed:
    """Mail by a smarthost; its 250 for the letter is its word."""

    def __init__(self, said: Smarthost) -> None:
        self._said = said

    def send(self, notices: Sequence[Notice]) -> None:
        said = self._said
        letter = EmailMessage()
        letter["Subject"], body = text(notices)
        letter["From"], letter["To"] = said.sender, ", ".join(said.to)
        letter["Date"], letter["Message-ID"] = formatdate(), make_msgid(domain=said.sender.rpartition("@")[2])
        letter["Auto-Submitted"] = "auto-generated"
        letter.set_content(body)
        try:
            self._hand_over(letter)
        except (OSError, smtplib.SMTPException) as error:
            raise _lost(f"the smarthost {said.server}", str(error)) from error

    def _hand_over(self, letter: EmailMessage) -> None:
        said, context = self._said, ssl.create_default_context()
        if said.tls == "tls":
            session: smtplib.SMTP = smtplib.SMTP_SSL(said.server, said.port, timeout=SECONDS, context=context)
        else:
            session = smtplib.SMTP(said.server, said.port, timeout=SECONDS)
        with session:
            if said.tls == "starttls":
                session.starttls(context=context)
            if said.user and said.password:
                session.login(said.user, secret.read(said.password))
            refused = session.send_message(letter)
            if refused:
                raise smtplib.SMTPRecipientsRefused(refused)


class Run:
    """A program of the site's own; exit code 0 is its word."""

    def __init__(self, name: str, said: AlertProgram) -> None:
        self._name, self._said = name, said

    def send(self, notices: Sequence[Notice]) -> None:
        subject, _ = text(notices)
        told = {"MAILMIRROR_PAIR": notices[0].pair, "MAILMIRROR_SUBJECT": subject}
        environment = {"PATH": os.environ.get("PATH", PATH), **told}
        try:
            ended = program.run(
                self._said.command, json.dumps(payload(self._name, notices)).encode(), environment, self._said.within
            )
        except OSError as error:
            raise _lost(self._name, f"{self._said.command[0]} can't be started: {error.strerror}") from error
        if ended.code != 0:
            how = f"took more than {self._said.within:g} s" if ended.code is None else f"ended with {ended.code}"
            raise _lost(self._name, f"{self._said.command[0]} {how}: {ended.err.strip()[-200:]}")


def _lost(name: str, why: str) -> HostError:
    return HostError(f"An alert didn't get through by {name}: {why}.", remedy="Mend it, then `mailmirror alerts test`.")
