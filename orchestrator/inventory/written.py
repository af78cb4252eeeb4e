"""The keys of inventory.yaml as they are written: pydantic checks each, and describes them to editors.

Invariant: every key that is accepted stands here, once, with its meaning; a class accepts no other key. What
keys mean together is `laws`' matter, and what they come to with defaults is `model`'s.
"""

from __future__ import annotations

import os
import zoneinfo
from collections.abc import Callable
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from orchestrator.inventory import quantities, windows
from orchestrator.inventory.quantities import Wrong, shown

T = TypeVar("T")


def _explained(convert: Callable[[T], object]) -> Callable[[T], object]:
    """The conversion with its Wrong turned into an error that pydantic collects."""

    def validate(written: T) -> object:
        try:
            return convert(written)
        except Wrong as error:
            raise PydanticCustomError("wrong", "{what}", {"what": error.what, "hint": error.hint}) from error

    return validate


def _text(convert: Callable[[str], str]) -> BeforeValidator:
    def check(written: object) -> object:
        return convert(written) if isinstance(written, str) else written

    return BeforeValidator(_explained(check))


def _schema(pattern: str, *examples: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": list(examples)})


_DURATION = r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d|w)$"
Duration = Annotated[float, BeforeValidator(_explained(quantities.duration)), _schema(_DURATION, "30s", "7d")]
Positive = Annotated[Duration, Field(gt=0)]
Rate = Annotated[
    int,
    BeforeValidator(_explained(quantities.rate)),
    _schema(r"^[0-9]+(\.[0-9]+)?[kKMGT]?i?(B|bit)?(/s|ps)?$", "10M", "80Mbit/s"),
]
Root = Annotated[str, _text(quantities.root), _schema("^/.*[^/]$", "/var/vmail")]
Accounts = Annotated[str, _text(quantities.accounts)]
LocalPath = Annotated[str, _text(quantities.path), _schema("^(/|~/)")]
Address = Annotated[str, _text(quantities.address)]
InterfaceAddress = Annotated[str, _text(quantities.interface_address), _schema("/[0-9]+$", "192.0.2.10/24")]
Endpoint = Annotated[str, _text(quantities.endpoint), _schema(":[0-9]+$", "127.0.0.1:9464")]
Url = Annotated[str, _text(quantities.url), _schema("^https?://[^/]+", "https://mailmirror.example.net")]
Reference = Annotated[str, _text(quantities.reference), _schema(":[0-9]+$", "192.0.2.1:53")]
Service = Literal["smtp", "submission", "lmtp", "imap", "pop3"]
Port = Annotated[int, Field(ge=1, le=65535)]
Percent = Annotated[float, Field(gt=0, le=100)]
Interface = Annotated[str, Field(pattern="^[^/ ]{1,15}$")]
Variable = Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$")]
Command = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
Word = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
UnitName = Annotated[str, _text(quantities.unit), _schema(r"\.(service|socket)$", "rspamd.service")]


class Record(BaseModel):
    """A mapping of which every key is known."""

    # defer_build: a record is only ever validated inside PairVars or HostVars; a validator of its own costs 2 ms each
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


class Secret(Record):
    """Where a secret is to be read when it is needed. A secret itself never stands in the inventory."""

    file: LocalPath | None = Field(None, description="a file that holds nothing else; not readable by others")
    env: Variable | None = Field(None, description="a variable")
    credential: Word | None = Field(None, description="a systemd credential (LoadCredential=)")

    @model_validator(mode="before")
    @classmethod
    def _one_reference(cls, written: object) -> object:
        if isinstance(written, dict) and len(written) != 1:
            context = {"what": "exactly one of file, env, credential is needed", "hint": "write {file: PATH}"}
            raise PydanticCustomError("wrong", "{what}", context)
        return written


class StoreRoot(Record):
    """A root that holds accounts."""

    root: Root = Field(description="absolute path")
    accounts: Accounts | None = Field(None, description="glob below the root; default: every topmost Maildir")


def _store(written: object) -> object:
    return {"root": written} if isinstance(written, str) else written


StoreEntry = Annotated[
    StoreRoot,
    BeforeValidator(_store, json_schema_input_type=Root | StoreRoot),
]


class Vip(Record):
    """An address that moves with the active role."""

    addresses: Annotated[tuple[InterfaceAddress, ...], Field(min_length=1)]
    interface: Interface


class HostVip(Record):
    """What differs on one host."""

    interface: Interface


