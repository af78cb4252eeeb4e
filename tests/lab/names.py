"""The lab's name server: the zone of the site, and who may change what in it.

Invariant: pure. The key `mailmirror` may set addresses and texts of the service name and below it, and the domain's
mail exchangers, nothing else: that is what an operator would grant. There is no recursion: the lab has no outside. A
second server, where the site has one, follows the first by NOTIFY and transfer.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping

from tests.lab.files import File, Files
from tests.lab.plan import DOMAIN, MX, SEATS, SERVICE, SERVICE_ADDRESS

KEY = "mailmirror"
TTL = 5  # seconds, of what moves
_ZONE_FILE = "/var/lib/bind/site.zone"

_OPTIONS = """options {{
  directory "/var/cache/bind";
  listen-on {{ any; }};
  listen-on-v6 {{ none; }};
  recursion no;
  dnssec-validation no;
  notify yes;
  notify-delay 0;
  allow-transfer {{ any; }};
  minimal-responses no;
}};
{key}
zone "{domain}" {{
  type primary;
  file "{zone}";
  update-policy {{ grant {name} subdomain {service}.{domain} A AAAA TXT; grant {name} name {domain} MX; }};
}};
"""
_FOLLOWER = f"""options {{
  directory "/var/cache/bind";
  listen-on {{ any; }};
  listen-on-v6 {{ none; }};
  recursion no;
  dnssec-validation no;
  minimal-responses no;
}};
zone "{DOMAIN}" {{
  type secondary;
  primaries {{ {SEATS["nameserver"].address}; }};
  file "/var/lib/bind/site.copy";
}};
"""


def secret() -> str:
    """A fresh TSIG key's secret."""
    return base64.b64encode(secrets.token_bytes(32)).decode()


def key_file(secret: str) -> str:
    """The key as BIND's own configuration has it, and `nsupdate -k` and `dig -k` read it."""
    return f'key "{KEY}" {{ algorithm hmac-sha256; secret "{secret}"; }};\n'


def files(secret: str, addresses: Mapping[str, str]) -> Files:
    """All files of the name server. `addresses` by host name."""
    options = _OPTIONS.format(key=key_file(secret), domain=DOMAIN, zone=_ZONE_FILE, name=KEY, service=SERVICE)
    return {
        "/etc/bind/named.conf": options,
        "/etc/default/named": 'OPTIONS="-4 -n 1 -u bind"\n',
        _ZONE_FILE: File(_zone(addresses), 0o644),
    }


def follower() -> Files:
    """All files of the second name server."""
    return {"/etc/bind/named.conf": _FOLLOWER, "/etc/default/named": 'OPTIONS="-4 -n 1 -u bind"\n'}


def _zone(addresses: Mapping[str, str]) -> str:
    server = f"{SEATS['nameserver'].name}.{DOMAIN}."
    lines = [
        "$TTL 60",
        f"@ IN SOA {server} postmaster.{DOMAIN}. 1 60 20 3600 {TTL}",
        f"@ IN NS {server}",
        *(f"@ IN NS {SEATS['secondary'].name}" for name in addresses if name == SEATS["secondary"].name),
        *(f"@ IN MX {preference} {SEATS[place].name}" for place, preference in MX),
        *(f"{name} IN A {address}" for name, address in addresses.items()),
        f"{SERVICE} {TTL} IN A {SERVICE_ADDRESS}",
    ]
    return "\n".join(lines) + "\n"
