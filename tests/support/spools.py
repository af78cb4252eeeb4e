"""Two real Postfixes in one root, one that gives its queue (`GIVES`) and one that takes it, driven as by a controller.

A child process for each script of requests; it may be killed at its k-th act, an act being a call that changes what a
disk holds: a file created, written, renamed, unlinked, made durable, a directory made, a commit of a ledger, a command
of Postfix's. `half` of a command is the same command for the first letter alone.

Invariant: nothing of it outlives the context. Letters are made by Postfix once, and laid down again by copies.
"""

from __future__ import annotations

import base64
import json
import subprocess
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from tests.support import measuring
from tests.support.dying import WRAP
from tests.support.postfix import Postfix

GIVES, TAKES = "/etc/postfix", "/etc/postfix-out"
SPOOL = {GIVES: "/var/spool/postfix", TAKES: "/var/spool/postfix-out"}
SHAPE = """
postmulti -e init && postmulti -I postfix-out -e create && postmulti -i postfix-out -e enable
postconf -c /etc/postfix-out -e authorized_submit_users=root inet_protocols=ipv4 compatibility_level=3.6
for each in /etc/postfix /etc/postfix-out; do
    postconf -c $each -e virtual_transport=lmtp:unix:private/nobody transport_maps= minimal_backoff_time=300s
done
"""
DRIVER = r"""
import base64, json, os, signal, sqlite3, stat, subprocess, sys
sys.path.insert(0, "/house")
from orchestrator.agent import beneath, mailqueue, posture
from orchestrator.agent.serve import Fault
from orchestrator.agent.wire import Frame, Kind
from orchestrator.failover import carrying, queueplan

count, at, how, told = 0, -1, "before", None

def die():
    told.flush()
    os.kill(os.getpid(), signal.SIGKILL)

def act(what, call, half=None):
    global count
    mine, count = count == at, count + 1
    told.write(json.dumps({"act": what}) + "\n")
    if mine and how == "before":
        die()
    if mine and how == "half":
        if half is not None:
            half()
        die()
    result = call()
    if mine:
        die()
    return result

"""
DRIVER += WRAP
DRIVER += r"""
class Connection(sqlite3.Connection):
    def execute(self, sql, *a):
        if sql == "COMMIT":
            return act("commit", lambda: super(Connection, self).execute(sql, *a))
        return super().execute(sql, *a)

def changes(argv, said=""):
    return argv[0] == "postsuper" or argv[-1] == "-f"

def first_only(real, argv, said=""):
    return real(argv, said.partition("\n")[0] + "\n")

def mortal():
    wrap(os, "open", lambda path, flags, *a, **k: bool(flags & os.O_CREAT))
    is_file = lambda fd, data: stat.S_ISREG(os.fstat(fd).st_mode)
    wrap(os, "write", is_file, lambda real, fd, data: real(fd, data[: len(data) // 2]))
    for name in ("fsync", "rename", "unlink", "mkdir"):
        wrap(os, name)
    wrap(posture, "run", changes, first_only)
    connect = sqlite3.connect
    sqlite3.connect = lambda *a, **k: connect(*a, factory=Connection, **k)

def ask(instance, head, blob=b""):
    work = mailqueue.asked({"instance": instance, **head}, Frame(Kind.REQUEST, 1, head, blob), "/no/guard")
    try:
        while True:
            next(work)
    except StopIteration as end:
        return end.value
    except Fault as fault:
        raise SystemExit(json.dumps({"fault": fault.code, "message": str(fault), "remedy": fault.remedy}))

def asking(instance):
    def asked(head, blob):
        answer = ask(instance, {key: value for key, value in head.items() if key != "instance"}, blob)
        return answer.head, bytes(answer.blob)
    return asked

def script(steps, gives, takes, source, operation, epoch):
    whose = {"operation": operation, "epoch": epoch}
    ends = carrying.Ends(asking(gives), asking(takes), source)
    became = []
    for step in steps:
        there, rows = carrying.looked(ends)
        if step == "move":
            plan = queueplan.move(there, rows, source, operation)
            ask(gives, {"do": "hold", "ids": list(plan.hold), **whose})
            became = carrying.carried(ends, plan.carry, operation, epoch)
        elif step == "release":
            wanted = queueplan.to_release(rows, source, operation)
            ask(takes, {"do": "release", "source": source, "ids": wanted, **whose})
        elif step == "drop":
            ask(gives, {"do": "drop", "confirmed": queueplan.to_drop(there, rows, source), **whose})
        elif step == "lift":
            ask(takes, {"do": "lift", "source": source, "ids": queueplan.to_lift(rows, source, operation), **whose})
        elif step == "unhold":
            ask(gives, {"do": "unhold", "ids": queueplan.to_unhold(there, rows, source, operation), **whose})
    return became

def one(order):
    global at, how
    at, how = order.get("at", -1), order.get("how", "before")
    mortal()
    if "script" in order:
        return script(**order["script"])
    answer = ask(order["instance"], order["head"], base64.b64decode(order.get("blob", "")))
    return {"head": answer.head, "blob": base64.b64encode(answer.blob).decode()}

for line in sys.stdin:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        told = os.fdopen(writing, "w")
        try:
            answer = one(json.loads(line))
        except SystemExit as said:
            answer = json.loads(said.code)
        told.write(json.dumps({"answer": answer}) + "\n")
        told.flush()
        measured()
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as heard:
        rows = [json.loads(row) for row in heard]
    os.waitpid(child, 0)
    print(json.dumps(rows), flush=True)
"""


