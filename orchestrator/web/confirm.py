"""The page behind a link that an alert carries: what is known, what may be lost, and the buttons.

    GET  /confirm/LINK   the question, or what was answered; changes nothing, so that a mail scanner may look
    POST /confirm/LINK   the answer: what=failover with the pair's name typed, or what=snooze with seconds

An answer has to bring back what its page was drawn with, signed: a page of somebody else's can't have it.

Invariant: an answer is told as taken only when it is durable. What is wrong is told with its remedy, and nothing is
changed by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from flask import Blueprint, make_response, redirect, render_template, request
from werkzeug.wrappers import Response

from orchestrator.errors import MailmirrorError, Refused, UsageError

PREFIX = "/confirm/"
SNOOZES = (("30 min", 1800), ("2 h", 7200), ("24 h", 86400))


@dataclass(frozen=True)
class Question:
    """`row`: the pair as `status --format json` shows it; `to`: the host that users would be moved to; `asked`: whether
    an answer is wanted now; `loss`: what a failover could lose; `form` goes back with the answer; `answered`: what was
    answered by this link, in a sentence, or nothing.
    """

    row: Mapping[str, Any]
    to: str
    asked: bool
    loss: str
    evidence: Sequence[str]
    form: str
    answered: str


class Confirms(Protocol):
    """Who knows the links. Raises UsageError for none of ours, Refused for one that is too old, or by a rule."""

    def look(self, link: str) -> Question: ...

    def answer(self, link: str, said: Mapping[str, str]) -> None:
        """Carry it out, as far as it is begun. Raises Refused also where it was answered, or things have changed."""


def blueprint(confirms: Confirms) -> Blueprint:
    """Its routes, for the application of the pages."""
    routes = Blueprint("confirm", __name__)

    @routes.get(f"{PREFIX}<link>")
    def question(link: str) -> Response:
        return _page(confirms, link)

    @routes.post(f"{PREFIX}<link>")
    def answer(link: str) -> Response:
        try:
            confirms.answer(link, request.form)
        except MailmirrorError as error:
            return _page(confirms, link, error)
        return redirect(f"{PREFIX}{link}", 303)

    return routes


def _page(confirms: Confirms, link: str, trouble: MailmirrorError | None = None) -> Response:
    """The question as it is now, with what went wrong; without a question that can be shown, only that."""
    try:
        question = confirms.look(link)
    except MailmirrorError as error:
        gone = 404 if isinstance(error, UsageError) else 410 if isinstance(error, Refused) else 503
        return make_response(render_template("confirm.html", question=None, trouble=error), gone)
    code = 200 if trouble is None else 400 if isinstance(trouble, UsageError) else 409
    return make_response(render_template("confirm.html", question=question, trouble=trouble, snoozes=SNOOZES), code)
