"""A real Postfix alone in a root, with its queue and its values, for tests of its posture; no systemd, no network.

Invariant: nothing of it outlives the context.
"""

from __future__ import annotations

import json
import subprocess
from types import TracebackType
from typing import Any

from tests.support import image, measuring

PACKAGES = ("dovecot-core", "dovecot-imapd", "dovecot-lmtpd", "dovecot-pop3d", "postfix", "procps")
"""What another test's layer has already."""
STATE = "/var/lib/mailmirror-guard"
MAIN = """# The operator's own words.
compatibility_level = 3.6
myhostname = mail.example.test
mydestination = $myhostname
mynetworks = 127.0.0.0/8
inet_interfaces = loopback-only
inet_protocols = ipv4
alias_maps =
# where mail goes
virtual_mailbox_domains = example.test
virtual_mailbox_maps = static:yes
virtual_mailbox_base = /var/vmail
virtual_uid_maps = static:5000
virtual_gid_maps = static:5000
transport_maps =
    inline:{
        # a partner's own server
        partner.test=smtp:[127.0.0.1]:2525
    }
relayhost = [smarthost.example.test]:587
queue_run_delay = 1s
minimal_backoff_time = 1s
maximal_backoff_time = 2s
"""
CALL = f"""
import json, sys
sys.path.insert(0, "/house")
from orchestrator.agent import posture
from orchestrator.agent.serve import Fault
word, *arguments = json.load(sys.stdin)
try:
    print(json.dumps(getattr(posture, word)(*arguments, {STATE!r})))
except Fault as fault:
    print(json.dumps({{"code": fault.code, "message": str(fault), "remedy": fault.remedy}}))
"""
DYING = """
import os, signal, subprocess, sys
at, count = int(sys.argv[1]), 0
def wrap(module, name, counts):
    real = getattr(module, name)
    def wrapped(*a, **k):
        global count
        if not counts(*a):
            return real(*a, **k)
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1
        return real(*a, **k)
    setattr(module, name, wrapped)
wrap(os, "rename", lambda *a: True)
wrap(os, "unlink", lambda *a: True)
wrap(subprocess, "run", lambda argv: bool({"-e", "-X", "reload"} & set(argv)))
"""
"""Kills the process before its k-th act, a file renamed or removed, a command that changes something. Behind one act is
before the next, or the end: between two nothing is changed.
"""
COUNTED = "\nprint(count)"


class Postfix:
    """A context manager; `root` is where it runs."""

    def __enter__(self) -> Postfix:
        binds = [(image.CHECKOUT, measuring.HOUSE), *measuring.binds()]
        self.root = image.Root(binds=binds, net=image.LOOPBACK, packages=PACKAGES).__enter__()
        try:
            self.write(MAIN)
            self.check("install -d -o 5000 -g 5000 /var/vmail && postfix start")
        except BaseException:
            self.root.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.root.close()

    def write(self, main: str) -> None:
        """Put main.cf in place, as an operator's editor would."""
        self.root.check(["sh", "-c", "cat > /etc/postfix/main.cf"], stdin=main.encode())

    def check(self, line: str) -> str:
        return self.root.check(["sh", "-c", line]).decode()

    @property
    def main(self) -> str:
        return self.root.path("/etc/postfix/main.cf").read_text()

    def values(self, directory: str = "/etc/postfix") -> str:
        """What main.cf says, comments and order apart."""
        return self.check(f"postconf -c {directory} -n | sort")

    def call(self, word: str, *arguments: object) -> Any:
        """What a function of `posture` gives, as JSON; a fault as its code, message and remedy."""
        argv = ["/usr/bin/python3", "-B", "-c", measuring.begin() + CALL]
        said = self.root.check(argv, stdin=json.dumps([word, *arguments]).encode())
        return json.loads(said)

    def dying(self, at: int, word: str, *arguments: object) -> int | None:
        """Call it, and have it die at its act `at`; the number of its acts when it lived to its end, else None."""
        argv = ["/usr/bin/python3", "-B", "-c", DYING + CALL + COUNTED, str(at)]
        try:
            said = self.root.check(argv, stdin=json.dumps([word, *arguments]).encode())
        except subprocess.CalledProcessError:
            return None
        return int(said.splitlines()[-1])
