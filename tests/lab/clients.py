"""Mail programs that people have, on the client's host: mbsync with its Maildir, mutt with its caches.

Invariant: every session is checked against the lab's authority, and what a program keeps lies in its user's own
directory there. What it downloaded is counted in its own log of the connection, not guessed from files.
"""

from __future__ import annotations

import re
import shlex
from pathlib import PurePosixPath

from tests.lab.files import File
from tests.lab.host import Host
from tests.lab.plan import DOMAIN, SERVICE, User
from tests.lab.site import CA

_SERVER = f"{SERVICE}.{DOMAIN}"

_MBSYNCRC = """IMAPAccount mail
Host {server}
User {user}
Pass {password}
SSLType IMAPS
CertificateFile {ca}

IMAPStore far
Account mail

MaildirStore near
Path {place}/Mail/
Inbox {place}/Mail/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Remove Both
Expunge Both
SyncState *
"""

_MUTTRC = """set folder = "imaps://{server}/"
set spoolfile = "imaps://{server}/INBOX"
set imap_user = "{user}"
set imap_pass = "{password}"
set imap_list_subscribed = no
set ssl_ca_certificates_file = "{ca}"
set ssl_force_tls = yes
set smtp_url = "smtp://{user}@{server}:587/"
set smtp_pass = "{password}"
set smtp_authenticators = "plain"
set from = "{user}"
set realname = "A user"
set use_from = yes
set record = "imaps://{server}/Sent"
set header_cache = "{place}/headers"
set message_cachedir = "{place}/bodies"
set mark_old = no
set quit = yes
set delete = yes
set move = no
set wait_key = no
set sleep_time = 0
set timeout = 1
"""


class _Program:
    """A user's directory on a host, with the file that sets the program up."""

    def __init__(self, host: Host, user: User, name: str, settings: str) -> None:
        self._host = host
        self.place = PurePosixPath("/root") / name / user.name
        words = {"server": _SERVER, "user": user.address, "password": user.password, "ca": CA, "place": self.place}
        self._settings = f"{self.place}/settings"
        host.lay({self._settings: File(settings.format_map(words), 0o600)})


class Mbsync(_Program):
    """One account, in both directions, all folders; deletions too."""

    def __init__(self, host: Host, user: User) -> None:
        super().__init__(host, user, "mbsync", _MBSYNCRC)
        host.run(f"mkdir -p {self.place}/Mail")

    def sync(self) -> int:
        """Once; how many messages it downloaded. Raises CommandFailed."""
        return self._downloaded(self._host.run(self._command, timeout=60))

    def attempt(self) -> tuple[bool, int]:
        """As `sync`, whatever comes of it: whether it went well, and how many messages it asked for."""
        done = self._host.attempt(self._command, timeout=60)
        return done.returncode == 0, self._downloaded(done.stdout)

    @property
    def _command(self) -> str:
        return f"mbsync --config {self._settings} --debug-net --all 2>&1"

    def _downloaded(self, said: str) -> int:
        asked = re.findall(r">>> \d+ UID FETCH (\S+) \([^)]*BODY\.PEEK\[\]", said)
        return sum(_count(numbers) for numbers in asked)

    def messages(self) -> list[str]:
        """Folder, name and Message-ID of all that it has, sorted."""
        found = self.shell("find . -type f -path '*/[cn]*/*' -exec grep --ignore-case --max-count=1 ^message-id: {} +")
        return sorted(found.splitlines())

    def shell(self, command: str) -> str:
        """Changes in its Maildir, by a command for the shell."""
        return self._host.run(f"cd {self.place}/Mail && {command}")


def _count(numbers: str) -> int:
    """How many UIDs a set such as 3,5:7 names."""
    ends = (part.split(":") for part in numbers.split(","))
    return sum(int(end[-1]) - int(end[0]) + 1 for end in ends)


class Mutt(_Program):
    """Reads in a terminal, as told by keys; sends by submission, with a copy into Sent."""

    def __init__(self, host: Host, user: User) -> None:
        super().__init__(host, user, "mutt", _MUTTRC)
        host.run(f"mkdir -p {self.place}/headers {self.place}/bodies")

    def keys(self, keys: str) -> tuple[int, int]:
        """Opens the inbox, presses keys (muttrc(5), push) and leaves; (headers, bodies) that it downloaded."""
        mutt = shlex.join(["mutt", "-n", "-d", "4", "-F", self._settings, "-e", f'push "{keys}<quit>"'])
        inside = shlex.quote(f"stty rows 24 columns 80; exec {mutt}")
        terminal = f"TERM=vt100 script --quiet --return --command {inside} /dev/null < /dev/null"
        self._host.run(f"cd {self.place} && rm -f .muttdebug* && HOME={self.place} {terminal}")
        log = self._host.run(f"cat {self.place}/.muttdebug0")
        # What it has the header of, it asks only the flags of.
        headers = re.findall(r"< \* \d+ FETCH \([^\n]*RFC822\.SIZE", log)
        bodies = re.findall(r"> \S+ UID FETCH \d+ (?:BODY\.PEEK\[\]|RFC822)", log)
        return len(headers), len(bodies)

    def send(self, user: User, subject: str) -> None:
        line = shlex.join(["mutt", "-n", "-F", self._settings, "-s", subject, user.address])
        self._host.run(f"cd {self.place} && HOME={self.place} {line}", stdin="Hello.\n", timeout=30)
