"""What a guard has done to its host beside the kernel's gate: units, Postfix's posture, the addresses.

A thread works towards the newest wish, one step after the other, and begins anew when another wish comes; what fails is
tried again. The wish says what this place may do, and nothing here judges that.

Invariant: no step lets more answer than the wish allows, in whatever order wishes come: the gate is the guard's own,
and shuts before; what goes on beside other steps has ended before another wish begins. Every step is idempotent, so a
guard that is started anew takes them all again.
"""

from __future__ import annotations

import threading
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from . import address, advertised, posture, quiesce, units
from .abreast import Abreast
from .crier import Crier
from .serve import Fault
from .settings import Settings

AGAIN = 5.0  # seconds after a step that failed
LOOK = 30.0  # seconds after which all is looked at anew though nothing was asked
SPEAK = 1.0  # seconds between looks whether the addresses are to be announced again
POSTFIX = ("postfix.service", "postfix@-.service")


class Wish(NamedTuple):
    """`role` as of guard.Posture; `serves`: it may, now; `active`: the address of the active, for what queues; `stop`:
    there is no gate in the kernel, so what doesn't serve has to be stopped; `quiet`: nothing is started nor taken up,
    though it may, and a passive place doesn't even queue; `soft`: Postfix bounces nothing for good.
    """

    role: str
    serves: bool
    active: Optional[str]
    stop: bool
    quiet: bool = False
    soft: bool = False


