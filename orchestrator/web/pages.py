"""The status page, for a phone at 3 a.m., and the addresses whose status code is the answer.

    /                    every pair in words; live with JavaScript, drawn anew every 10 s without
    /active/HOST         200 while users are on it, 503 while they aren't
    /lag/HOST?max=30s    200 while it lacks no more, 503 while it lacks more or nobody knows; default mm_rpo
    /liveness, /ready    200 while the daemon decides; while every pair could be failed over
    /metrics             for Prometheus
    /confirm/LINK        the answer to what an alert asks, see `confirm`

Nothing else here changes anything. What the pages say comes from `Sources`, in one look a request.

Invariant: no page needs another host, no markup comes from data, and a page that can't be made hurts nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from flask import Flask, Response, abort, render_template, request
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from orchestrator.inventory.quantities import Wrong, duration
from orchestrator.web.confirm import PREFIX, Confirms, blueprint
from orchestrator.web.trail import Trail, lines

Json = Any
Row = Mapping[str, Json]
"""A pair as `mailmirror status --format json` shows it."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
ANSWERING = {
    "Content-Security-Policy": HEADERS["Content-Security-Policy"].replace("form-action 'none'", "form-action 'self'")
}
"""Of a page whose buttons send an answer."""
LOCAL = ("127.0.0.1", "localhost", "[::1]")
"""What a request to loopback may call this host: a page of somebody else's, led here by its own name, gets nothing."""
LINE = (240, 40)
"""The width and height of the lag's line."""
HISTORY = 20
"""Lines of it."""


@dataclass(frozen=True)
class Trouble:
    """Something that is wrong: `page` where it is worth to wake somebody."""

    page: bool
    summary: str
    remedy: str


class Past(NamedTuple):
    """A line of the history; `journey` and how it stands, where it is one. `at`: seconds since 1970."""

    at: float
    said: str
    journey: str = ""
    state: str = ""


@dataclass(frozen=True)
class Sources:
    """What the pages are made from. `wrong`: of a row; `explained`: the present decision of a pair, in sentences;
    `history`: the newest last; `decides`: whether the daemon's workers all live.
    """

    rows: Callable[[], Sequence[Row]]
    wrong: Callable[[Row], Sequence[Trouble]]
    explained: Callable[[str], Sequence[str]]
    history: Callable[[str], Sequence[Past]]
    decides: Callable[[], bool]
    trail: Trail
    confirms: Confirms
    now: Callable[[], float] = time.time


def application(
    sources: Sources, metrics: Callable[..., Any], *, loopback: bool, public: str = ""
) -> Callable[..., Any]:
    """The WSGI application. `metrics` is one too; `loopback`: it is served to this host alone, and to a proxy here that
    has the name `public`.
    """
    app = Flask(__name__)
    app.register_blueprint(blueprint(sources.confirms))
    app.jinja_env.filters |= {"span": span, "moment": moment}

    @app.get("/")
    def page() -> str:
        return render_template("page.html", **_shown(sources))

    @app.get("/pairs")
    def pairs() -> str:
        return render_template("pairs.html", **_shown(sources))

    @app.get("/liveness")
    def liveness() -> tuple[str, int]:
        return ("alive\n", 200) if sources.decides() else ("a worker hangs\n", 503)

    @app.get("/ready")
    def ready() -> tuple[str, int]:
        lacks = [str(row["pair"]) for row in sources.rows() if not _is_ready(row)]
        return (f"not ready: {', '.join(lacks)}\n", 503) if lacks else ("ready\n", 200)

    @app.get("/active/<host>")
    def active(host: str) -> tuple[str, int]:
        row = _row_of(sources.rows(), host)
        return ("active\n", 200) if row["active"] == host and _serves(row) else ("not active\n", 503)

    @app.get("/lag/<host>")
    def lag(host: str) -> tuple[str, int]:
        row = _row_of(sources.rows(), host)
        found = next((each["lag_seconds"] for each in row["passives"] if each["host"] == host), None)
        most = _most(request.args.get("max", ""), float(row.get("rpo") or 0.0))
        if found is None:
            return "unknown\n", 503
        return f"{found:.1f} s\n", 200 if found <= most else 503

    return guarded(DispatcherMiddleware(app, {"/metrics": metrics}), (*LOCAL, public) if loopback else ())


def guarded(application: Callable[..., Any], names: Sequence[str]) -> Callable[..., Any]:
    """Reading only but for answers, the metrics too, under HEADERS; by no name but `names`, where there are any. A
    poller that speaks HTTP/1.0 says none, and a browser always does.
    """

    def guard(environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        answers = environ.get("PATH_INFO", "").startswith(PREFIX)
        ours = HEADERS | ANSWERING if answers else HEADERS

        def started(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            return start(status, [*((key, said) for key, said in headers if key not in ours), *ours.items()], *more)

        host = str(environ.get("HTTP_HOST", ""))
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if names and host and name not in names:
            return Response("This is served by the names of loopback, and that of mm_url.\n", 421)(environ, started)
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD", "POST")[: 3 if answers else 2]:
            return Response("There is nothing but GET.\n", 405, {"Allow": "GET, HEAD"})(environ, started)
        return application(environ, started)

    return guard


def _most(said: str, rpo: float) -> float:
    if not said:
        return rpo
    try:
        return duration(said)
    except Wrong as error:
        abort(400, f"max: {error}; {error.hint}")


def _row_of(rows: Sequence[Row], host: str) -> Row:
    for row in rows:
        if host == row["active"] or host in [each["host"] for each in row["passives"]]:
            return row
    abort(404)


def _serves(row: Row) -> bool:
    """Whether anybody is meant to be served there: not while nobody knows who may write."""
    return row.get("state") not in ("SPLIT_BRAIN", "SERVING_ARCHIVE")


def _is_ready(row: Row) -> bool:
    readiness = row.get("readiness")
    return bool(readiness["ready"]) if readiness else row["link"] == "live"


def _shown(sources: Sources) -> dict[str, Json]:
    now = sources.now()
    pairs = [_pair(row, sources) for row in sources.rows()]
    worst = max((pair["level"] for pair in pairs), default=0)
    said = ("all is well", "something needs a look", "somebody is needed now")[worst]
    return {"pairs": pairs, "now": now, "worst": worst, "said": said}


def _pair(row: Row, sources: Sources) -> dict[str, Json]:
    name = str(row["pair"])
    wrong = sorted(sources.wrong(row), key=lambda each: not each.page)
    level = 0 if not wrong else 2 if wrong[0].page else 1
    passives = [{**each, "lines": lines(sources.trail.of(name, each["host"]), *LINE)} for each in row["passives"]]
    told = list(sources.history(name))[::-1]
    drills = [each for each in told if each.journey == "drill"]
    return {
        **row, "level": level, "wrong": wrong, "passives": passives, "evidence": sources.explained(name),
        "history": told[:HISTORY], "drill": drills[0] if drills else None, "line": LINE,
    }  # fmt: skip


def span(seconds: float | None) -> str:
    """As 12 s, 3 min, 5 h, 2 d."""
    if seconds is None:
        return "unknown"
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 or seconds == 0 else f"{seconds:.1f} s"


def moment(at: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) if at else "never"
