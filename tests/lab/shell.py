"""A terminal for a site: one line, one act. `make lab` starts it; Ctrl-D tears everything down.

Invariant: it adds nothing to the language of `Site` and `Host`, it only spells it in words. A line that fails says why
and the shell goes on.
"""

from __future__ import annotations

import cmd
import shlex
from collections.abc import Callable

from tests.lab.host import CommandFailed, Host, HostError
from tests.lab.site import Site
from tests.lab.switch import SwitchError

INTRO = """
The site stands. mailmirror runs on the mirror and follows the primary. Try:

    mailmirror status                           how the pair stands (any verb of mailmirror)
    send u01                                    a letter by SMTP, as a stranger would send it
    on mirror find /var/vmail -name '*mail1*'   it is there, too
    power_cut primary                           and `boot primary`
    cut primary mirror                          the link is silent; `heal`
    mailmirror verify --deep                    every byte, on both ends
    shell mirror                                a root shell on a host
    help                                        all words

Hosts: {hosts}. Ctrl-D tears everything down.
"""


class Shell(cmd.Cmd):
    """`site` is booted."""

    prompt = "lab> "

    def __init__(self, site: Site) -> None:
        super().__init__()
        self._site = site
        self.intro = INTRO.format(hosts=", ".join(site.hosts))

    def onecmd(self, line: str) -> bool:
        try:
            return super().onecmd(line)
        except (CommandFailed, HostError, SwitchError, OSError, TypeError, ValueError, KeyError) as wrong:
            print(f"{type(wrong).__name__}: {wrong}")
            return False

    def emptyline(self) -> bool:
        return False

    def do_EOF(self, _: str) -> bool:  # noqa: N802  (cmd's name for Ctrl-D)
        """Ctrl-D: end all hosts and leave."""
        print()
        return True

    def do_exit(self, _: str) -> bool:
        """The same as Ctrl-D."""
        return self.do_EOF(_)

    # ---- what runs on hosts ------------------------------------------------------------------------------------------

    def do_mailmirror(self, line: str) -> None:
        """mailmirror VERB ...: the product's own command, on the controller."""
        self._interact(self._site.mirror, ["mailmirror", *shlex.split(line)])

    def do_on(self, line: str) -> None:
        """on PLACE COMMAND ...: a line for the shell of a host, as root."""
        place, _, command = line.partition(" ")
        self._interact(self._host(place), ["sh", "-c", command])

    def do_shell(self, line: str) -> None:
        """shell PLACE: a root shell on a host."""
        self._interact(self._host(line), ["bash", "--norc"])

    def do_send(self, line: str) -> None:
        """send USER [TEXT ...]: a letter from outside, by SMTP to the first exchanger that takes it."""
        user, _, text = line.partition(" ")
        address = next(known.address for known in self._site.users if known.name == user)
        for exchanger in self._site.describe().mx:
            swaks = [
                "swaks",
                "--server",
                exchanger.host,
                "--to",
                address,
                "--timeout",
                "5",
                "--from",
                "stranger@elsewhere.test",
            ]
            sent = self._site.client.attempt([*swaks, "--body", text or "Hello.", "--silent", "2", "-tls"])
            print(f"{exchanger.host}: {'taken' if sent.returncode == 0 else (sent.stdout + sent.stderr).strip()}")
            if sent.returncode == 0:
                return

    def do_journal(self, line: str) -> None:
        """journal PLACE [UNIT]: the log since its boot."""
        place, _, unit = line.partition(" ")
        print(self._host(place).journal(unit), end="")

    def do_service(self, line: str) -> None:
        """service PLACE VERB UNIT: systemctl, as in `service primary stop dovecot`."""
        place, *words = shlex.split(line)
        print(self._host(place).systemctl(*words), end="")

    def do_kill(self, line: str) -> None:
        """kill PLACE UNIT [SIGNAL]: a signal, by default KILL, to the main process of a unit."""
        place, *words = shlex.split(line)
        self._host(place).kill(*words)

    # ---- what befalls hosts ------------------------------------------------------------------------------------------

    def do_boot(self, line: str) -> None:
        """boot PLACE: switch it on, and wait."""
        print(f"{self._host(line).boot():.1f} s")

    def do_power_cut(self, line: str) -> None:
        """power_cut PLACE: the power goes, at once; what wasn't durable is lost."""
        self._host(line).power_cut()

    def do_shut_down(self, line: str) -> None:
        """shut_down PLACE: an orderly end."""
        self._host(line).shut_down()

    def do_freeze(self, line: str) -> None:
        """freeze PLACE: every process on it stops."""
        self._host(line).freeze()

    def do_thaw(self, line: str) -> None:
        """thaw PLACE: they go on."""
        self._host(line).thaw()

    def do_fake_clock(self, line: str) -> None:
        """fake_clock PLACE: mailmirror's processes that start from now on look at a clock that can be stepped."""
        self._host(line).fake_clock()

    def do_step_clock(self, line: str) -> None:
        """step_clock PLACE SECONDS: that clock is so far ahead of (or behind) the machine's."""
        place, seconds = line.split()
        self._host(place).step_clock(float(seconds))

    def do_fill(self, line: str) -> None:
        """fill PLACE PATH: not one free block is left on that disk; `free PLACE PATH` undoes it."""
        place, path = line.split()
        self._host(place).disks.fill(path)

    def do_free(self, line: str) -> None:
        """free PLACE PATH: undoes `fill`."""
        place, path = line.split()
        self._host(place).disks.free(path)

    def do_read_only(self, line: str) -> None:
        """read_only PLACE PATH: writes to that disk fail; `writable PLACE PATH` undoes it."""
        place, path = line.split()
        self._host(place).disks.read_only(path)

    def do_writable(self, line: str) -> None:
        """writable PLACE PATH: undoes `read_only`."""
        place, path = line.split()
        self._host(place).disks.writable(path)

    # ---- links -------------------------------------------------------------------------------------------------------

    def do_cut(self, line: str) -> None:
        """cut PLACE [PLACE [one_way]]: frames between two are dropped, or those from the first, or all of its own."""
        one, other, *how = [*line.split(), "", ""][:3]
        self._site.cut(self._host(one), self._host(other) if other else None, one_way=how == ["one_way"])

    def do_heal(self, line: str) -> None:
        """heal [PLACE [PLACE]]: undoes cuts."""
        self._site.heal(*(self._host(place) for place in line.split()))

    def do_slow(self, line: str) -> None:
        """slow PLACE KBIT|off: bounds a host's cable, both ways."""
        place, rate = line.split()
        self._host(place).slow(None if rate == "off" else int(rate) * 1000)

    def do_unplug(self, line: str) -> None:
        """unplug PLACE: the network cable is pulled out; `plug PLACE` undoes it."""
        self._host(line).unplug()

    def do_plug(self, line: str) -> None:
        """plug PLACE: undoes `unplug`."""
        self._host(line).plug()

    def do_point_at(self, line: str) -> None:
        """point_at PLACE: the service address moves there."""
        self._site.point_at(self._host(line))

    def do_mend(self, _: str) -> None:
        """mend: undoes every fault, boots what is off."""
        self._site.mend()

    def do_describe(self, _: str) -> None:
        """describe: the site as an outside client is told of it (JSON)."""
        print(self._site.describe().as_json())

    def do_hosts(self, _: str) -> None:
        """hosts: who is up."""
        for host in self._site.hosts.values():
            print(host)

    # ------------------------------------------------------------------------------------------------------------------

    def _host(self, place: str) -> Host:
        try:
            return self._site.hosts[place.strip()]
        except KeyError:
            raise ValueError(f"no host {place!r}; there are {', '.join(self._site.hosts)}") from None

    def _interact(self, host: Host, argv: list[str]) -> None:
        """A command on this terminal; Ctrl-C ends it, not the lab."""
        with host.start(argv) as running:
            _until_done(running.wait)


def _until_done(wait: Callable[[], int]) -> None:
    while True:
        try:
            wait()
        except KeyboardInterrupt:
            continue  # the command got it, too, and may say how it ends
        return
