"""A pair's replication while its hosts are connected: one pass, or following as it happens.

A session opens the active's stores, and for each passive place a flow per store with a cursor
of its own, so that a slow place never stalls another. The first flow runs on the caller's
thread; each further passive place has a thread of its own while a pass is on.

Invariant: `status` may be called from any thread and never waits; everything else runs on one. Who is active it reads
from the stores' own markers, each time that it opens them. It decides nothing about when to reconnect.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from orchestrator.errors import AgentFault, LinkLost, NothingToDo, Refused
from orchestrator.inventory.model import Host, Pair
from orchestrator.remote.host import Conversation
from orchestrator.remote.pending import Pending
from orchestrator.replication import final, first, indexes, orders, proof, telling, trouble, width
from orchestrator.replication.flow import PATIENCE, PERMIT_EVERY, Flow, Numbers, Trace
from orchestrator.replication.heads import checked
from orchestrator.replication.report import (
    LastPass,
    Link,
    PairStatus,
    PassiveStatus,
    Progress,
    Selection,
    SyncReport,
    Tally,
    UndeleteReport,
    VerifyReport,
)
from orchestrator.replication.unasked import End

Event = Callable[[str, str], None]


class Session:
    """One pair, connected. `links` holds a conversation per host name, of the active and of each passive place.

    `on_event` gets (event, sentence); `trace` (base name, CLOCK_MONOTONIC ns) of each message made durable; `suspect`
    says, at once, whether the active place is under suspicion: meanwhile nothing is removed.
    """

    def __init__(
        self,
        pair: Pair,
        links: Mapping[str, Conversation],
        *,
        on_event: Event | None = None,
        trace: Trace | None = None,
        suspect: Callable[[], bool] = bool,
    ) -> None:
        self.pair, self._suspect, self._links = pair, suspect, dict(links)
        self._on_event, self._trace = on_event, trace
        self._become(pair.primary.name)  # until the markers were looked at
        self._numbers, self._on_purpose = Numbers(), False  # True: its services were stopped by us, so no suspicion
        self._flows: dict[str, list[Flow]] = {}
        self._facts: list[dict[str, Any]] = []
        self._link = Link.CONNECTING
        self._trouble = self._remedy = ""
        self._requests: SimpleQueue[Callable[[], None]] | None = None
        self._equal_as_of: dict[str, float] = {}
        self._watching, self._seen_at = "", 0.0

    # --- opening and closing ----------------------------------------------------------

    def close(self) -> None:
        """End the conversations. Whoever waits in another method gets LinkLost."""
        for link in self._links.values():
            link.close()

    def _wire_bytes(self) -> tuple[int, int]:
        links = self._links.values()
        return sum(link.bytes_in for link in links), sum(link.bytes_out for link in links)

    def let_go(self) -> None:
        """Let go of every store, surely: when this returns, whoever wants to may open or turn them."""
        self._shut()
        asked = [(self._links[host.name], store.root) for host in self._places() for store in host.stores]
        try:
            for pending in [link.start("store.close", {"store": root}) for link, root in asked]:
                pending.result(PATIENCE)
        except AgentFault as fault:
            raise trouble.told(fault) from fault

    def _places(self) -> list[Host]:
        return [host for host in self.pair.hosts.values() if host.name in self._links]

    def _become(self, active: str) -> None:
        self._active, self._passives = self.pair.hosts[active], [h for h in self._places() if h.name != active]

    def _know_roles(self) -> None:
        """Look who is active. Raises Refused where the markers don't agree, or a place's epoch is over; AgentFault."""
        first.known(self.pair, self._links, self._places(), self._become)

    def _open(self, watch: str) -> None:
        """Open every store at every end. Raises Refused where a marker forbids it, with the agent's remedy."""
        if self._flows and self._watching == watch:
            return
        self._watching = watch
        self._shut()
        try:
            self._know_roles()
            for number, store in enumerate(self._active.stores):
                self._facts.append(self._open_source(store.root, store.accounts, watch))
                for host in self._passives:
                    self._flows.setdefault(host.name, []).append(self._open_flow(host, number))
            self._seen_at = time.time()
        except AgentFault as fault:
            self._flows, self._facts = {}, []
            raise trouble.told(fault) from fault

    def _shut(self) -> None:
        """Let go of every store; the next `_open` opens them anew."""
        for flow in self._all_flows():
            flow.close()
        self._flows, self._facts = {}, []

    def _open_source(self, root: str, accounts: str | None, watch: str) -> dict[str, Any]:
        head = {
            "store": root, "side": "source", "accounts": accounts, "watch": watch,
            "services": sorted(set(self.pair.services.values())),
        }  # fmt: skip
        answer = self._links[self._active.name].request("store.open", head, timeout=PATIENCE)
        return checked(self._active.name, "store.open source", answer.head)

    def _open_flow(self, host: Host, number: int) -> Flow:
        source = End(self._active.name, self._links[self._active.name], self._active.stores[number].root)
        sink = End(host.name, self._links[host.name], host.stores[number].root)
        ends = (self.pair, source, sink, host.place, self._numbers)
        flow = Flow(*ends, wake=self._wake, trace=self._trace, suspect=self._suspected)
        flow.open(self._facts[number])
        return flow

    def _suspected(self) -> bool:
        return not self._on_purpose and self._suspect()

    def _wake(self) -> None:
        requests = self._requests
        if requests is not None:
            requests.put(_nothing)

    def _all_flows(self) -> list[Flow]:
        return [flow for flows in self._flows.values() for flow in flows]

    def _tell(self, event: str, sentence: str) -> None:
        if self._on_event is not None:
            self._on_event(event, sentence)

    # --- one pass ---------------------------------------------------------------------

    def sync(
        self,
        progress: Callable[[Progress], None] | None = None,
        *,
        dry_run: bool = False,
        deletes: bool = True,
        adopt: bool = False,
    ) -> list[SyncReport]:
        """One pass: audit, carry over, acknowledge. A report for each passive place.

        In a dry run nothing is changed and the reports are `planned`. `deletes=False` holds deletions
        back. `adopt` takes what stands on the passive places for a copy: compares and mends.
        """
        began = time.monotonic()
        before = self._wire_bytes()
        self._open(self._watching or "poll")
        try:
            for flow in self._all_flows():
                flow.deletes = deletes
                flow.tally = Tally()
            tell = self._teller(progress, began, "comparing" if adopt else "copying")
            self._audit(None if dry_run or adopt else tell)
            if dry_run:
                for flow in self._all_flows():
                    flow.tally = flow.plan()
            else:
                self._each_place(lambda flows: self._pass(flows, tell, adopt))
                self._refresh()
        except (AgentFault, LinkLost) as error:
            raise trouble.told(error) from error
        finally:
            for flow in self._all_flows():
                flow.deletes = True
        seconds = time.monotonic() - began
        after = self._wire_bytes()
        return [
            SyncReport(
                self.pair.name, host, telling.summed(flow.tally for flow in flows), seconds,
                after[0] - before[0], after[1] - before[1],
                planned=dry_run, problems=[p for flow in flows for p in flow.status.problems] + self._problems(),
            )
            for host, flows in self._flows.items()
        ]  # fmt: skip

    def _audit(self, tell: Callable[[Flow], None] | None = None) -> None:
        """Have the source look at every folder. With `tell`, a first copy goes on meanwhile, but for removals."""
        tell = tell if any(not flow.live for flow in self._all_flows()) else None
        if tell is not None:
            for number, store in enumerate(self._active.stores):  # nothing is copied beside another format
                self._seen(number, self._begin_look(store.root, survey=True).result(PATIENCE).head)
        pendings = [self._begin_look(store.root) for store in self._active.stores]
        if tell is not None:
            self._each_place(partial(self._copy_ahead, tell))
        for number, pending in enumerate(pendings):
            self._seen(number, pending.result(PATIENCE).head)

    def _begin_look(self, root: str, survey: bool = False) -> Pending:
        """An audit; of a store that was never read, a `survey` is over when its directories are known."""
        return self._links[self._active.name].start("source.audit", {"store": root, "survey": survey})

    def _seen(self, number: int, facts: dict[str, Any]) -> None:
        checked(self._active.name, "source.audit", facts)
        if facts["foreign"]:
            path, kind = facts["foreign"][0]
            raise Refused(
                f"{self._active.stores[number].root}/{path} on {self._active.name} holds {kind} mailboxes, not Maildir",
                remedy="Only Maildir is replicated. Take it out of mm_stores, or convert it (doveadm sync).",
            )
        self._facts[number] = facts
        for flows in self._flows.values():
            flows[number].facts = facts

    @staticmethod
    def _copy_ahead(tell: Callable[[Flow], None], flows: list[Flow]) -> None:
        for flow in [flow for flow in flows if not flow.live]:
            flow.ahead = True
            try:
                flow.pull(partial(tell, flow), once=True)
            finally:
                flow.ahead = False

    def _pass(self, flows: list[Flow], tell: Callable[[Flow], None], adopt: bool) -> None:
        for flow in flows:
            if adopt and not flow.whole:
                flow.adopt()
            flow.pull(partial(tell, flow))
            if not flow.whole and flow.may_delete:
                flow.sweep(adopt)
            tell(flow)

    def _teller(self, progress: Callable[[Progress], None] | None, began: float, phase: str) -> Callable[[Flow], None]:
        """What is called after each batch of a flow."""

        def tell(flow: Flow) -> None:
            self._widen(flow)
            if progress is not None:
                done, total = flow.tally, int(flow.facts["messages"])
                count = done.messages + done.linked + done.renamed
                progress(Progress(phase, count, total, done.message_bytes, 0, time.monotonic() - began))

        return tell

    def _widen(self, flow: Flow) -> None:
        narrow = width.widen(flow.sink.link)
        if narrow:
            self._tell("lanes", narrow)

    def _each_place(self, act: Callable[[list[Flow]], None]) -> None:
        """Act on each passive place's flows; several places side by side."""
        if len(self._flows) == 1:
            act(next(iter(self._flows.values())))
            return
        with ThreadPoolExecutor(len(self._flows)) as pool:
            for future in [pool.submit(act, flows) for flows in self._flows.values()]:
                future.result()

    def _problems(self) -> list[str]:
        return telling.problems(self._active.name, self._facts)

    # --- following --------------------------------------------------------------------

    def follow(self, stop: threading.Event, requests: SimpleQueue[Callable[[], None]]) -> None:
        """Live until `stop` is set (returns) or the link is lost (raises). See `web.replicates`."""
        self._requests = requests
        try:
            self._open(self.pair.watch)
            self._link = Link.CATCHING_UP
            self._audit(partial(self._between, stop))
            self._round(stop, first_time=True)
            self._refresh()
            self._link = Link.LIVE
            refresh_at = 0.0
            while not stop.is_set():
                self._serve(requests)
                if stop.is_set():
                    return
                self._round(stop, first_time=False)
                if time.monotonic() >= refresh_at:
                    self._refresh()
                    refresh_at = time.monotonic() + PERMIT_EVERY
        except AgentFault as fault:
            self._link = Link.REFUSED
            raise trouble.told(fault) from fault
        except LinkLost as loss:
            self._link = Link.CONNECTING
            raise trouble.told(loss) from loss
        finally:
            self._requests = None

    def _serve(self, requests: SimpleQueue[Callable[[], None]]) -> None:
        """Wait for something to do, at most until the permit is due; do what was asked for."""
        try:
            requests.get(timeout=PERMIT_EVERY / 2)()
            while True:
                requests.get_nowait()()
        except Empty:
            return

    def _round(self, stop: threading.Event, first_time: bool) -> None:
        def act(flows: list[Flow]) -> None:
            for flow in flows:
                flow.renew_permit()
                if first_time or flow.dirty or (flow.status.pending and flow.may_delete):
                    flow.pull(partial(self._between, stop, flow), once=True)
                    flow.status.pending = 0
                    if not flow.whole and flow.may_delete:
                        flow.sweep(adopting=False)

        self._each_place(act)

    def _between(self, stop: threading.Event, flow: Flow) -> None:
        if stop.is_set():
            raise LinkLost("The daemon is stopping.")
        self._widen(flow)

    def _refresh(self) -> None:
        for flow in self._all_flows():
            flow.refresh()
        self._facts = [flow.facts for flow in next(iter(self._flows.values()))]
        self._seen_at = time.time()

    # --- telling ----------------------------------------------------------------------

    def look(self) -> PairStatus:
        """How the pair stands now: every place is asked. Raises as a pass does."""
        self._open(self._watching or "poll")
        self._refresh()
        return self.status()

    def status(self) -> PairStatus:
        """How the pair stands, as last told. From any thread, at once."""
        facts = list(self._facts)
        received, sent = self._wire_bytes()
        last = PairStatus(
            self.pair.name, link=self._link, active=self._active.name, trouble=self._trouble, remedy=self._remedy,
            not_used=list(self.pair.not_used), bytes_received=received, bytes_sent=sent, taken_at=self._seen_at,
            rpo=self.pair.rpo,
        )  # fmt: skip
        telling.of_source(last, facts)
        last.passives = [self._passive(host) for host in self._passives]
        flows = self._all_flows()
        last.permit_open = bool(flows) and all(flow.permit_open for flow in flows)
        return last

    def _passive(self, host: Host) -> PassiveStatus:
        flows, equal = self._flows.get(host.name, []), self._equal_as_of.get(host.name)
        return telling.of_place(host, flows, equal, self._problems())

    # --- verifying --------------------------------------------------------------------

    def verify(self, deep: bool = False) -> list[VerifyReport]:
        """Compare both ends; `deep` reads every body too. Waits for what is on its way first."""
        self._open(self._watching or "poll")
        try:
            self._audit()
            reports = [proof.verify(self.pair.name, host, flows, deep) for host, flows in self._flows.items()]
        except AgentFault as fault:
            raise trouble.told(fault) from fault
        self._equal_as_of.update({report.host: report.taken_at for report in reports if report.equal})
        return reports

    def last_pass(self) -> LastPass:
        """Carry over the rest and prove equality, with the services of the active place stopped by us.

        What was removed there flows as well, although the place doesn't answer any more. Raises as a pass does.
        """
        began = time.monotonic()
        self._on_purpose = True
        try:
            reports = self.verify()
            self._refresh()
            return final.judged(reports, self.status(), self._facts, time.monotonic() - began)
        except AgentFault as fault:
            raise trouble.told(fault) from fault
        finally:
            self._on_purpose = False

    def carry_indexes(self, carrying: indexes.Carrying, *, stopped: bool) -> int:
        """Carry Dovecot's index caches to the other mail host, as `indexes.carry`. Raises as a pass does."""
        self._open(self._watching or "poll")
        return indexes.carry(carrying, self.pair, self._active, self._flows, stopped=stopped)

    # --- operators' verbs -------------------------------------------------------------

    def initialise(self, *, adopt: bool = False, dry_run: bool = False) -> list[str]:
        """Lay the markers down; sentences that say what was done, or would be. Raises NothingToDo, Refused."""
        try:
            self._know_roles()
            done = first.initialise(self.pair, self._links, self._active, self._passives, adopt=adopt, dry_run=dry_run)
        except AgentFault as fault:
            raise trouble.told(fault) from fault
        if not done:
            raise NothingToDo(
                f"{self.pair.name} is initialised already.", remedy="Run `mailmirror sync` or `mailmirror run`."
            )
        return done

    def undelete(self, chosen: Selection, *, dry_run: bool = False) -> list[UndeleteReport]:
        """Bring deleted messages back out of the quarantine of each passive place, as waiting deletions."""
        self._open(self._watching or "poll")
        return orders.undelete(self.pair.name, self._flows, chosen, dry_run=dry_run)

    def release(self, waiting: str) -> int:
        """Let the waiting deletions of this id through; how many. Raises Refused when it isn't what waits now."""
        self._open(self._watching or "poll")
        self._audit()
        return orders.release(self.pair.name, self._flows, waiting)

    def set_aside(self, *, dry_run: bool = False) -> list[str]:
        """Empty each passive place into its quarantine, so that the next pass makes it anew; sentences."""
        self._shut()  # so that every marker is looked at again, now
        self._open(self._watching or "poll")
        self._audit()
        try:
            return orders.set_aside(self._flows, dry_run=dry_run)
        except AgentFault as fault:
            raise trouble.told(fault) from fault
        finally:
            if not dry_run:
                self._shut()

    def retire(self, account: str, *, dry_run: bool = False) -> int:
        """Let a vanished account's deletion through; how many messages. Raises Refused while it is there."""
        self._open(self._watching or "poll")
        self._audit()
        return orders.retire_vanished(account, self._active.name, self._facts, self._flows, dry_run=dry_run)


def _nothing() -> None:
    """Only wakes."""