class Mx(Record):
    """Whose mail exchangers follow the active role: its host gets one preference, the passive one the other."""

    name: Address
    active: Annotated[int, Field(ge=0, le=65535)] = 10
    passive: Annotated[int, Field(ge=0, le=65535)] = 20


class Dns(Record):
    """Names that follow the active role by dynamic update."""

    server: Address
    zone: Address
    names: Annotated[tuple[Word, ...], Field(min_length=1)]
    ttl: Annotated[int, Field(ge=1, le=86400, description="seconds")] = 60
    tsig: Secret
    mx: Mx | None = Field(None, description="mail exchangers whose preferences follow; default none")
    watch: Annotated[tuple[Address, ...], Field(description="resolvers that are only looked at")] = ()
    port: Annotated[int, Field(ge=1, le=65535, description="of every name server")] = 53


class Exec(Record):
    """The site's own commands that send users elsewhere: hosted DNS, a floating IP. Never through a shell."""

    show: Command = Field(description="prints where users are sent, as JSON")
    point: Command = Field(description="sends them to MAILMIRROR_PLACE")
    within: Positive = Field(30.0, description="for each run, at most")
    env: dict[Variable, Secret] = Field({}, description="secrets that both get as variables")


class Lease(Record):
    """How long a grant to serve lasts."""

    ttl: Annotated[Duration, Field(ge=2, le=300)] = 8.0


def _zone(written: str) -> str:
    known = any(os.path.isdir(path) for path in zoneinfo.TZPATH)
    try:
        zoneinfo.ZoneInfo(written)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        if known:  # a host without a zone database can't tell
            raise Wrong(f"{shown(written)} is no time zone", "write it as Europe/Zurich, or UTC") from None
    return written


def _start(written: str) -> str:
    windows.parse(written)
    return written


class Window(Record):
    """A time in which users are moved away for planned work, week by week or as cron says."""

    name: Word
    start: Annotated[str, _text(_start)] = Field(description='"Sun 02:30", or five fields as in crontab(5)')
    length: Positive
    zone: Annotated[str, _text(_zone)] = "UTC"
    failback: bool = Field(False, description="whether users go home when it closes; default false")


class Budget(Record):
    """How many deletions pass unasked: the larger of messages and percent, in `within`."""

    account_messages: Annotated[int, Field(gt=0)] = 200
    account_percent: Percent = 20.0
    store_messages: Annotated[int, Field(gt=0)] = 5000
    store_percent: Percent = 5.0
    within: Positive = 600.0


def _one_line(written: str) -> str:
    return quantities.one_line(written)


def _fence_value(written: object) -> object:
    """A parameter as the agent reads it (1 and 0 for true and false), or the reference of a secret."""
    if isinstance(written, dict):
        kind, where = next(iter(written.items())) if len(written) == 1 else ("", None)
        if kind not in Secret.model_fields or not isinstance(where, str) or not where:
            raise Wrong("exactly one of file, env, credential is needed", "write {file: PATH}")
        return Secret.model_construct(None, **{kind: (quantities.path if kind == "file" else quantities.word)(where)})
    if not isinstance(written, str | int | float):
        raise Wrong(f"must be a text, a number or true or false, is {shown(written)}", "write one value")
    return quantities.one_line(str(int(written)) if isinstance(written, bool) else str(written))


FenceValue = Annotated[
    str | Secret,
    PlainValidator(_explained(_fence_value), json_schema_input_type=str | int | float | bool | Secret),
]
FenceName = Annotated[str, _text(quantities.fence_parameter), _schema("^[a-z][a-z0-9_-]*$", "ip", "plug")]
Words = Annotated[tuple[Annotated[str, _text(_one_line)], ...], Field(min_length=1)]


class FenceExec(Record):
    """A provider's own commands, each as a list of words; no shell reads them."""

    switch_off: Words = Field(description="switches the host off")
    switch_on: Words | None = Field(None, description="switches it on again; only `fence test --cycle` does that")
    status: Words = Field(description="prints one of the two words below, and nothing else, and exits with 0")
    says_off: Annotated[str, Field(min_length=1), _text(_one_line)] = Field(description="printed when it is off")
    says_on: Annotated[str, Field(min_length=1), _text(_one_line)] = Field(description="printed when it is on")
    environment: dict[Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$")], FenceValue] | None = Field(
        None, description="variables that they run with; a secret by reference"
    )