class Hands:
    """`queues`: Postfix is proven to queue only. `say` writes a line for the journal: what each step took."""

    def __init__(self, settings: Settings, state: str, say: Callable[[str], None]) -> None:
        self.queues = False
        self._settings, self._state, self._say = settings, state, say
        self._beside: List[Abreast[Any]] = []
        self._told: Optional[Wish] = None
        self._wish: Optional[Wish] = None
        self._problems: Dict[str, str] = {}
        self._done: Optional[Wish] = None
        self._crier = Crier()
        self._turn = threading.Condition()
        self._ending = settings.witness
        self._thread = threading.Thread(target=self._work, name="hands", daemon=True)
        self._thread.start()

    def want(self, wish: Wish) -> None:
        """The newest wish counts."""
        with self._turn:
            if wish != self._wish:
                self._wish = wish
                self.queues = self.queues and wish.role == "passive" and not wish.quiet
                self._turn.notify()

    def told(self) -> Dict[str, Any]:
        """What is done, and what fails."""
        with self._turn:
            return {"done": self._done == self._wish, "queues": self.queues, "problems": dict(self._problems)}

    def stop(self) -> None:
        """The step that is on is the last one."""
        with self._turn:
            self._ending = True
            self._turn.notify()

    def close(self) -> None:
        """As `stop`, and waits for that step."""
        self.stop()
        self._thread.join(2)

    def _work(self) -> None:
        while True:
            self._rest()
            with self._turn:
                if self._ending:
                    return
                wish = self._wish
            if wish is not None:
                self._fulfil(wish)

    def _rest(self) -> None:
        """Until there is something to do; meanwhile what is held is announced as often as is due."""
        with self._turn:
            wish, settled = self._wish, self._wish == self._done or self._wish is None
            until = time.monotonic() + (LOOK if settled else AGAIN if self._problems else 0.0)
        serves = settled and wish is not None and wish.serves and not wish.quiet
        while (left := until - time.monotonic()) > 0:
            if serves and not self._announced():
                return
            with self._turn:  # not held while it is announced: who wants something else must never wait for the kernel
                if self._ending or self._wish != wish or self._turn.wait(min(left, SPEAK) if serves else left):
                    return

    def _announced(self) -> bool:
        """Whether that went well; else all is looked at anew."""
        try:
            self._crier.tick(time.monotonic(), self._settings.addresses)
        except (Fault, OSError) as error:
            with self._turn:
                self._problems, self._done = {"announce": str(error)}, None
            return False
        return True

    def _fulfil(self, wish: Wish) -> None:
        problems: Dict[str, str] = {}
        took: List[str] = []
        self._beside = []
        for name, step in self._steps(wish):
            since = time.monotonic()
            try:
                step()
            except Exception as error:  # noqa: BLE001 - a thread that ended would be missed by nobody
                remedy = getattr(error, "remedy", "")
                problems[name] = f"{error} {remedy}".strip()
            took.append(f"{name} {time.monotonic() - since:.2f} s")
            with self._turn:
                if self._wish != wish:
                    break
        for each in self._beside:
            each.wait()  # before another wish begins: none of its steps goes on beside a later one's
        if took and self._told != wish:
            self._told = wish
            self._say(f"hands, {'serving' if wish.serves else wish.role}: {', '.join(took)}")
        with self._turn:
            self._problems = problems
            self._done = None if problems or self._wish != wish else wish

    def _steps(self, wish: Wish) -> List[Tuple[str, Callable[[], None]]]:
        """In order. Letting go comes before stopping, and starting before taking up: clients find who answers."""
        if not self._settings.units:
            return []
        mailboxes = [unit for unit in self._settings.units if unit not in POSTFIX]
        if wish.serves and wish.quiet:
            return []
        if wish.serves:
            return self._serving(wish, mailboxes)
        steps = [(f"let {each} go", self._letting_go(each, where)) for each, where in self._settings.addresses]
        if wish.role == "passive" and wish.quiet:
            steps.append(("stop", lambda: _proven(units.stop(self._settings.units))))
        elif wish.role == "passive":
            steps.append(("stop", lambda: _proven(units.stop(mailboxes))))
            steps.append(("open", lambda: quiesce.lift(self._state)))
            steps.append(("hold Postfix", lambda: self._hold(wish.active)))
        elif wish.role == "closed" or wish.stop:
            steps.append(("stop", lambda: _proven(units.stop(self._settings.units))))
        return steps

    def _serving(self, wish: Wish, mailboxes: List[str]) -> List[Tuple[str, Callable[[], None]]]:
        """Users wait for this, so what doesn't need another's end goes on beside it: mailboxes start, and the link is
        asked for the addresses, while Postfix is told. Postfix itself starts with its own values, never before.
        """
        starting = Abreast("start", lambda: _proven(units.start(mailboxes)))
        asking = {each: Abreast("ask", self._asking(each, where)) for each, where in self._settings.addresses}
        self._beside = [starting, *asking.values()]
        steps: List[Tuple[str, Callable[[], None]]] = [("release Postfix", lambda: self._release(wish.soft))]
        if postfix := [unit for unit in self._settings.units if unit in POSTFIX]:
            steps.append(("start Postfix", lambda: _proven(units.start(postfix))))
        steps += [("start", starting.result), ("open", lambda: quiesce.lift(self._state))]
        steps += [(f"take {each}", self._taking(each, at, asking[each])) for each, at in self._settings.addresses]
        return [*steps, ("advertise", lambda: advertised.keep_to(self._state))]

    def _release(self, soft: bool) -> None:
        if self._settings.postfix:
            (posture.soften if soft else posture.release)(self._state)

    def _hold(self, active: Optional[str]) -> None:
        if not self._settings.postfix:
            return
        try:
            proof = posture.hold(active, self._state)
        except BaseException:
            with self._turn:
                self.queues = False
            raise
        with self._turn:
            passive = self._wish is not None and self._wish.role == "passive" and not self._wish.quiet
            self.queues = proof.state == posture.DONE and passive
        if proof.state != posture.DONE:
            raise Fault("not-held", "Postfix doesn't only queue yet: " + "; ".join(proof.why), "It is looked at again.")
        _proven(units.start([unit for unit in self._settings.units if unit in POSTFIX]))

    @staticmethod
    def _asking(each: str, interface: str) -> Callable[[], bool]:
        """Whether nobody on the link answers for an address, asked as patiently as RFC 5227 wants it."""
        return lambda: _stands(each, interface) or address.probe(each, interface) is None

    @staticmethod
    def _taking(each: str, interface: str, asked: Abreast[bool]) -> Callable[[], None]:
        """Asked once more, quickly where it was free a moment ago: whoever took it meanwhile answers at once."""

        def take() -> None:
            free = asked.result()
            if not _stands(each, interface):
                address.add(each, interface, quick=free)

        return take

    def _letting_go(self, each: str, interface: str) -> Callable[[], None]:
        return lambda: _nothing(address.remove(each, interface))


def _stands(each: str, interface: str) -> bool:
    return any(standing.usable for standing in address.held(each, interface))


def _nothing(_: object) -> None:
    """What is returned needn't be known: it raises where it isn't so."""


def _proven(proof: units.Proof) -> None:
    """Raises Fault unless it is so."""
    if proof.state != posture.DONE:
        raise Fault("not-done", "; ".join(proof.why), "See `systemctl status` of the units.")
