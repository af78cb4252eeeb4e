"""The guard as a process: datagrams, the register's file, the kernel's gate, the local socket, the hands.

One loop in one thread: what has arrived, what is due, then the kernel's gate by the posture that follows. What may take
long (units, Postfix, addresses) is done by `hands` in a thread of its own, towards the newest posture.

Invariant: a register is durable before a message or an answer leaves that follows from it; the gate is opened only by
a deadline of the posture; a loop that stands still opens nothing. A message that isn't the pair's gets no answer.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import select
import socket
import sys
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

from . import datagram, guard, hearing, marker, orders, register
from .gate import Gate, boottime
from .guard import Mind, Posture
from .hands import Hands, Wish
from .lease import ALWAYS, NEVER, Impossible
from .nft import Missing, Nft, Refused
from .orders import Order
from .register import Register
from .ruleset import Ports
from .settings import LMTP, SMTP, Settings

TICK = 0.1
MINUTE = 60.0
LONGEST = 1 << 16
SOCKET = "control.sock"


def say(text: str) -> None:
    """A line for the journal."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


class Keeper:
    """The gate as the posture wants it. `weak`: why there is none, and the hands stop the services instead."""

    def __init__(self, settings: Settings, posture: Posture) -> None:
        self.weak = ""
        self._settings = settings
        self._nft: Optional[Nft] = None
        self._gate: Optional[Gate] = None
        self._set, self._looked = NEVER, 0.0
        self.resumed = NEVER
        if settings.witness or not settings.served:
            return
        try:
            self._nft = Nft()
            self._gate = Gate(self._ports(None, False), self._nft.run)
            if posture.serves_until == ALWAYS:
                self._gate.lay(opened=True)
                self._set = ALWAYS
            else:
                self._set = self.resumed = self._gate.resume()
        except (Missing, Refused) as error:
            self.weak = str(error)
            if self._gate is not None:
                self._set = ALWAYS  # what an earlier guard left there isn't known: it counts as open until it is set
            say(f"no gate in the kernel: {error}")

    def _ports(self, relay: Optional[str], queues: bool) -> Ports:
        served = self._settings.served
        if not queues:
            return Ports(tuple({*served, SMTP}))
        return Ports(tuple(port for port in served if port != SMTP), (SMTP, LMTP), relay)

    def follow(self, posture: Posture, relay: Optional[str], queues: bool, now: float) -> None:
        """Called with every turn of the loop. `queues`: Postfix is proven to queue only, so port 25 may answer."""
        if self._gate is None or (self.weak and now - self._looked < 1.0):
            return
        until = posture.serves_until if posture.serves_until > now else NEVER
        ports = self._ports(relay, queues and posture.role == "passive")
        try:
            try:
                self._follow(self._gate, until, ports, now)
            except Refused as error:
                say(f"the gate is laid anew: {error}")  # somebody has flushed it since it was last looked at
                self._lay(self._gate, until, ports)
            self.weak = ""
        except Refused as error:
            self.weak = str(error)
            self._looked = now
            say(f"the gate can't be set: {error}")

    def _follow(self, gate: Gate, until: float, ports: Ports, now: float) -> None:
        if ports != gate.ports or (now - self._looked >= 1.0 and not gate.stands()):
            if ports == gate.ports:
                say("the gate's tables were changed or removed: they are laid anew")
            self._lay(gate, until, ports)
        if now - self._looked >= 1.0:
            self._looked = now
        if until == NEVER and self._set != NEVER:
            gate.shut()
            self._set = NEVER
        elif until != self._set and gate.open_until(until):
            self._set = until

    def _lay(self, gate: Gate, until: float, ports: Ports) -> None:
        if until != NEVER and gate.lay_open(until, ports):
            self._set = until
        else:
            gate.lay(ports)
            self._set = NEVER

    @property
    def until(self) -> float:
        """Until when the kernel was told to hold it open."""
        return self._set

    @property
    def left(self) -> Optional[float]:
        """Seconds for which the kernel holds it open; None: shut, or there is none."""
        return None if self._gate is None else self._gate.left()

    def close(self) -> None:
        """The owned table ends; the plain one stays as it is, and ends the lease in time."""
        if self._nft is not None:
            self._nft.close()


