"""Dovecot's configuration, in the two languages that it has had: 2.4 reads little of what 2.3 did.

Invariant: values only, and both say the same: the same mail under the same paths, the same ports, the same users.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.lab.plan import DOMAIN, PORTS, QUEUE, STORE

CERTIFICATE = "/etc/ssl/lab.pem"  # with its key
USERS = "/etc/dovecot/users"

_BOTH = f"""protocols = imap pop3 lmtp sieve
listen = *
ssl = yes
auth_mechanisms = plain login
auth_failure_delay = 0
log_path = syslog
mail_uid = vmail
mail_gid = vmail
first_valid_uid = 5000
mail_max_userip_connections = 100
namespace inbox {{
  inbox = yes
  mailbox Drafts {{
    auto = subscribe
    special_use = \\Drafts
  }}
  mailbox Sent {{
    auto = subscribe
    special_use = \\Sent
  }}
  mailbox Trash {{
    auto = subscribe
    special_use = \\Trash
  }}
}}
service lmtp {{
  unix_listener {QUEUE}/private/dovecot-lmtp {{
    mode = 0600
    user = postfix
    group = postfix
  }}
  inet_listener lmtp {{
    port = {PORTS["lmtp"]}
  }}
}}
service auth {{
  unix_listener {QUEUE}/private/auth {{
    mode = 0600
    user = postfix
    group = postfix
  }}
}}
"""

_OLD = f"""{_BOTH}
ssl_cert = <{CERTIFICATE}
ssl_key = <{CERTIFICATE}
disable_plaintext_auth = no
mail_home = {STORE}/%d/%n
mail_location = maildir:~/Maildir
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {USERS}
}}
userdb {{
  driver = passwd-file
  args = username_format=%u {USERS}
}}
plugin {{
  sieve = file:~/sieve;active=~/.dovecot.sieve
}}
protocol lmtp {{
  mail_plugins = sieve
  postmaster_address = postmaster@{DOMAIN}
}}
service imap-login {{
  service_count = 0
}}
service pop3-login {{
  service_count = 0
}}
"""

# The first line has to be the first: it says how the others are read.
_NEW = f"""dovecot_config_version = 2.4.0
dovecot_storage_version = 2.4.0
{_BOTH}
ssl_server_cert_file = {CERTIFICATE}
ssl_server_key_file = {CERTIFICATE}
auth_allow_cleartext = yes
mail_home = {STORE}/%{{user | domain}}/%{{user | username}}
mail_driver = maildir
mail_path = ~/Maildir
passdb passwd-file {{
  passwd_file_path = {USERS}
  default_password_scheme = PLAIN
}}
userdb passwd-file {{
  passwd_file_path = {USERS}
}}
sieve_script personal {{
  driver = file
  path = ~/sieve
  active_path = ~/.dovecot.sieve
}}
protocol lmtp {{
  mail_plugins {{
    sieve = yes
  }}
  postmaster_address = postmaster@{DOMAIN}
}}
service imap-login {{
  restart_request_count = unlimited
}}
service pop3-login {{
  restart_request_count = unlimited
}}
"""

CONFIGURATION: Mapping[str, str] = {"2.3": _OLD, "2.4": _NEW}
"""By the version that reads it."""
