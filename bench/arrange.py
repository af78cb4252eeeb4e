"""Where the benchmark runs: two sides, a real sshd between them, and nothing left behind.

As root everything happens in namespaces of its own (mounts, network, processes), made by unshare before anything else:
when the last process goes, whichever way, the kernel takes mounts, interfaces and processes with it. The source is in
memory, the far file system is a fresh ext4 in a loop file in memory (a real disk here remembers others' work; measured:
7 to 45 s for the same copy). Each side has a root of its own, an overlay over the machine's, and its own end of a veth.
As an ordinary user both sides share the machine and loopback, and the copy goes to memory: rougher, and said so.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import measure

INSIDE = "MAILMIRROR_BENCH_INSIDE"
MOUNT = Path("/mnt")  # exists on every system; what is mounted over it is seen by our namespace only
NEAR, FAR = "10.99.77.1", "10.99.77.2"
STATE = "var/lib/mailmirror-agent"
REPOSITORY = Path(__file__).resolve().parent.parent


def can_isolate() -> bool:
    """Tell whether this process may make the namespaces and mounts (root with CAP_SYS_ADMIN and CAP_NET_ADMIN)."""
    if os.geteuid() != 0:
        return False
    tried = subprocess.run(["unshare", "--mount", "--net", "--pid", "--fork", "true"], capture_output=True, check=False)
    return tried.returncode == 0


def isolate(arguments: list[str]) -> int:
    """Run the benchmark again inside namespaces of its own and return its exit code; end it when we are ended."""
    command = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command += ["--propagation", "private", sys.executable, "-m", "bench", *arguments]
    if shutil.which("setpriv"):
        command = ["setpriv", "--pdeathsig", "KILL", *command]
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    inner = subprocess.Popen(command, env={**os.environ, INSIDE: "1", "PYTHONPATH": path})
    try:
        return inner.wait()
    except KeyboardInterrupt:
        return inner.wait(timeout=10)  # the terminal told the inner process too
    finally:
        inner.kill()
        inner.wait()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How one side reaches the other by ssh; `config` is for OpenSSH's `-F`, where the host is called `far`."""

    address: str
    port: int
    user: str
    key: Path
    known_hosts: Path
    config: Path