class Post:
    """A guard at work. `run` returns when `ending` is set, and soon after `asked_to_end` is, by a signal for one."""

    def __init__(self, settings: Settings, key: bytes, *, state: str, run: str) -> None:
        """Raises register.Damaged, OSError."""
        self.settings = settings
        self.ending = self.asked_to_end = False
        self._key, self._state = key, state
        os.makedirs(state, 0o700, exist_ok=True)
        os.makedirs(run, 0o755, exist_ok=True)
        known = register.load(state) or Register(0, "")
        self.mind = guard.began(settings.rules, known, marker.boot_id(), boottime())
        self._failed = NEVER
        self._kept(self.mind.register)
        self.keeper = Keeper(settings, guard.posture(self.mind))
        # What was open without an end counts for as long as it takes to be granted, or confirmed, anew.
        self._left = min(self.keeper.resumed, boottime() + (settings.ttl or 2 * guard.PACE))
        self.hands = Hands(settings, state, say)
        self._udp = hearing.bound(settings.listen, settings.port)
        self._local = _listening(run)
        self._calls: Dict[int, Tuple[socket.socket, bytes, float]] = {}
        self._aged = self._alive = boottime()
        self._told = ""
        self._leaves_at = ALWAYS

    # --- the loop ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        hearing.notify("READY=1")
        while not self.ending:
            waiting: List[Any] = [self._udp, self._local, *self._calls]
            ready, _, _ = select.select(waiting, [], [], TICK)
            now = boottime()
            if self._udp in ready:
                self._receive(now)
            if self._local in ready:
                self._accept(now)
            self._listen([each for each in ready if isinstance(each, int)], now)
            self._due(now)
            self._act(boottime())

    def _due(self, now: float) -> None:
        if now - self._aged >= MINUTE:
            self._aged = now
            self._became(guard.aged(self.mind), [])
        if now >= self.mind.next_round:
            holds = self.mind.holder is not None
            self._became(*guard.tick(self.mind, now, self._stores() if holds else {}, _fresh, bool(self.keeper.weak)))
        if now - self._alive >= 1.0:
            self._alive = now
            hearing.notify("WATCHDOG=1")
        if self.asked_to_end and self._leaves_at == ALWAYS:
            self._leave()
        if now >= self._leaves_at:
            self.ending = True

    def _became(self, mind: Mind, messages: List[datagram.Message]) -> None:
        """The new state, durable; then what follows from it is sent.

        What says that this place serves for less than before (it has let go of a grant without an end, or learnt of a
        later epoch) leaves only when the kernel's gate is as narrow: whoever hears it relies on that.
        """
        promised = not register.same_promises(mind.register, self.mind.register)
        if mind.register != self.mind.register and not self._kept(mind.register) and promised:
            return  # as if what led to it had been lost on the way
        self.mind = mind
        if self.keeper.until > self._posture().serves_until:
            self._act(boottime())
        if self.keeper.until > self._posture().serves_until:
            return  # the gate can't be set: as if the messages were lost
        for message in messages:
            try:
                peer = self._to(*self.settings.peers[message.to])
                self._udp.sendto(datagram.sealed(message, self.settings.pair, self._key), peer)
            except ValueError as error:
                say(f"nothing is asked of the {message.to}: {error}; are there very many stores?")
            except OSError as error:
                if error.errno not in _UNREACHABLE:
                    raise
                # As if it were lost on the way: nobody there, or no way there.

    def _kept(self, new: Register) -> bool:
        """Whether it is durable. What isn't is told once a minute: the disk is full or broken."""
        try:
            register.keep(self._state, new)
        except OSError as error:
            if boottime() - self._failed >= MINUTE:
                self._failed = boottime()
                say(f"the register can't be written, so nothing new can be promised: {error}")
            return False
        return True

    def _to(self, address: str, port: int) -> Tuple[str, int]:
        mapped = self._udp.family == socket.AF_INET6 and ":" not in address
        return (f"::ffff:{address}" if mapped else address, port)

    def _receive(self, now: float) -> None:
        for _ in range(64):
            try:
                raw = self._udp.recv(datagram.LONGEST + 1, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in _UNREACHABLE:
                    raise
                continue  # an ICMP message about an earlier datagram
            try:
                message = datagram.parse(raw, self.settings.pair, self.settings.place, self._key)
            except datagram.Unsigned:
                continue
            now = boottime()  # not before it was here: what is granted runs from this moment
            try:
                self._became(*guard.received(self.mind, message, now, _fresh))
            except (KeyError, TypeError, ValueError) as error:
                say(f"a {message.kind} of the {message.by} can't be read: {type(error).__name__}: {error}")

    def _stores(self) -> Mapping[str, Tuple[int, int]]:
        """The stores whose markers can be read."""
        found = {}
        for path in self.settings.stores:
            mark = marker.look(path)
            if mark is not None:  # else the granters miss it, and say so
                found[mark.store[:8]] = (mark.epoch, mark.generation)  # short: all have to fit into a datagram
        return found

    # --- what follows from the state ----------------------------------------------------------------------------------

    def _act(self, now: float) -> None:
        posture = self._posture()
        active = self.settings.fixed.get(self.mind.register.active)
        relay = active if posture.role == "passive" else None
        self.keeper.follow(posture, relay, self.hands.queues, now)
        serves = posture.serves_until > now
        quiet, soft = guard.quiet_left(self.mind, now) > 0, guard.soft_left(self.mind, now) > 0
        self.hands.want(Wish(posture.role, serves, relay, bool(self.keeper.weak), quiet, soft))
        told = f"{posture.role}, {'serves' if serves else 'serves nobody'}: {posture.why}"
        told += f"; kept quiet by {self.mind.register.quiet}" if quiet else ""
        if told != self._told:
            self._told = told
            say(f"epoch {self.mind.register.epoch}: {told}")

    def _posture(self) -> Posture:
        """What this place may do. Until a guard that was started anew has its first grant, what the one before left
        open in the kernel counts: it was granted, and in this epoch, for else the register wouldn't name this place.
        """
        posture = guard.posture(self.mind)
        if posture.role != "active" or posture.serves_until >= self._left:
            return posture
        return posture._replace(serves_until=self._left, why="by the lease, as it was granted before the guard's start")

    # --- orders -------------------------------------------------------------------------------------------------------

    def _accept(self, now: float) -> None:
        call, _ = self._local.accept()
        call.setblocking(False)
        self._calls[call.fileno()] = (call, b"", now)

    def _listen(self, ready: List[int], now: float) -> None:
        for number, (call, heard, since) in list(self._calls.items()):
            if number in ready:
                try:
                    data = call.recv(LONGEST)
                except OSError:
                    data = b""
                heard += data
                self._calls[number] = (call, heard, since)
                if data and b"\n" not in heard and len(heard) < LONGEST:
                    continue
                with contextlib.suppress(OSError):  # whoever asked is gone; what it ordered is done and kept
                    call.sendall(json.dumps(self.answer(heard, now)).encode() + b"\n")
            elif now - since < 10:
                continue
            del self._calls[number]
            call.close()

    def answer(self, line: bytes, now: float) -> Dict[str, Any]:
        """To a line of JSON: {"verb": "status"}, or an order with the fields of orders.Order."""
        try:
            head = json.loads(line)
            if head.get("verb") == "status":
                return self.status(now)
            epoch = int(head.get("epoch", self.mind.register.epoch))
            words = {name: str(head.get(name, "")) for name in _TEXTS}
            words["operation"] = words["operation"] or secrets.token_hex(8)
            seconds = float(head.get("seconds", 0.0))
            mind, outcome = orders.ordered(self.mind, Order(epoch=epoch, seconds=seconds, **words), now)
        except Impossible as error:
            return {"error": str(error)}
        except (ValueError, TypeError, AttributeError) as error:
            return {"error": f"it can't be read: {error}"}
        try:
            self._became(mind, [])
        except ValueError as error:
            return {"error": f"it can't be kept: {error}"}
        if self.mind.register.done.get(words["operation"]) != outcome:
            return {"error": "the register can't be written: see to this host's disk"}
        say(f"order {words['verb']} {words['operation']}: {outcome}; {words['words'] or words['proof']}")
        self._act(boottime())
        if self.keeper.until > self._posture().serves_until:
            return {"error": f"it is kept, but the kernel's gate is still open: {self.keeper.weak}; order it again"}
        return {"outcome": outcome, **self.status(now)}

    def status(self, now: float) -> Dict[str, Any]:
        """What people and the controller are told; times are seconds from now, None: without an end."""
        posture, kept = self._posture(), self.mind.register
        left = None if posture.serves_until == ALWAYS else max(0.0, posture.serves_until - now)
        quiet = guard.quiet_left(self.mind, now)
        return {
            "pair": self.settings.pair,
            "place": self.settings.place,
            "role": posture.role,
            "serves": posture.serves_until > now,
            "left": left,
            "quiet": {"operation": kept.quiet, "left": quiet} if quiet else None,
            "soft": guard.soft_left(self.mind, now),
            "why": posture.why,
            "epoch": kept.epoch,
            "active": kept.active,
            "tombstone": kept.tombstone,
            "later": max(self.mind.named.values(), default=0),
            "generation": kept.generation,
            "armed": self.settings.ttl > 0
            and kept.epoch > 0
            and not (kept.kept.without_end or kept.without_end or kept.attested),
            "granted": {
                "without_end": kept.kept.without_end,
                "refuses": kept.kept.refuses,
                "leaving": kept.leaving,
                "weak": kept.weak,
                "given": None if self.mind.given == NEVER else now - self.mind.given,
            },
            "run_out": None if self.mind.granter is None else max(0.0, self.mind.granter.run_out - now),
            "heard": {peer: round(now - at, 1) for peer, at in self.mind.heard.items()},
            "denied": dict(self.mind.denied),
            "doubted": dict(self.mind.doubted),
            "gate": {"weak": self.keeper.weak, "open": self.keeper.left is not None},
            "hands": self.hands.told(),
        }

    # --- the end ------------------------------------------------------------------------------------------------------

    def _leave(self) -> None:
        """Asked to end: a granter first lets the active have a grant without an end, and waits half a ttl for that."""
        granter = self.mind.granter
        if granter is None or self.mind.register.kept.refuses:
            self._leaves_at = NEVER
            return
        self.mind = guard.leaving(self.mind)
        self.hands.stop()  # what is started now would, by its boot gate, start this guard again
        self._leaves_at = boottime() + self.settings.ttl / 2

    def close(self) -> None:
        self.hands.close()
        self.keeper.close()
        self._udp.close()
        self._local.close()
        for call, _, _ in self._calls.values():
            call.close()


_TEXTS = ("verb", "operation", "active", "proof", "words", "quiet")
_UNREACHABLE = (
    errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EPERM, errno.EAGAIN,
    errno.ENOBUFS, errno.EADDRNOTAVAIL, errno.EHOSTDOWN,
)  # fmt: skip


def _fresh() -> int:
    return secrets.randbits(63)


@contextlib.contextmanager
def socket_in(run: str) -> Iterator[str]:
    """A path of the guard's socket, short enough for any directory (unix(7): 107 bytes at most)."""
    directory = os.open(run, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{SOCKET}"
    finally:
        os.close(directory)


def _listening(run: str) -> socket.socket:
    local = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        with socket_in(run) as path:
            if os.path.exists(path):
                os.unlink(path)
            local.bind(path)
    finally:
        os.umask(mask)
    local.listen(16)
    return local
