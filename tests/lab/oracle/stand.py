"""One real mail host for testing the oracle itself: Postfix and Dovecot in a root of their own, behind one veth.

Invariant: nothing of it outlives the context. It is no place of a pair and runs no systemd; the lab has those. The
Maildirs stand outside its root, under `store`, so that a test can damage them beneath a running Dovecot.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.lab.mail import INTERNAL
from tests.lab.oracle.site import Exchange, Place, Site, User
from tests.support import image
from tests.support.netns import Network

PACKAGES = ("dovecot-core", "dovecot-imapd", "dovecot-lmtpd", "dovecot-pop3d", "postfix", "procps")
DOMAIN = "example.test"
VMAIL = 5000

DOVECOT = """
protocols = imap pop3 lmtp
listen = *
log_path = /stand/dovecot.log
ssl = yes
ssl_cert = </stand/cert.pem
ssl_key = </stand/key.pem
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_username_format = %Lu
mail_location = maildir:/var/vmail/%n
mail_uid = 5000
mail_max_userip_connections = 100
mail_gid = 5000
first_valid_uid = 5000
mail_fsync = never
default_vsz_limit = 0
CAPABILITY
passdb {
  driver = passwd-file
  args = scheme=PLAIN /stand/users
}
userdb {
  driver = static
  args = uid=5000 gid=5000 home=/var/vmail/home/%n allow_all_users=yes
}
namespace inbox {
  inbox = yes
}
service auth {
  client_limit = 4000
  unix_listener /var/spool/postfix/private/auth {
    mode = 0666
  }
}
service lmtp {
  unix_listener /var/spool/postfix/private/dovecot-lmtp {
    mode = 0666
  }
}
service imap-login {
  service_count = 0
}
service pop3-login {
  service_count = 0
}
service imap {
  service_count = 100
}
"""
MAIN = """
compatibility_level = 3.6
maillog_file = /dev/stdout
myhostname = mail.example.test
mydestination =
mynetworks =
inet_protocols = ipv4
queue_directory = /var/spool/postfix
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
data_directory = /var/lib/postfix
virtual_mailbox_domains = example.test
virtual_mailbox_maps = static:yes
virtual_transport = lmtp:unix:private/dovecot-lmtp
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_tls_cert_file = /stand/cert.pem
smtpd_tls_key_file = /stand/key.pem
smtpd_tls_security_level = may
smtpd_sasl_type = dovecot
smtpd_sasl_path = private/auth
smtpd_tls_auth_only = yes
queue_run_delay = 1s
minimal_backoff_time = 1s
maximal_backoff_time = 2s
service_throttle_time = 1s
"""
SERVICES = f"""
smtp inet n - n - - smtpd
submission inet n - n - - smtpd -o smtpd_tls_security_level=encrypt -o smtpd_sasl_auth_enable=yes
{INTERNAL}"""


class Stand:
    """A context manager; `site` names it. `capability`: what IMAP advertises in place of Dovecot's own list. `post`
    False: Dovecot alone.
    """

    def __init__(
        self, place: Path, users: int = 10, *, capability: str = "", name: str = "primary", post: bool = True
    ) -> None:
        place.mkdir(exist_ok=True)
        self.place = place
        self.store = place / "vmail"
        self.name = name
        self._capability = capability
        self._post = post
        self._users = tuple(User(f"user{number}@{DOMAIN}", f"secret{number}") for number in range(users))
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Stand:
        self._lay()
        with contextlib.ExitStack() as stack:
            self.network = stack.enter_context(Network())
            binds = [(self.place, "/stand"), (self.store, "/var/vmail")]
            self.root = stack.enter_context(image.Root(binds=binds, net=self.network.path, packages=PACKAGES))
            self.root.check(["mkdir", "-p", "/var/spool/postfix/private"])
            self.dovecot = self._start(["dovecot", "-F", "-c", "/stand/dovecot.conf"])
            stack.callback(self._end, "dovecot")
            if self._post:
                self._configure()
                self.postfix = self._start(["postfix", "start-fg"])
                stack.callback(self._end, "postfix")
            for port in (143, 110, *((25, 587) if self._post else ())):
                self._wait_for(port)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _lay(self) -> None:
        self.place.chmod(0o755)
        for directory in (self.store, self.store / "home"):
            directory.mkdir()
            os.chown(directory, VMAIL, VMAIL)
        users = "".join(f"{user.address}:{user.password}\n" for user in self._users)
        (self.place / "users").write_text(users)
        capability = f"imap_capability = {self._capability}" if self._capability else ""
        (self.place / "dovecot.conf").write_text(DOVECOT.replace("CAPABILITY", capability))
        names = ["-subj", "/CN=mail.example.test", "-addext", "subjectAltName=DNS:mail.example.test"]
        files = ["-keyout", f"{self.place}/key.pem", "-out", f"{self.place}/cert.pem"]
        key = ["-newkey", "rsa:2048", "-nodes", *files]
        subprocess.run(["openssl", "req", "-x509", "-days", "2", *key, *names], check=True, capture_output=True)

    def _configure(self) -> None:
        for name, text in (("main.cf", MAIN), ("master.cf", SERVICES)):
            self.root.check(["sh", "-c", f"cat > /etc/postfix/{name}"], stdin=text.encode())
        self.root.check(["postfix", "set-permissions"])

    def _start(self, words: list[str]) -> subprocess.Popen[Any]:
        log = open(self.place / f"{words[0]}.out", "wb")  # noqa: SIM115 - the child's own
        with log:
            return self.root.run(words, stdout=log, stderr=log)

    def _end(self, name: str) -> None:
        process: subprocess.Popen[Any] = getattr(self, name)
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def drain(self, seconds: float = 20.0) -> None:
        """Returns when Postfix's queue is empty. Raises TimeoutError."""
        until = time.monotonic() + seconds
        while left := self.root.check(["postqueue", "-j"]):
            if time.monotonic() > until:
                raise TimeoutError(f"still in the queue: {left.decode(errors='replace')[:500]}")
            self.root.check(["postqueue", "-f"])
            time.sleep(0.3)

    @property
    def post_log(self) -> str:
        """What Postfix said."""
        return (self.place / "postfix.out").read_text(errors="replace")

    def stop_dovecot(self) -> None:
        self._end("dovecot")

    def kill_dovecot(self) -> None:
        """SIGKILL to all of it at once; no reply gets out any more."""
        # Stopped, it starts no more of them; by their parent, since Postfix has processes of the same names.
        children = "until ! pkill -9 --runstates D,R,S --parent $top; do :; done"
        line = f"top=$(pgrep --oldest --exact dovecot); kill -STOP $top; {children}; kill -9 $top"
        self.root.check(["sh", "-c", line])
        self.dovecot.wait(5)

    def start_dovecot(self) -> None:
        """Again, after it was stopped; returns when it answers."""
        # An empty one that a killed process left behind would hold an account for two minutes.
        self.root.check(["find", "/var/vmail", "-name", "dovecot-uidlist.lock", "-delete"])
        self.dovecot = self._start(["dovecot", "-F", "-c", "/stand/dovecot.conf"])
        self._wait_for(143)

    def _wait_for(self, port: int) -> None:
        until = time.monotonic() + 20
        while True:
            try:
                socket.create_connection((self.address, port), 1).close()
                return
            except OSError as error:
                if time.monotonic() > until:
                    log = (self.place / "dovecot.log", self.place / "postfix.out")
                    tails = "\n".join(path.read_text()[-1500:] for path in log if path.exists())
                    raise TimeoutError(f"nobody listens on port {port} ({error}):\n{tails}") from error
                time.sleep(0.05)

    @property
    def address(self) -> str:
        return self.network.far

    def maildir(self, user: int) -> Path:
        return self.store / f"user{user}"

    @property
    def site(self) -> Site:
        return Site(
            domain=DOMAIN,
            exchanges=(Exchange(10, "mail.example.test", self.address),),
            service_name="mail.example.test",
            service_address=self.address,
            users=self._users,
            places=(Place(self.name, self.address, self.network.link),),
            ca=str(self.place / "cert.pem"),
        )

    def write_site(self) -> Path:
        """site.json for a program; its path."""
        site = self.site
        raw = {
            "domain": site.domain,
            "mx": [vars(exchange) for exchange in site.exchanges],
            "service": {"name": site.service_name, "address": site.service_address},
            "places": {place.name: {"address": place.address, "veth": place.veth} for place in site.places},
            "ca": site.ca,
            "users": [vars(user) for user in site.users],
        }
        path = self.place / "site.json"
        path.write_text(json.dumps(raw))
        return path