@dataclass(slots=True)
class Site:
    """The arrangement while it stands. `source` and `sink` are the two stores; `space` holds everything of a run."""

    space: Path
    image: Path | None
    isolated: bool
    endpoint: Endpoint = field(init=False)
    sshd: subprocess.Popen[bytes] = field(init=False)
    far_namespace: str = ""
    interface: str = "lo"

    @property
    def source(self) -> Path:
        """The store on the far side, behind sshd."""
        return self.space / "source"

    @property
    def disk(self) -> Path:
        """The near side's file system: the copy, and the near side's own state."""
        return self.space / "disk"

    @property
    def sink(self) -> Path:
        """The copy."""
        return self.disk / "store"

    def near(self, argv: list[str]) -> list[str]:
        """Return the command that runs `argv` on the near side."""
        place = ["chroot", str(MOUNT / "near/root")] if self.isolated else []
        home = self.space / "near-home"
        return [*place, "env", f"HOME={home}", f"UNISON={home}/.unison", f"PYTHONPATH={REPOSITORY}", *argv]

    def far(self, argv: list[str]) -> list[str]:
        """Return the command that runs `argv` on the far side, not through ssh."""
        if not self.isolated:
            return argv
        return ["nsenter", f"--net={self.far_namespace}", "chroot", str(MOUNT / "far/root"), *argv]

    def wire(self) -> tuple[int, int]:
        """Return bytes received from and sent to the far side so far, headers included."""
        for line in Path("/proc/self/net/dev").read_text().splitlines():
            name, _, numbers = line.partition(":")
            if name.strip() == self.interface:
                columns = numbers.split()
                return (0 if self.interface == "lo" else int(columns[0])), int(columns[8])
        raise RuntimeError(f"interface {self.interface} is gone")

    def fresh(self, megabytes: int, inodes: int, block: int = 4096) -> None:
        """Empty both sides; the near file system is made anew. The source's directory doesn't exist afterwards."""
        if os.path.ismount(self.disk):
            _run(["umount", str(self.disk)])
        for name in ("source", "near-home", "far-home", "far-state", "disk"):
            if (self.space / name).exists():
                shutil.rmtree(self.space / name)
        self.disk.mkdir()
        if self.isolated:
            image = MOUNT / "disk.img"
            image.unlink(missing_ok=True)
            with image.open("wb") as stream:
                stream.truncate(megabytes << 20)
            lazy = "lazy_itable_init=0,lazy_journal_init=0,nodiscard"
            _run(["mkfs.ext4", "-q", "-F", "-b", str(block), "-N", str(inodes), "-E", lazy, str(image)])
            _run(["mount", "-o", "loop", str(image), str(self.disk)])
        for directory in (self.sink, self.disk / "state", self.disk / "controller"):
            directory.mkdir()
        for name in ("near-home", "far-home", "far-state"):
            (self.space / name).mkdir()

    def copy_template(self, template: Path) -> None:
        """Make the source a copy of the template, file for file."""
        _run(["cp", "-a", str(template), str(self.source)])

    def settle(self) -> None:
        """Write the near file system's dirty pages back, so that the next measurement doesn't pay for them."""
        _run(["sync", "-f", str(self.disk)])

    @contextmanager
    def slow(self, rate: str) -> Iterator[None]:
        """Limit both directions of the wire with tbf, as `100mbit`. Isolated sites only."""
        limit = ["root", "tbf", "rate", rate, "burst", "256k", "latency", "100ms"]
        ends: tuple[tuple[list[str], str], ...] = (
            ([], "bench0"),
            (["nsenter", f"--net={self.far_namespace}"], "bench1"),
        )
        try:
            for place, device in ends:
                _run([*place, "tc", "qdisc", "replace", "dev", device, *limit])
            yield
        finally:
            for place, device in ends:
                _run([*place, "tc", "qdisc", "del", "dev", device, "root"])

    @contextmanager
    def delayed(self, seconds: float) -> Iterator[Endpoint]:
        """Yield an endpoint behind a relay that adds `seconds` to each direction; bandwidth isn't limited."""
        port = free_port()
        target = f"{self.endpoint.address}:{self.endpoint.port}"
        command = [sys.executable, "-m", "bench.relay", str(port), target, str(seconds)]
        relay = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(REPOSITORY)})
        try:
            wait_for_port("127.0.0.1", port)
            yield _endpoint(self.space, "127.0.0.1", port, "delayed")
        finally:
            measure.end(relay)


@contextmanager
def site(image: Path | None) -> Iterator[Site]:
    """Set the arrangement up and take it down again, also after a failure. `image` is a layer with the peers."""
    with ExitStack() as stack:
        isolated = INSIDE in os.environ
        if isolated:
            space = MOUNT / "space"
            made = Site(space, image, True)
            _mount(made)
            _wire(made, stack)
        else:
            memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
            space = Path(tempfile.mkdtemp(prefix="mailmirror-bench-", dir=memory))
            stack.callback(shutil.rmtree, space)
            made = Site(space, None, False)
        made.sshd = _sshd(made)
        stack.callback(measure.end, made.sshd)
        wait_for_port(made.endpoint.address, made.endpoint.port)
        yield made


