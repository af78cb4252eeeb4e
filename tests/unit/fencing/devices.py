"""Small real programs that hold a host's power in a file: a fence agent, and a provider's commands.

Both know the moods of real devices: `well`; `liar` says yes to an order and does nothing; `slow` obeys a second later;
`hangs` never ends; `mute` prints nothing; `strange` says what nobody understands; `no` refuses.
"""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.inventory.model import Fence, FenceCommands, Secret

PASSWORD = "hunter2-of-the-device"

_AGENT = """#!/usr/bin/env python3
import os, pathlib, sys, time
home = pathlib.Path(__file__).parent
said = dict(line.rstrip("\\n").split("=", 1) for line in sys.stdin)
action, mood = said["action"], (home / "mood").read_text()
with (home / "orders").open("a") as file:
    file.write(action + "\\n")
(home / "asked").write_text(repr(sys.argv) + repr(sorted(said)) + repr(sorted(os.environ.items())))
if said.get("password") != (home / "password").read_text():
    print("Unable to connect/login to fencing device with " + said.get("password", ""), file=sys.stderr)
    sys.exit(1)
if mood == "hangs":
    time.sleep(600)
if action in ("on", "off"):
    if mood == "no":
        sys.exit(1)
    if mood == "slow":
        (home / "due").write_text(f"{time.monotonic() + 1} {action}")
    elif mood != "liar":
        (home / "power").write_text(action)
    print("Success: Powered " + action.upper())
    sys.exit(0)
if (home / "due").exists():
    due, wanted = (home / "due").read_text().split()
    if time.monotonic() > float(due):
        (home / "power").write_text(wanted)
power = (home / "power").read_text()
if mood != "mute":
    print("Status: " + ("PURPLE" if mood == "strange" else power.upper()))
sys.exit(2 if power == "off" else 0)
"""

_PROVIDER = """#!/usr/bin/env python3
import os, pathlib, sys, time
home = pathlib.Path(__file__).parent
action, mood = sys.argv[1], (home / "mood").read_text()
with (home / "orders").open("a") as file:
    file.write(action + "\\n")
(home / "asked").write_text(repr(sys.argv) + repr(sorted(set(os.environ) - {"TOKEN"})))
if os.environ.get("TOKEN") != (home / "password").read_text():
    sys.exit("not authorised: " + os.environ.get("TOKEN", ""))
if mood == "hangs":
    time.sleep(600)
if action in ("start", "stop"):
    if mood == "no":
        sys.exit(1)
    wanted = {"start": "on", "stop": "off"}[action]
    if mood == "slow":
        (home / "due").write_text(f"{time.monotonic() + 1} {wanted}")
    elif mood != "liar":
        (home / "power").write_text(wanted)
    sys.exit(0)
if (home / "due").exists():
    due, wanted = (home / "due").read_text().split()
    if time.monotonic() > float(due):
        (home / "power").write_text(wanted)
power = (home / "power").read_text()
if mood != "mute":
    print("server is purple" if mood == "strange" else {"on": "running", "off": "stopped"}[power])
"""


class Box:
    """A directory with one such program, its power, its mood and its password."""

    def __init__(self, home: Path, kind: str) -> None:
        self.home, self.kind = home, kind
        home.mkdir(parents=True, exist_ok=True)
        self.set(power="on", mood="well", password=PASSWORD)
        self.program = home / ("fence_box" if kind == "agent" else "provider")
        self.program.write_text(_AGENT if kind == "agent" else _PROVIDER)
        self.program.chmod(0o755)
        self.key = home / "key"
        self.key.touch(0o600)
        self.key.write_text(PASSWORD + "\n")

    def set(self, **said: str) -> None:
        for name, value in said.items():
            (self.home / name).write_text(value)

    @property
    def power(self) -> str:
        return (self.home / "power").read_text()

    @property
    def asked(self) -> str:
        """What the program saw of its command line, its environment, and the names of what it was told."""
        return (self.home / "asked").read_text()

    @property
    def orders(self) -> list[str]:
        """Every action that it was asked for, in its own words."""
        path = self.home / "orders"
        return path.read_text().split() if path.exists() else []

    def entry(self, level: int = 1, within: float = 20.0) -> Fence:
        secret = Secret("file", os.fspath(self.key))
        if self.kind == "agent":
            return Fence(level, within, os.fspath(self.program), {"ip": "192.0.2.31", "password": secret})
        words = [(os.fspath(self.program), word) for word in ("stop", "status", "start")]
        commands = FenceCommands(words[0], words[1], "running", "stopped", words[2], {"TOKEN": secret})
        return Fence(level, within, exec=commands)

    def written(self) -> str:
        """The same as it stands in an inventory."""
        if self.kind == "agent":
            return f"{{agent: {self.program}, parameters: {{ip: 192.0.2.31, password: {{file: {self.key}}}}}}}"
        words = {"switch_off": "stop", "switch_on": "start", "status": "status"}
        said = ", ".join(f"{key}: [{self.program}, {word}]" for key, word in words.items())
        return (
            f"{{exec: {{{said}, says_on: running, says_off: stopped, environment: {{TOKEN: {{file: {self.key}}}}}}}}}"
        )
