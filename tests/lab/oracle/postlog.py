"""What a host's own log says of deliveries within the site whose reply was lost: such a message may stand twice. Pure.

Between Postfix and Dovecot stands one more reply that can get lost (RFC 1047), and nobody outside sees it. Postfix
writes it down (lmtp(8), smtp(8)): "lost connection with … while sending end of data -- message may be sent more than
once". A Dovecot 2.3 that is killed was also seen to store a message and to answer its last dot with 421.

Invariant: only what Postfix said in these words, of a message of ours, excuses a second copy; one for each time.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from tests.lab.oracle.letter import DOMAIN

_NAMED = re.compile(r"cleanup\[\d+\]: (\w+): message-id=<([^>]+)@" + re.escape(DOMAIN) + ">")
_LOST = r"may be sent more than once|while sending end of data|said: 421 .*in reply to end of DATA"
_AGAIN = re.compile(rf"(?:lmtp|smtp)\[\d+\]: (\w+): .*(?:{_LOST})")
_SENT = re.compile(r"(\S+) postfix/(?:lmtp|smtp)\[\d+\]: (\w+): to=<([^>]+)>.*status=sent")
_STARTED = re.compile(r"(\S+) postfix/\w+\[\d+\]: daemon started")


def again(lines: Iterable[str]) -> Counter[str]:
    """Message id -> how often its delivery may have been repeated. Lines may come from several hosts, each in order."""
    names: dict[str, str] = {}
    found: Counter[str] = Counter()
    sent: dict[tuple[str, str, str], int] = {}
    starts: Counter[str] = Counter()
    for line in lines:
        if match := _NAMED.search(line):
            names[match[1]] = match[2]
        elif match := _STARTED.search(line):
            starts[match[1]] += 1
        elif (match := _AGAIN.search(line)) and match[1] in names:
            found[names[match[1]]] += 1
        elif (match := _SENT.search(line)) and match[2] in names:
            host, number, recipient = match.groups()
            before = sent.setdefault((host, number, recipient), starts[host])
            found[names[number]] += before < starts[host]
    return +found
