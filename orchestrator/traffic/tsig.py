"""A TSIG key as BIND's tools write and read it (`tsig-keygen`, `nsupdate -k`). Pure."""

from __future__ import annotations

import base64
import binascii
import re

from orchestrator.errors import ConfigError
from orchestrator.traffic.dns import Key

ALGORITHMS = ("hmac-sha256", "hmac-sha384", "hmac-sha512")
_CLAUSE = re.compile(
    r'key\s+"?(?P<name>[A-Za-z0-9._-]+)"?\s*\{\s*'
    r'algorithm\s+"?(?P<algorithm>[A-Za-z0-9.-]+)"?\s*;\s*secret\s+"?(?P<secret>[A-Za-z0-9+/=]+)"?\s*;\s*\}\s*;?'
)
REMEDY = "Make one with `tsig-keygen -a hmac-sha256 NAME`, and give the name server the same."


def parse(text: str, where: str) -> Key:
    """The key in `text`. Raises ConfigError, which says `where` it was looked for and never what stands there."""
    found = _CLAUSE.fullmatch(text.strip())
    if found is None:
        raise ConfigError(f"{where} holds no TSIG key as tsig-keygen prints it.", remedy=REMEDY)
    algorithm = found["algorithm"].lower().rstrip(".")
    if algorithm not in ALGORITHMS:
        raise ConfigError(f"{where}: the key is for {algorithm}; {', '.join(ALGORITHMS)} are taken.", remedy=REMEDY)
    try:
        secret = base64.b64decode(found["secret"], validate=True)
    except binascii.Error:
        raise ConfigError(f"{where}: the key's secret isn't base64.", remedy=REMEDY) from None
    return Key(found["name"], algorithm, secret)