class Refused(Exception):
    """The agent's fault; `code` is its."""

    def __init__(self, told: dict[str, Any]) -> None:
        super().__init__(told["message"])
        self.code = told["fault"]


@dataclass(frozen=True)
class Ran:
    """What a script did: its acts, whether it lived to its end, and what became of what it carried last."""

    acts: list[str]
    lived: bool
    became: list[list[str]]


class Spools:
    """A context manager. No Postfix runs at first."""

    def __enter__(self) -> Spools:
        self.postfix = Postfix().__enter__()
        try:
            self.sh(f"postfix stop; {SHAPE}")
            argv = ["/usr/bin/python3", "-B", "-c", measuring.begin() + DRIVER]
            self._driver = self.postfix.root.run(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        except BaseException:
            self.postfix.root.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._driver.stdin and self._driver.stdout
        self._driver.stdin.close()
        self._driver.wait(10)
        self._driver.stdout.close()
        self.postfix.root.close()

    def sh(self, line: str) -> str:
        return self.postfix.check(f"({line}) 2> /tmp/said || {{ cat /tmp/said >&2; exit 1; }}")

    # --- as a controller ----------------------------------------------------------------------------------------------

    def _order(self, order: dict[str, Any]) -> list[dict[str, Any]]:
        assert self._driver.stdin and self._driver.stdout
        self._driver.stdin.write(json.dumps(order).encode() + b"\n")
        self._driver.stdin.flush()
        told: list[dict[str, Any]] = json.loads(self._driver.stdout.readline())
        return told

    def ask(self, instance: str, do: str, blob: bytes = b"", **head: Any) -> dict[str, Any]:
        """One request; the answer's head, and its bytes as `blob`. Raises Refused."""
        order = {"instance": instance, "head": {"do": do, **head}, "blob": base64.b64encode(blob).decode()}
        told: dict[str, Any] = self._order(order)[-1]["answer"]
        if "fault" in told:
            raise Refused(told)
        return {**told["head"], "blob": base64.b64decode(told["blob"])}

    def run(
        self,
        *steps: str,
        gives: str = GIVES,
        operation: str = "one",
        epoch: int = 1,
        at: int = -1,
        how: str = "before",
    ) -> Ran:
        """Steps (move, release, drop, lift, unhold), each for what the plan says. Raises Refused."""
        takes = TAKES if gives == GIVES else GIVES
        script = {
            "steps": steps,
            "gives": gives,
            "takes": takes,
            "source": "primary" if gives == GIVES else "mirror",
            "operation": operation,
            "epoch": epoch,
        }
        told = self._order({"script": script, "at": at, "how": how})
        acts = [row["act"] for row in told if "act" in row]
        answer = told[-1].get("answer", {}) if told else {}
        if isinstance(answer, dict) and "fault" in answer:
            raise Refused(answer)
        return Ran(acts, bool(told) and "answer" in told[-1], answer or [])

    # --- the disk -----------------------------------------------------------------------------------------------------

    def send(self, count: int, *, long: bool = True, instance: str = GIVES) -> list[str]:
        """Have Postfix take letters, and stop it; their ids, all deferred."""
        before = set(self.ids(instance, "deferred"))
        self.sh(
            f"postconf -c {instance} -e enable_long_queue_ids={'yes' if long else 'no'}; postfix -c {instance} start"
        )
        for number in range(count):
            self.sh(f"echo letter {number} | sendmail -C {instance} -f a@b.test u@example.test")
        wait = f"[ $(find {SPOOL[instance]}/deferred -type f | wc -l) -ge {len(before) + count} ]"
        self.sh(f"for i in $(seq 200); do {wait} && break; sleep 0.05; done; {wait}; postfix -c {instance} stop")
        return sorted(set(self.ids(instance, "deferred")) - before)

    def ids(self, instance: str, queue: str) -> list[str]:
        return sorted(self.sh(f"find {SPOOL[instance]}/{queue} -type f -not -name '.*' -printf '%f\\n'").split())

    def contents(self, instance: str, *queues: str) -> list[str]:
        """Digests of the letters in these queues, each as often as it stands there."""
        places = " ".join(f"{SPOOL[instance]}/{queue}" for queue in queues)
        said = self.sh(f"find {places} -type f -not -name '.*' -exec sha256sum {{}} +; true")
        return sorted(line.split()[0] for line in said.splitlines())

    def keep(self) -> None:
        """Remember both spools as they are now."""
        self.sh("rm -rf /kept; mkdir /kept; cp -a /var/spool/postfix /var/spool/postfix-out /kept")

    def back(self) -> None:
        """Both spools as they were, with new inodes for every letter; long ids don't mind."""
        queues = "active bounce defer deferred hold incoming trace .mailmirror"
        copy = "rm -rf $each/$queue; [ ! -e /kept/$each/$queue ] || cp -a /kept/$each/$queue $each"
        self.sh(f"cd /var/spool; for each in postfix postfix-out; do for queue in {queues}; do {copy}; done; done")
