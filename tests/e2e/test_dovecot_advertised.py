"""CONDSTORE and QRESYNC hidden under a real Dovecot that runs, as a client sees it, and its configuration put back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.agent import advertised
from tests.support import image, measuring, require
from tests.support.postfix import PACKAGES

pytestmark = pytest.mark.lab

STATE, CONF = "/var/lib/mailmirror-guard", "/etc/dovecot/dovecot.conf"
LOCAL = """
log_path = /var/log/dovecot
disable_plaintext_auth = no
auth_mechanisms = plain
mail_location = maildir:/var/vmail/%n
mail_uid = vmail
mail_gid = vmail
first_valid_uid = 100
passdb {
  driver = passwd-file
  args = scheme=PLAIN /etc/dovecot/users
}
userdb {
  driver = passwd-file
  args = /etc/dovecot/users
}
plugin {
  quota = maildir:User quota
}
protocol imap {
  mail_plugins = $mail_plugins quota imap_quota
  imap_capability = +XOPERATOR
}
"""
"""Read after all that Debian's own files say, and before what stands at the end."""
USERS = "ann:secret::::/var/vmail/ann\nbob:secret::::/var/vmail/bob\n"
GUARD = {
    "pair": "p", "place": "mirror", "peers": {}, "port": 9, "ttl": 0, "drift": 0.01, "stop": 0.5, "served": [143],
    "units": ["dovecot.service"], "postfix": False, "addresses": [], "stores": [], "fixed": {},
}  # fmt: skip
CALL = f"""
import json, sys
sys.path.insert(0, "/house")
from orchestrator.agent import advertised, modseqs
from orchestrator.agent.homes import Home
from orchestrator.agent.serve import Fault
word, *arguments = json.load(sys.stdin)
try:
    if word == "sweep":
        asked = modseqs.done({{"do": "sweep", "after": ""}}, Home(alone={STATE!r}))
        try:
            while True:
                next(asked)
        except StopIteration as over:
            print(json.dumps(over.value.head))
    elif word == "put":
        print(json.dumps(advertised.put({STATE!r}, advertised.Rule(*arguments))))
    else:
        print(json.dumps(getattr(advertised, word)({STATE!r})))
except Fault as fault:
    print(json.dumps({{"code": fault.code, "message": str(fault)}}))
"""
ASK = """
import imaplib, sys
client = imaplib.IMAP4("127.0.0.1")
greeted = client.welcome.decode()
client.login("ann", "secret")
print(greeted)
print(client.capability()[1][0].decode())
for line in sys.argv[1:]:
    tag = client._new_tag()
    client.send(tag + b" " + line.encode() + b"\\r\\n")
    while True:
        told = client.readline()
        print(told.decode().rstrip())
        if told.startswith(tag):
            break
client.logout()
"""


class Dovecot:
    def __init__(self, root: image.Root) -> None:
        self.root = root

    def check(self, line: str, stdin: str = "") -> str:
        return self.root.check(["sh", "-c", line], stdin=stdin.encode()).decode()

    def call(self, word: str, *arguments: object) -> Any:
        argv = ["/usr/bin/python3", "-B", "-c", measuring.begin() + CALL]
        return json.loads(self.root.check(argv, stdin=json.dumps([word, *arguments]).encode()))

    @property
    def conf(self) -> str:
        return self.root.path(CONF).read_text()

    def session(self, *lines: str) -> tuple[list[str], list[str]]:
        """What a client that logs in is told that the server can, and what it answers to some commands."""
        told = self.root.check(["/usr/bin/python3", "-c", ASK, *lines]).decode().splitlines()
        assert not {"CONDSTORE", "QRESYNC"} & set(told[0].replace("]", " ").split()), "the greeting"
        return told[1].split(), told[2:]

    def modseqs(self, user: str) -> dict[str, int]:
        told = self.check(f"doveadm -f tab mailbox status -u {user} highestmodseq '*'").splitlines()[1:]
        return {name: int(modseq) for name, modseq in (line.split("\t") for line in told)}


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    require.root()
    binds = [(image.CHECKOUT, measuring.HOUSE), *measuring.binds()]
    with image.Root(binds=binds, net=image.LOOPBACK, packages=PACKAGES) as root:
        found = Dovecot(root)
        found.check("cat > /etc/dovecot/local.conf", LOCAL)
        found.check("echo 'ssl = no' > /etc/dovecot/conf.d/10-ssl.conf")  # its certificate is made on a real host
        found.check("cat > /etc/dovecot/users", USERS)
        found.check(f"mkdir -p {STATE} && cat > {STATE}/guard.json", json.dumps(GUARD))
        found.check(f"head -c 64 /dev/urandom | base64 -w 0 > {STATE}/guard.key")
        found.check("install -d -o vmail -g vmail /var/vmail && dovecot < /dev/null > /dev/null 2>&1")
        for user in ("ann", "bob"):
            found.check(f"printf 'Subject: one\\n\\nHello.\\n' | doveadm save -u {user} -m INBOX")
            found.check(f"doveadm mailbox create -u {user} 'Été & more' Above.Below")
        yield found
        found.check("doveadm stop")


