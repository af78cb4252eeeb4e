"""A whole site of real hosts: a pair of mail servers, a name server, a client, and if asked a witness and an archive.

    with Site() as site:
        site.boot()
        site.client.run("swaks --to u01@example.test --server mail1")
        site.primary.power_cut()

Invariant: leaving the context ends every host and frees everything; a death of this process does the same. At first the
primary is active: its Dovecot runs and it has the service address. The mirror's Postfix queues.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from tests.lab import certificates, cgroups, mail, names, plan, product, sshkeys, system
from tests.lab.disks import Disks
from tests.lab.files import File, Files, Link
from tests.lab.generation import Generation, chosen
from tests.lab.host import Host
from tests.lab.roots import Roots
from tests.lab.switch import Switch

PAIR = ("nameserver", "primary", "mirror", "client")
EVERYBODY = (*PAIR, "witness", "archive")
CA = "/usr/local/share/lab-ca.pem"


class Site:
    """`places` are keys of plan.SEATS; `users` how many accounts there are; `generation` what the hosts have installed,
    None for what the tests run on.
    """

    def __init__(self, places: Sequence[str] = PAIR, *, users: int = 20, generation: Generation | None = None) -> None:
        self.users = plan.users(users)
        self.tsig = names.secret()
        self.hosts: dict[str, Host] = {}
        self._places = tuple(places)
        self._generation = generation or chosen()
        self._authority = certificates.Authority()
        self._keys = {place: sshkeys.make() for place in ("controller", *places)}
        self._stack = ExitStack()

    def __enter__(self) -> Site:
        with ExitStack() as undo:
            undo.callback(self._stack.close)
            self._group = cgroups.site()
            self._stack.callback(cgroups.end, self._group)
            self._roots = Roots(self._generation, self._shared)
            self._stack.callback(self._roots.close)
            self.switch = Switch(self._roots.tools)
            self._stack.callback(self.switch.close)
            for place in self._places:
                self.hosts[place] = self._host(place)
            undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    # ---- the hosts ---------------------------------------------------------------------------------------------------

    @property
    def primary(self) -> Host:
        return self.hosts["primary"]

    @property
    def mirror(self) -> Host:
        return self.hosts["mirror"]

    @property
    def nameserver(self) -> Host:
        return self.hosts["nameserver"]

    @property
    def client(self) -> Host:
        return self.hosts["client"]

    @property
    def witness(self) -> Host:
        return self.hosts["witness"]

    @property
    def archive(self) -> Host:
        return self.hosts["archive"]

    def boot(self) -> dict[str, float]:
        """Boots all hosts that are down, side by side; a primary that boots gets the service address. The seconds until
        each had booted.
        """
        down = {place: host for place, host in self.hosts.items() if not host.is_up}
        for host in down.values():
            host.switch_on()
        took = {place: host.wait_booted() for place, host in down.items()}
        if "primary" in down:
            self.point_at(self.primary)
        return took

    def mend(self) -> None:
        """Makes the site whole again, whatever was done to it: links, power, disks, services, the service address."""
        self.heal()
        for host in self.hosts.values():
            host.mend()
        self.boot()
        for place, host in self.hosts.items():
            host.systemctl("start", *plan.SEATS[place].services, "lab.target")
        self.point_at(self.primary)

    def _host(self, place: str) -> Host:
        seat = plan.SEATS[place]
        directory = self._roots.make(seat.name)
        disks = Disks(directory / "root", seat.disks)
        group = self._group / seat.name
        host = Host(
            seat.name,
            place,
            seat.address,
            directory=directory,
            group=group,
            switch=self.switch,
            disks=disks,
            address6=seat.address6,
        )
        self._stack.callback(host.close)
        host.lay(self._files(place))
        if place == "mirror":
            host.lay(product.controller(self._keys["controller"].private, self._pins(), self._places))
        if place in ("mirror", "client"):
            host.binds += product.binds(self._generation)
            host.lay(product.python(self._generation))
        return host

    # ---- their files -------------------------------------------------------------------------------------------------

    def _shared(self, image: Path) -> Files:
        return {**system.shared(image), CA: self._authority.certificate}

    def _files(self, place: str) -> Files:
        seat = plan.SEATS[place]
        files: dict[str, str | File | Link] = {}
        files |= system.own(seat.name, plan.DOMAIN, self.addresses, plan.SEATS["nameserver"].address, seat.services)
        files["/etc/ssh/lab_host_key"] = File(self._keys[place].private, 0o600)
        files["/root/.ssh/authorized_keys"] = File(self._keys["controller"].public + " controller\n", 0o600)
        if place in ("primary", "mirror"):
            service = f"{plan.SERVICE}.{plan.DOMAIN}"
            certificate = self._authority.signed([seat.full_name, service])
            files |= mail.files(
                seat.full_name, self.users, certificate, held=place == "mirror", dovecot=self._generation.dovecot
            )
        if place == "nameserver":
            files |= names.files(self.tsig, self.addresses)
        if place == "secondary":
            files |= names.follower()
        return files

    @property
    def addresses(self) -> dict[str, str]:
        """By host name, of all hosts of this site."""
        return {plan.SEATS[place].name: plan.SEATS[place].address for place in self._places}

    def _pins(self) -> str:
        return "".join(f"{plan.SEATS[place].address} {self._keys[place].public}\n" for place in self._places)

    # ---- links -------------------------------------------------------------------------------------------------------

    def cut(self, one: Host, other: Host | None = None, *, one_way: bool = False) -> None:
        """Frames between two hosts are dropped, or with `one_way` those from `one` to `other`; without `other` those
        between `one` and everybody. Nobody is told.
        """
        self.switch.cut(self._between(one, other, one_way))

    def heal(self, one: Host | None = None, other: Host | None = None) -> None:
        """Undoes the cuts between two hosts, those of one host, or all."""
        self.switch.heal(None if one is None else self._between(one, other, False))

    def _between(self, one: Host, other: Host | None, one_way: bool) -> set[tuple[str, str]]:
        others = [other] if other is not None else [host for host in self.hosts.values() if host is not one]
        pairs = {(one.name, host.name) for host in others}
        return pairs if one_way else pairs | {(origin, target) for target, origin in pairs}

    # ---- what moves --------------------------------------------------------------------------------------------------

    def point_at(self, host: Host) -> None:
        """Moves the service address to a host, from whoever has it and is up, and announces it (gratuitous ARP)."""
        address = plan.SERVICE_ADDRESS
        for other in self.hosts.values():
            if other is not host and other.is_up:
                other.run(f"ip address del {address}/24 dev eth0 2> /dev/null || true")
        host.run(f"ip address replace {address}/24 dev eth0 && arping -q -U -c 2 -w 1 -I eth0 {address} || true")

    def update_names(self, script: str, *, key: str | None = None, host: Host | None = None) -> None:
        """Changes DNS records by `nsupdate` commands, signed with the site's key (or another secret), from a host.
        CommandFailed when the server refuses.
        """
        key_file = names.key_file(key or self.tsig)
        server = plan.SEATS["nameserver"].address
        body = f"server {server}\nzone {plan.DOMAIN}\n{script}\nsend\n"
        (host or self.client).run(
            ["sh", "-c", 'printf "%s" "$0" > /run/update.key && exec nsupdate -k /run/update.key', key_file], stdin=body
        )

    def certificate(self, place: str) -> str:
        """A new certificate for a mail host, with its key, as its servers have one."""
        return self._authority.signed([plan.SEATS[place].full_name, f"{plan.SERVICE}.{plan.DOMAIN}"])

    def signed(self, name: str) -> str:
        """A certificate for another name, with its key."""
        return self._authority.signed([name])

    # ---- for outsiders -----------------------------------------------------------------------------------------------

    def describe(self) -> plan.Description:
        """What an outside client is told."""
        seats = {place: plan.SEATS[place] for place in self._places}
        exchangers = ((place, preference) for place, preference in plan.MX if place in seats)
        return plan.Description(
            domain=plan.DOMAIN,
            mx=tuple(plan.Exchanger(p, seats[place].full_name, seats[place].address) for place, p in exchangers),
            service=plan.Service(f"{plan.SERVICE}.{plan.DOMAIN}", plan.SERVICE_ADDRESS),
            places={p: plan.Place(seat.full_name, seat.address, seat.name) for p, seat in seats.items()},
            ca=os.fspath(self.client.path(CA)),
            users=self.users,
            nameserver=plan.SEATS["nameserver"].address,
            network=self.switch.path,
        )
