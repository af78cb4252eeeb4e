"""The word on a last pass, with the services of the active place stopped: is the other place all that it is? Pure.

Invariant: `equal` says that nothing is lacking at all: what a verification allows for (deletions that wait for an
operator, sidecars that wait for a server to go) isn't allowed for here, since the place is about to be served.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.replication.report import LastPass, PairStatus, VerifyReport

SHOWN = 20


def judged(
    reports: Sequence[VerifyReport], status: PairStatus, facts: Sequence[Mapping[str, Any]], seconds: float
) -> LastPass:
    """From a verification, the status right after it, and what the source told of each store then."""
    lacking = [*_of_places(reports, status), *_of_source(status.active, facts)]
    first = reports[0]
    marks = [passive.watermark for passive in status.passives if passive.watermark is not None]
    return LastPass(
        status.pair, status.active, status.epoch, not lacking, lacking, min(marks, default=None), first.accounts,
        first.folders, first.messages, seconds,
    )  # fmt: skip


def _of_places(reports: Sequence[VerifyReport], status: PairStatus) -> Iterator[str]:
    for report in reports:
        for each in report.differences[:SHOWN]:
            yield f"{report.host}: {each.account} {each.folder}: {each.what}"
        if not report.equal and not report.differences:
            yield f"{report.host}: it differs"
    for passive in status.passives:
        if passive.pending:
            yield f"{passive.host}: it lacks {passive.pending:,} changes"
        for waiting in passive.waiting:
            held = f"{waiting.count:,} deletions of {waiting.account} wait"
            yield f"{passive.host}: {held} (`mailmirror ack {waiting.id}`)"
        if passive.sidecars_wait:
            yield f"{passive.host}: {passive.sidecars_wait:,} sidecars wait for an IMAP server there to end"


def _of_source(host: str, facts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for each in facts:
        if each["trouble"]:
            yield f"{host}: {each['trouble']}"
        if not each["whole"]:
            yield f"{host}: its last scan wasn't whole"
        if each["unstable"]:
            yield f"{host}: {each['unstable']:,} folders don't hold still: somebody still writes there"
