"""Every error that reaches a person: what is wrong, and what to do next.

    MailmirrorError
    ├── OperatorError        your order or your inventory; nothing was changed
    │   ├── ConfigError          the inventory can't be used               (78)
    │   ├── UsageError           the command line can't be understood      (2)
    │   ├── NothingToDo          it is already so                          (3)
    │   ├── NeedsConfirmation    it would ask, and there is no terminal    (5)
    │   └── NotPermitted         this user or key may not                  (77)
    ├── Refused              a safety rule says no                         (4)
    ├── HostError            a machine or the network; trying again may help (69)
    │   ├── HostUnreachable      no conversation could be begun            (69)
    │   ├── LinkLost             the conversation broke off                (75)
    │   └── AgentFault           the agent answered with a fault           (1)
    ├── TryAgain             somebody else is at it                        (75)
    ├── StillRunning         the deadline passed, the work goes on         (6)
    ├── PartlyDone           some of it is done, the rest is named         (7)
    └── BrokenPromise        an invariant doesn't hold; stop and look      (1)

The class carries the exit code (docs: `mailmirror --help`, section on exit codes) and a
default remedy; the one who raises knows better and says so. Raised at the place, turned
into sentences at the front door (`cli`), never logged and raised.
"""

from __future__ import annotations

from typing import ClassVar


class MailmirrorError(Exception):
    """Something went wrong; `remedy` says what to do next, in the imperative."""

    exit_code: ClassVar[int] = 1
    default_remedy: ClassVar[str] = "Run the command again with --debug and report what it prints."

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy or self.default_remedy


class OperatorError(MailmirrorError):
    default_remedy = "Correct the command or the inventory; nothing was changed."


class ConfigError(OperatorError):
    exit_code = 78
    default_remedy = "Correct the inventory and run `mailmirror config check`."


class UsageError(OperatorError):
    exit_code = 2
    default_remedy = "See `mailmirror --help`."


class NothingToDo(OperatorError):
    exit_code = 3
    default_remedy = "Nothing needs doing."


class NeedsConfirmation(OperatorError):
    exit_code = 5
    default_remedy = "Run it on a terminal, or say --yes."


class NotPermitted(OperatorError):
    exit_code = 77
    default_remedy = "Run it as a user who may, for example with sudo."


class Refused(MailmirrorError):
    exit_code = 4
    default_remedy = "Read the reason; `mailmirror status` shows what it rests on."


class HostError(MailmirrorError):
    exit_code = 69
    default_remedy = "Check that the host is up and reachable, then try again."


class HostUnreachable(HostError):
    pass


class LinkLost(HostError):
    exit_code = 75
    default_remedy = "Try again: what was done is kept, the rest is taken up where it stopped."


class AgentFault(HostError):
    """The agent's own answer that a request failed; `code` is one of the agent's fault codes."""

    exit_code = 1
    default_remedy = "Read the message; it comes from the host that is named."

    def __init__(self, message: str, *, code: str = "failed", remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.code = code


class TryAgain(MailmirrorError):
    exit_code = 75
    default_remedy = "Wait until the other one is done, then try again."


class StillRunning(MailmirrorError):
    exit_code = 6
    default_remedy = "It goes on in the background: `mailmirror status` shows how far it is."


class PartlyDone(MailmirrorError):
    exit_code = 7
    default_remedy = "Read what is left, mend it, and run the command again."


class BrokenPromise(MailmirrorError):
    default_remedy = "Stop here, keep everything as it is, and report it: this should be impossible."
