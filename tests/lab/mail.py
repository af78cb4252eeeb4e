"""The configuration of a mail host: Postfix takes and queues, Dovecot delivers (LMTP, Sieve) and serves.

Users are virtual, below /var/vmail, all files belong to vmail. Debian's own paths and units are used throughout.

Invariant: pure. The two mail hosts are configured alike; a passive one differs by `HELD` alone (its Postfix queues and
doesn't deliver) and by a Dovecot that isn't started. Retries are quicker than Postfix's defaults (seconds, not
minutes), so that a test needn't wait for them.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.lab.dovecot import CERTIFICATE, CONFIGURATION, USERS
from tests.lab.files import File, Files
from tests.lab.plan import DOMAIN, User

HELD = "defer_transports = lmtp\n"

_MAIN = f"""compatibility_level = 3.6
mydomain = {DOMAIN}
myhostname = {{full_name}}
mydestination = $myhostname, localhost
mynetworks = 127.0.0.0/8
inet_protocols = ipv4
alias_maps =
alias_database =
biff = no
enable_long_queue_ids = yes
virtual_mailbox_domains = {DOMAIN}
virtual_mailbox_maps = texthash:/etc/postfix/users
virtual_transport = lmtp:unix:private/dovecot-lmtp
lmtp_destination_recipient_limit = 1
smtpd_tls_chain_files = {CERTIFICATE}
smtpd_tls_security_level = may
smtpd_tls_auth_only = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = private/auth
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
queue_run_delay = 5s
minimal_backoff_time = 5s
maximal_backoff_time = 20s
transport_retry_time = 5s
"""

INTERNAL = """pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
"""Postfix's own processes: all but what listens to the outside."""
_PROCESSES = f"""smtp inet n - n - - smtpd
submission inet n - n - - smtpd
  -o syslog_name=postfix/submission
  -o smtpd_tls_security_level=encrypt
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_client_restrictions=permit_sasl_authenticated,reject
{INTERNAL}"""


def files(full_name: str, users: Sequence[User], certificate: str, *, held: bool, dovecot: str) -> Files:
    """All files of one mail host. `held`: what it takes stays in its queue. `dovecot`: which version it has."""
    return {
        "/etc/postfix/main.cf": _MAIN.format(full_name=full_name) + (HELD if held else ""),
        "/etc/postfix/master.cf": _PROCESSES,
        "/etc/postfix/users": "".join(f"{user.address} ok\n" for user in users),
        "/etc/dovecot/dovecot.conf": CONFIGURATION[dovecot],
        USERS: "".join(f"{user.address}:{{PLAIN}}{user.password}::::::\n" for user in users),
        CERTIFICATE: File(certificate, 0o600),
    }