@pytest.fixture(autouse=True)
def without(dovecot: Dovecot) -> Iterator[None]:
    yield
    dovecot.call("lift")


LATER = 4e9


@pytest.mark.issue("5.2 CONDSTORE and QRESYNC not advertised, by a real Dovecot, and back byte for byte")
def test_a_client_is_told_of_neither_and_afterwards_all_is_as_it_was(dovecot: Dovecot) -> None:
    before, (can, _) = dovecot.conf, dovecot.session()
    mode = dovecot.check(f"stat -c '%a %u %g' {CONF}")
    assert {"CONDSTORE", "QRESYNC", "QUOTA", "XOPERATOR"} <= set(can)

    for _ in range(2):
        assert dovecot.call("put", 2, LATER) is None
        assert dovecot.call("withheld") == ["CONDSTORE", "QRESYNC"]
    hidden, _ = dovecot.session()
    assert hidden == [name for name in can if name not in ("CONDSTORE", "QRESYNC")], "and of nothing else less"
    assert dovecot.conf.startswith(before) and "XOPERATOR" in dovecot.conf

    dovecot.call("lift")
    assert dovecot.conf == before and dovecot.check(f"stat -c '%a %u %g' {CONF}") == mode
    again, _ = dovecot.session()
    assert again == can and dovecot.call("rule") is None and dovecot.call("withheld") == []
    assert dovecot.check(f"find {STATE} /etc/dovecot -name '*-new' -o -name {advertised.FILE}") == ""


@pytest.mark.issue("5.2 QRESYNC is advertised again when mm_qresync_after is over, by the host itself")
def test_when_its_time_is_over_the_hands_end_it(dovecot: Dovecot) -> None:
    before, (can, _) = dovecot.conf, dovecot.session()
    dovecot.call("put", 2, LATER)
    dovecot.call("keep_to")
    assert dovecot.session()[0] != can
    dovecot.check(f'sed -i \'s/"until": .*/"until": 1.0/\' {STATE}/{advertised.FILE}')
    dovecot.call("keep_to")
    assert dovecot.session()[0] == can and dovecot.conf == before and dovecot.call("rule") is None


def test_what_an_operator_writes_meanwhile_stays_and_a_lost_block_comes_back(dovecot: Dovecot) -> None:
    before = dovecot.conf
    dovecot.call("put", 2, LATER)
    with_block = dovecot.conf
    dovecot.check(f"cat > {CONF}", before)  # somebody's tool lays its own file down again
    dovecot.check("doveadm reload")
    assert dovecot.call("withheld") == []
    dovecot.call("keep_to")
    assert dovecot.conf == with_block and dovecot.call("withheld") == ["CONDSTORE", "QRESYNC"]
    dovecot.check(f"cat >> {CONF}", "# the operator's\n")
    dovecot.call("lift")
    assert dovecot.conf == before + "# the operator's\n"
    dovecot.check(f"cat > {CONF}", before)


@pytest.mark.issue("5.2 a sweep raises each folder's HIGHESTMODSEQ above what was before")
def test_after_the_sweep_a_client_that_kept_an_old_modseq_is_told_of_what_changes(dovecot: Dovecot) -> None:
    assert dovecot.call("sweep")["raised"] == 0, "without a rule nothing is raised"
    kept = 1000000  # of the lost place, which had counted further

    def told_since(modseq: int) -> bool:
        _, answers = dovecot.session("SELECT INBOX", f"UID FETCH 1:* (FLAGS) (CHANGEDSINCE {modseq})")
        return any("FETCH (UID 1 " in line for line in answers)

    dovecot.session("SELECT INBOX", "UID STORE 1 +FLAGS (\\Answered)")
    assert told_since(1) and not told_since(kept), "that is what the rule is for"
    dovecot.call("put", 3, LATER)
    told = dovecot.call("sweep")
    folders = dovecot.modseqs("ann")
    assert told["failed"] == [] and told["next"] == "" and told["raised"] == 2 * len(folders)
    assert "Été & more" in folders and "Above.Below" in folders
    assert min([*folders.values(), *dovecot.modseqs("bob").values()]) >= 3 << 32
    assert dovecot.call("sweep")["raised"] == 0
    dovecot.session("SELECT INBOX", "UID STORE 1 +FLAGS (\\Flagged)")
    assert told_since(kept) and not told_since(dovecot.modseqs("ann")["INBOX"])


def test_while_no_dovecot_runs_only_the_configuration_is_changed(dovecot: Dovecot) -> None:
    before = dovecot.conf
    dovecot.check("doveadm stop")
    assert dovecot.call("put", 2, LATER) is None and dovecot.call("withheld") == ["CONDSTORE", "QRESYNC"]
    dovecot.check("dovecot < /dev/null > /dev/null 2>&1")
    can, _ = dovecot.session()
    assert not {"CONDSTORE", "QRESYNC"} & set(can) and {"QUOTA", "XOPERATOR"} <= set(can)
    dovecot.call("lift")
    assert dovecot.conf == before