def _mount(made: Site) -> None:
    _run(["mount", "-t", "tmpfs", "-o", "size=90%,mode=755,nr_inodes=0", "bench", str(MOUNT)])
    made.space.mkdir()
    _run(["mount", "-t", "tmpfs", "-o", "size=90%,mode=755,nr_inodes=0", "bench", str(made.space)])
    _run(["mount", "--make-shared", str(made.space)])  # so that a disk mounted later is seen in both roots
    lower = f"{_layer(made.image)}:/" if made.image else "/"
    for side, state in (("near", made.disk / "state"), ("far", made.space / "far-state")):
        root, upper, work = (MOUNT / side / name for name in ("root", "upper", "work"))
        for directory in (root, upper, work):
            directory.mkdir(parents=True)
        _run(["mount", "-t", "overlay", "bench", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}", str(root)])
        for directory in (root / made.space.relative_to("/"), root / "run/sshd", root / "var/lib"):
            directory.mkdir(parents=True, exist_ok=True)
        _run(["mount", "--bind", str(made.space), str(root / made.space.relative_to("/"))])
        _run(["mount", "-t", "proc", "proc", str(root / "proc")])
        _run(["mount", "--rbind", "/dev", str(root / "dev")])
        shutil.rmtree(root / STATE, ignore_errors=True)
        (root / STATE).symlink_to(state)
        _show_code(root)


def _layer(image: Path) -> Path:
    """Return the directory to lay over the machine's root: `image`, or `upper` inside it when it is an ext4 file."""
    if image.is_dir():
        return image
    place = MOUNT / "image"
    place.mkdir()
    _run(["mount", "-o", "loop,ro,noload", str(image), str(place)])
    return place / "upper"


def _show_code(root: Path) -> None:
    """Make the interpreter and the code visible below `root` where they lie on another file system than /."""
    for path in {REPOSITORY, Path(sys.prefix), Path(sys.base_prefix)}:
        if path.stat().st_dev != os.stat("/").st_dev:
            target = root / path.relative_to("/")
            target.mkdir(parents=True, exist_ok=True)
            _run(["mount", "--bind", str(path), str(target)])


def _wire(made: Site, stack: ExitStack) -> None:
    keeper = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
    stack.callback(measure.end, keeper)
    own = os.readlink("/proc/self/ns/net")
    deadline = time.monotonic() + 10
    while os.readlink(f"/proc/{keeper.pid}/ns/net") == own:
        if time.monotonic() > deadline:
            raise RuntimeError("the far side's network namespace did not come up")
        time.sleep(0.01)
    made.far_namespace, made.interface = f"/proc/{keeper.pid}/ns/net", "bench0"
    _run(["ip", "link", "add", "bench0", "type", "veth", "peer", "name", "bench1"])
    _run(["ip", "link", "set", "bench1", "netns", str(keeper.pid)])
    for place, device, address in (([], "bench0", NEAR), (["nsenter", f"--net={made.far_namespace}"], "bench1", FAR)):
        _run([*place, "ip", "link", "set", "lo", "up"])
        _run([*place, "ip", "addr", "add", f"{address}/30", "dev", device])
        _run([*place, "ip", "link", "set", device, "up"])


def _sshd(made: Site) -> subprocess.Popen[bytes]:
    """Start the distribution's sshd with its own defaults; only keys, address and homes are ours."""
    daemon = next((path for path in ("/usr/sbin/sshd", "/usr/local/sbin/sshd") if _exists(made, path)), "")
    if not daemon:
        raise RuntimeError("no sshd: install openssh-server")
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(made.space / name)], check=True)
    address, port = (FAR, 22) if made.isolated else ("127.0.0.1", free_port())
    lines = [
        f"ListenAddress {address}",
        f"Port {port}",
        f"HostKey {made.space}/host",
        f"AuthorizedKeysFile {made.space}/user.pub",
        f"SetEnv HOME={made.space}/far-home",
        "PidFile none",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "StrictModes no",
        "MaxStartups 100",
        f"UsePAM {'yes' if made.isolated else 'no'}",
    ]
    (made.space / "sshd_config").write_text("\n".join(lines) + "\n")
    made.endpoint = _endpoint(made.space, address, port, "direct")
    command = made.far([daemon, "-D", "-e", "-f", str(made.space / "sshd_config")])
    with (made.space / "sshd.log").open("wb") as log:
        return subprocess.Popen(command, stderr=log)


def _exists(made: Site, path: str) -> bool:
    return (MOUNT / "far/root" / path[1:] if made.isolated else Path(path)).exists()


def _endpoint(space: Path, address: str, port: int, name: str) -> Endpoint:
    key = (space / "host.pub").read_text().split()[:2]
    known, config = space / f"known_hosts.{name}", space / f"ssh_config.{name}"
    who = address if port == 22 else f"[{address}]:{port}"
    known.write_text(f"{who} {key[0]} {key[1]}\n")
    user = os.environ.get("USER", "root") if os.geteuid() else "root"
    config.write_text(
        f"Host far\n HostName {address}\n Port {port}\n User {user}\n IdentityFile {space}/user\n IdentitiesOnly yes\n"
        f" BatchMode yes\n UserKnownHostsFile {known}\n StrictHostKeyChecking yes\n"
    )
    return Endpoint(address, port, user, space / "user", known, config)


def free_port() -> int:
    """Return a TCP port on loopback that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for_port(address: str, port: int, seconds: float = 10) -> None:
    """Wait until something listens there; raise TimeoutError otherwise."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((address, port), 1).close()
            return
        except ConnectionRefusedError as problem:
            if time.monotonic() > deadline:
                raise TimeoutError(f"nothing listens on {address}:{port}") from problem
            time.sleep(0.02)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
