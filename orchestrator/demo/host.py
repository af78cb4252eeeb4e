"""One host of the site: a directory for a home, an address of its own on loopback, and the processes that run there.

    HOME/
      vmail/    the store, on a mail host
      guard/    all that its guard has
      .local/   whatever an agent leaves there

Invariant: what a host keeps is in its home alone, so that it comes back after `die` as a machine does after its power.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.demo import interrupts
from orchestrator.demo.control import Servant

LOGIN = "vmail"


@dataclass
class Host:
    """`files`: where its SSH server finds host key and authorized_keys; `ledger`: where its SMTP front writes down what
    it delivered, None where it has no front.
    """

    name: str
    place: str
    address: str
    home: Path
    host_key: Path
    public_key: str
    authorized_keys: Path
    ssh_port: int
    smtp_port: int
    ledger: Path | None
    logs: Path
    started: ExitStack
    running: dict[str, Servant] = field(default_factory=dict)

    @property
    def store(self) -> Path:
        return self.home / "vmail"

    @property
    def guard(self) -> Path:
        """The directory of its guard, also of its socket."""
        return self.home / "guard"

    def boot(self) -> None:
        """Start all that runs here, and return when it serves."""
        with interrupts.held():
            for module, arguments in self._programs().items():
                name = f"{self.name.partition('.')[0]}-{module.rpartition('.')[2]}"
                servant = Servant(name, module, [str(one) for one in arguments], log=self.logs / f"{name}.log")
                self.started.callback(servant.stop)
                self.running[module.rpartition(".")[2]] = servant
        for servant in self.running.values():
            servant.ready()

    def die(self) -> None:
        """The power fails: every process is killed, in the middle of whatever it does."""
        for servant in self.running.values():
            servant.kill()

    def cut(self) -> None:
        """The cable is pulled: connections stay open, and silent."""
        self.running["sshserver"].order("cut")

    def heal(self) -> None:
        """The cable is put back."""
        self.running["sshserver"].order("heal")

    def _programs(self) -> dict[str, list[object]]:
        ssh = [self.address, self.ssh_port, self.home, self.host_key, self.authorized_keys, LOGIN]
        programs: dict[str, list[object]] = {
            "orchestrator.demo.guard": [self.guard],
            "orchestrator.demo.sshserver": ssh,
        }
        if self.ledger is not None:
            front = [self.address, self.smtp_port, self.name, self.store, self.ledger, self.guard]
            programs["orchestrator.demo.smtpfront"] = front
        return programs