class FenceEntry(Record):
    """A device that can cut this host's power: an agent or commands."""

    agent: Annotated[str, _text(quantities.fence_agent), _schema("(^|/)fence_[a-z0-9_]+$", "fence_redfish")] | None = (
        Field(None, description="a fence agent: its name, or its path")
    )
    parameters: dict[FenceName, FenceValue] | None = Field(None, description="its options; a secret by reference")
    exec: FenceExec | None = Field(None, description="a provider's own commands")
    level: Annotated[int, Field(ge=1, le=9)] | None = Field(None, description="default: its position in the list")
    within: Annotated[Duration, Field(ge=2, le=600)] = 60.0

    @model_validator(mode="before")
    @classmethod
    def _one_kind(cls, written: object) -> object:
        if isinstance(written, dict):
            if ("agent" in written) == ("exec" in written):
                context = {"what": "exactly one of agent, exec is needed", "hint": "write {agent: fence_redfish, ...}"}
                raise PydanticCustomError("wrong", "{what}", context)
            if "exec" in written and "parameters" in written:
                context = {"what": "parameters are an agent's", "hint": "put them into the words of the commands"}
                raise PydanticCustomError("wrong", "{what}", context)
        return written


class WebhookSaid(Record):
    """Where alerts are posted, as Alertmanager posts them to its receivers."""

    url: Annotated[str, Field(pattern="^https?://[^/ ]+(/[^ ]*)?$")]
    token: Secret | None = Field(None, description="sent as a bearer token; default none")


class SmarthostSaid(Record):
    """A mail server that isn't of any pair, which takes alerts as mail."""

    server: Address
    port: Port = 587
    tls: Literal["starttls", "tls", "none"] = "starttls"
    sender: Annotated[str, _text(quantities.mailbox)]
    to: Annotated[tuple[Annotated[str, _text(quantities.mailbox)], ...], Field(min_length=1)]
    user: Annotated[str, Field(min_length=1)] | None = None
    password: Secret | None = None


class AlertProgramSaid(Record):
    """A program of the site's own, which gets alerts on its standard input."""

    command: Command
    within: Positive = 30.0


class AlertSaid(Record):
    """One way that reaches people."""

    name: Word
    least: Literal["warning", "page"] = Field("warning", description="told from this severity on")
    webhook: WebhookSaid | None = None
    smtp: SmarthostSaid | None = None
    exec: AlertProgramSaid | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_way(cls, written: object) -> object:
        if isinstance(written, dict) and len({"webhook", "smtp", "exec"} & written.keys()) != 1:
            context = {
                "what": "exactly one of webhook, smtp, exec is needed",
                "hint": "add webhook: {url: ...}, smtp: {server: ...} or exec: {command: [...]}",
            }
            raise PydanticCustomError("wrong", "{what}", context)
        return written


class Services(Record):
    """Which program serves which protocol; its processes' deletions are the users' own."""

    smtp: Word | None = None
    imap: Word | None = None
    pop3: Word | None = None


class Canary(Record):
    """An account that letters are sent to, to see whether they arrive; nobody's but mailmirror's."""

    address: Annotated[str, _text(quantities.mailbox), _schema("^[^ <>]+@[^ <>@]+$", "canary@example.org")]
    password: Secret
    user: Annotated[str, Field(min_length=1)] | None = Field(None, description="login name; default: the address")
    every: Annotated[Positive, Field(ge=5)] = 60.0


class Probe(Record):
    """How services are looked at. fall and rise are looks in a row."""

    interval: Annotated[Duration, Field(ge=0.5, le=60)] = 1.0
    timeout: Annotated[Duration, Field(ge=0.5, le=30)] = 3.0
    fall: Annotated[int, Field(ge=2, le=20)] = 3
    rise: Annotated[int, Field(ge=1, le=20)] = 3
    services: Annotated[tuple[Service, ...], Field(min_length=1)] | None = Field(
        None, description="which; default: those of mm_services"
    )


class Restart(Record):
    """Which services are restarted before anything else is tried, and how often."""

    services: Annotated[tuple[Service, ...], Field(min_length=1)]
    times: Annotated[int, Field(ge=1, le=10)] = 2


class Ports(Record):
    """Where services listen. 465, 993 and 995 begin with TLS; elsewhere STARTTLS is used where it is offered."""

    smtp: Port = 25
    submission: Port = 587
    lmtp: Port = 24
    imap: Port = 993
    pop3: Port = 995


