"""What a host's agent answers: `guard`, `services`, `queue`, `store.look`, `store.turn`, and what replication asks.

The shapes and the refusals are the real agent's (their docstrings); what the guard says is its own. An answer is a head
and bytes, or `Later`: seconds that the work takes, and what is so at its end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from typing import Any, NamedTuple

from orchestrator.agent.marker import ACTIVE, PASSIVE
from orchestrator.agent.serve import Fault
from orchestrator.simulate import returning
from orchestrator.simulate.guards import Guard
from orchestrator.simulate.laws import Broken
from orchestrator.simulate.returning import Returning

Head = Mapping[str, Any]
Told = tuple[dict[str, Any], bytes]


class Later(NamedTuple):
    seconds: float
    then: Callable[[], Told]


class Agent:
    """Of a host; `guard` gives the guard's newest life, None where there is none. `cutting`: the operations that count
    on a cut.
    """

    def __init__(self, guard: Guard, cutting: Set[str]) -> None:
        self.guard, self.cutting = guard, cutting
        self.host = guard.host

    def answer(self, verb: str, head: Head, blob: bytes) -> Told | Later:
        """Raises Fault."""
        if verb == "services":
            return self._services(head)
        if verb == "queue":
            told = self._status()
            given_up = told["tombstone"] > told["epoch"]
            epoch = max(int(told["epoch"]), int(told["later"]))
            return self.host.spool.asked(head, blob, runs=self.host.postfix, epoch=epoch, given_up=given_up)
        if verb in Returning.VERBS:
            return Returning(self.host.store, self.host.mailboxes).asked(verb, head, blob)
        work: Callable[[Head], dict[str, Any]] = getattr(self, f"_{verb.replace('.', '_')}")
        return work(head), b""

    # ---- the guard ---------------------------------------------------------------------------------------------------

    def _status(self) -> dict[str, Any]:
        return self._guard({"order": {"verb": "status"}})

    def _guard(self, head: Head) -> dict[str, Any]:
        guard = self.guard.guards[self.host.place]
        if not guard.alive:
            raise Fault("unguarded", "the guard doesn't answer", "systemctl status mailmirror-guard")
        told = guard.told(head["order"])
        if "error" in told:
            raise Fault("refused", str(told["error"]), "Nothing was changed.")
        return told

    def _advertised(self, head: Head) -> dict[str, Any]:
        if head["do"] == "set":
            epoch = self._status()["epoch"]
            if epoch > head["epoch"]:
                raise Fault("older-epoch", f"it is epoch {epoch} on this host: epoch {head['epoch']} is over")
            self.host.rule = head["rule"]
        rule = self.host.rule
        withheld = ["CONDSTORE", "QRESYNC"] if rule else []
        more = {"next": "", "raised": 1, "failed": []} if head["do"] == "sweep" else {}
        return {"dovecot": True, "rule": rule, "withheld": withheld, **more}

    # ---- services ----------------------------------------------------------------------------------------------------

    def _services(self, head: Head) -> Told | Later:
        do, host = head["do"], self.host
        if do == "look":
            state = (("postfix.service", host.postfix), ("dovecot.service", host.mailboxes))
            units = [[name, "active" if runs else "inactive", int(runs)] for name, runs in state]
            return self._facts(units=units, writers=[f"{name}[1]" for name, runs in state if runs])
        told = self._status()
        if told["epoch"] != head["epoch"]:
            raise Fault("refused", f"it is epoch {told['epoch']} on this host, and not {head['epoch']}")
        if do == "open":
            return self._opened(head, told)
        quiet = told["quiet"]
        if quiet is None or quiet["operation"] != head["operation"]:
            raise Fault("refused", f"its guard doesn't keep it quiet by {head['operation']}")
        if not told["hands"]["done"]:
            raise Fault("busy", "the guard still starts or stops something", "Try again.")
        if do == "reject":
            host.rejects = host.clock() + min(head["seconds"], quiet["left"])
            return self._facts()
        seconds = host.dice.uniform(0.1, head["seconds"] if do == "drain" else 3.0)
        return Later(seconds, self._drained if do == "drain" else self._stopped)

    def _drained(self) -> Told:
        self.host.sessions = 0
        return self._facts(cut=False)

    def _stopped(self) -> Told:
        self.host.stop()
        return self._facts(state="done", why=[])

    def _opened(self, head: Head, told: dict[str, Any]) -> Told:
        quiet = told["quiet"]
        if quiet is not None and quiet["operation"] != head["operation"]:
            raise Fault("refused", f"{quiet['operation']} keeps it quiet, and not {head['operation']}")
        self.host.rejects = float("-inf")
        if quiet is not None or not told["serves"]:
            return self._facts(state="not done", why=["it is kept quiet" if quiet else told["why"]])
        self.host.start()
        return self._facts(state="done", why=[])

    def _facts(self, **more: Any) -> Told:
        host = self.host
        left = host.rejects - host.clock()
        rejects = {"25": left, "143": left} if left > 0 else {}
        sessions = host.sessions if host.mailboxes else 0
        told = {"quiet": self._status()["quiet"], "rejects": rejects, "silenced": {}, "left": [0, 0, sessions]}
        return {**told, **more}, b""

    # ---- the store ---------------------------------------------------------------------------------------------------

    def _store_look(self, _: Head) -> dict[str, Any]:
        store = self.host.store
        return {"marker": store.marker.head() if store.mounted else None, "empty": False, "maildir": False}

    def _store_turn(self, head: Head) -> dict[str, Any]:
        store, epoch, role = self.host.store, head["epoch"], head["role"]
        found = store.marker
        if not store.mounted:
            raise Fault("no-marker", "the store has no marker", "Mount its file system.")
        if (head["active"] == found.place) != (role == ACTIVE):
            raise Fault("bad-request", f"{found.place} can't be {role} while the active is {head['active']}")
        if (found.epoch, found.role) == (epoch, role):
            return {"marker": found.head(), "made": False}
        if epoch <= found.epoch:
            raise Fault("older-epoch", f"the store is {found.role} in epoch {found.epoch}")
        if role == ACTIVE and epoch > found.epoch + 1:
            raise Fault("wrong-epoch", f"it has no part in epoch {epoch - 1}")
        told = self._status()
        ours = told["epoch"] == epoch and told["active"] == head["active"]
        gives = role == PASSIVE and told["epoch"] < epoch
        given = gives and (told["tombstone"] >= epoch or told["active"] != found.place)
        if not ours and not given:
            raise Fault("refused", f"the guard here is in epoch {told['epoch']} (active: {told['active']})")
        cut = store.cut is not None and store.cut["epoch"] == epoch
        if role == ACTIVE and head["operation"] in self.cutting and not cut:
            raise Broken(f"G1: the {found.place} is promoted, and was written to after its cut")
        truthful = self.host.rule is not None and self.host.rule["epoch"] == epoch
        if role == ACTIVE and head["operation"] in self.cutting and not truthful:
            raise Broken(f"G4: the {found.place} is promoted, and advertises CONDSTORE and QRESYNC")
        store.turned(found._replace(role=role, epoch=epoch).raised(f"{self.host.place} {self.host.boot}"))
        return {"marker": store.marker.head(), "made": True}

    # ---- replication: no verbs of the real agent, but what its conversations come to ---------------------------------

    def _copy_offer(self, head: Head) -> dict[str, Any]:
        store = self.host.store
        if (store.marker.role, store.marker.epoch) != (ACTIVE, head["epoch"]):
            raise Fault("wrong-role", f"it is {store.marker.role} in epoch {store.marker.epoch}")
        return store.offered()

    def _copy_take(self, head: Head) -> dict[str, Any]:
        store = self.host.store
        if (store.marker.role, store.marker.epoch) != (PASSIVE, head["epoch"]):
            raise Fault("wrong-role", f"it is {store.marker.role} in epoch {store.marker.epoch}")
        if head["number"] < store.passed:
            raise Fault("busy", "a later conversation has this store")
        store.cut, store.passed = None, head["number"]
        store.copy(head["offer"], deletes=head["deletes"], adopts=head["adopts"])
        return {}

    def _copy_sync(self, _: Head) -> dict[str, Any]:
        self.host.store.sync()
        return {"letters": dict(self.host.store.letters)}

    # ---- cuts: the sink opened by the passive host's agent alone -----------------------------------------------------

    def _store_open(self, head: Head) -> dict[str, Any]:
        store, told = self.host.store, self._status()
        if store.marker.role != PASSIVE:
            raise Fault("wrong-role", f"it is {store.marker.role} in epoch {store.marker.epoch}")
        if told["active"] == self.host.place:
            raise Fault("served", f"by its guard this place is active in epoch {told['epoch']}")
        return {}

    def _store_close(self, _: Head) -> dict[str, Any]:
        return {}

    def _sink_cut(self, head: Head) -> dict[str, Any]:
        store = self.host.store
        if head["epoch"] < store.marker.epoch:
            raise Fault("older-epoch", f"it is in epoch {store.marker.epoch}")
        return {"cut": returning.told(store.frozen(head["epoch"], head["operation"]))}

    def _store_cuts(self, _: Head) -> dict[str, Any]:
        cut = self.host.store.cut
        return {"cuts": [returning.told(cut)] if cut else []}

    def _store_drop_cut(self, _: Head) -> dict[str, Any]:
        there, self.host.store.cut = self.host.store.cut is not None, None
        return {"dropped": there}
