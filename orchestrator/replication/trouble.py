"""What an agent's trouble is to an operator: a safety rule's refusal, a disk that is full, or just trouble. Pure.

An agent whose disk fails while it applies a batch ends its conversation, and all that is heard of it is its last words;
here they become a sentence that says what to do.
"""

from __future__ import annotations

import errno
import re

from orchestrator.errors import AgentFault, HostError, LinkLost, Refused

REFUSALS = frozenset(
    ("no-marker", "other-store", "wrong-role", "older-generation", "older-epoch", "root-changed", "foreign", "marker",
     "not-allowed", "no-root", "marked", "owner")
)  # fmt: skip

GOES_ON = "Nothing is lost: the rest comes over by itself then, or with the next pass."
DISK = {
    errno.ENOSPC: (
        "its disk is full",
        f"Make room there: ROOT/.mailmirror/quarantine holds what was deleted within mm_undelete. {GOES_ON}",
    ),
    errno.EDQUOT: ("its quota is used up", f"Raise the quota of the user who runs the agent there. {GOES_ON}"),
    errno.EROFS: (
        "its file system is read-only",
        f"See its kernel log for why, check the disk, and mount it for writing again. {GOES_ON}",
    ),
    errno.EIO: (
        "its disk fails",
        f"See its kernel log, and put in another disk before it is needed: `mailmirror seed` fills it. {GOES_ON}",
    ),
}
_NUMBER = re.compile(r"\[Errno (\d+)\] [^:'()\n]*")


def told(error: HostError) -> HostError | Refused:
    """The error as an operator should hear it; its own kind where it can be tried again."""
    if isinstance(error, AgentFault) and error.code in REFUSALS:
        return Refused(str(error), remedy=error.remedy)
    found = _NUMBER.search(str(error))
    if found is None or int(found[1]) not in DISK:
        return error
    what, remedy = DISK[int(found[1])]
    sentence = f"{str(error).partition(':')[0]}: {what} ({found[0].strip()})"
    if isinstance(error, AgentFault):
        return AgentFault(sentence, code=error.code, remedy=remedy)
    return LinkLost(sentence, remedy=remedy) if isinstance(error, LinkLost) else error