class Connection(Record):
    """How a host is reached. May stand anywhere; a host's own word counts most."""

    ansible_port: Annotated[int, Field(ge=1, le=65535)] | None = Field(None, description="SSH port; default 22")
    ansible_user: Annotated[str, Field(pattern="^[^ :/]+$")] | None = Field(
        None, description="user there; default: the one who runs mailmirror"
    )
    ansible_ssh_private_key_file: LocalPath | None = Field(None, description="key; default: the SSH agent's keys")
    ansible_connection: Literal["ssh", "local"] | None = Field(None, description="default ssh")
    ansible_python_interpreter: Annotated[str, Field(pattern="^[^ ]+$")] | None = Field(
        None, description="Python 3.9 or newer there; default python3"
    )
    mm_known_hosts: LocalPath | None = Field(None, description="pinned host keys; default ~/.ssh/known_hosts")
    mm_ssh_agent: bool | None = Field(None, description="use keys of the SSH agent; default: when no key file is named")
    mm_forced: bool | None = Field(None, description="the key there is bound to a forced command; default false")


class HostVars(Connection):
    """What stands at a host."""

    mm_place: Literal["primary", "mirror", "archive", "witness"] | None = Field(None, description="its place, for life")
    ansible_host: Address | None = Field(None, description="address; default: the host's name")
    mm_stores: Annotated[tuple[StoreEntry, ...], Field(min_length=1)] | None = Field(
        None, description="roots here, where they differ from the pair's; in the same order"
    )
    mm_vip: HostVip | None = Field(None, description="the interface here, where it differs from the pair's")
    mm_other_dovecot: bool | None = Field(
        None, description="a Dovecot that runs here serves other mail and never opens these stores; default false"
    )
    mm_fence: Annotated[tuple[FenceEntry, ...], Field(min_length=1)] | None = Field(
        None, description="devices that can cut this host's power; default none"
    )


class PairVars(Connection):
    """What stands in `vars:` of a pair, or of all pairs."""

    mm_stores: Annotated[tuple[StoreEntry, ...], Field(min_length=1)] | None = Field(None, description="mail roots")
    mm_services: Services | None = Field(None, description="program by protocol; default none")
    mm_mode: Literal["auto", "confirm", "observe"] | None = Field(None, description="who decides; default auto")
    mm_cooldown: Duration | None = Field(
        None, description="after a failover, until another one may follow unasked; default 1h"
    )
    mm_qresync_after: Duration | None = Field(
        None, description="after a failover, until Dovecot advertises CONDSTORE and QRESYNC again; default 30d"
    )
    mm_probe: Probe | None = Field(None, description="how services are looked at; takes mm_services")
    mm_ports: Ports | None = Field(None, description="ports of services, where they aren't the usual ones")
    mm_canary: Canary | None = Field(None, description="an account for probes and test letters; default none")
    mm_references: Annotated[tuple[Reference, ...], Field(min_length=1)] | None = Field(
        None, description="ADDRESS:PORT that tell whether the controller itself is cut off; default none"
    )
    mm_restart: Restart | None = Field(None, description="services that are restarted first; default none")
    mm_rpo: Positive | None = Field(None, description="lag that is still good; default 30s")
    mm_vip: Vip | None = Field(None, description="moving address; default none")
    mm_dns: Dns | None = Field(None, description="moving names; default none")
    mm_exec: Exec | None = Field(None, description="commands that send users elsewhere; default none")
    mm_lease: Lease | None = Field(None, description="lease; needs a witness; default none")
    mm_guard_port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        None, description="UDP port of the guards; default 7521"
    )
    mm_units: Annotated[tuple[UnitName, ...], Field(min_length=1)] | None = Field(
        None, description="further systemd units that serve mail; default none"
    )
    mm_alerts: tuple[AlertSaid, ...] | None = Field(None, description="who is told when something is wrong")
    mm_windows: tuple[Window, ...] | None = Field(None, description="planned maintenance; default none")
    mm_state_dir: LocalPath | None = Field(None, description="the controller's state; one for all pairs")
    mm_bandwidth: Rate | None = Field(None, description="limit per passive place; default none")
    mm_owner: Annotated[str, Field(pattern="^(name|number|[^:/ ]+:[^:/ ]+)$")] | None = Field(
        None, description="owner of what is written: name (default), number, or USER:GROUP"
    )
    mm_undelete: Duration | None = Field(None, description="how long deleted mail is kept; default 7d")
    mm_delete_budget: Budget | None = Field(None, description="deletions that pass unasked")
    mm_watch: Literal["auto", "fanotify", "inotify", "poll"] | None = Field(None, description="default auto")
    mm_audit: Positive | None = Field(None, description="time between audits; default 15m")
    mm_verify: Positive | None = Field(None, description="time between proofs of equality; default 24h")
    mm_listen: Endpoint | None = Field(None, description="HOST:PORT of status page and metrics; default none")
    mm_url: Url | None = Field(None, description="of the status page, for links in alerts; default none")
