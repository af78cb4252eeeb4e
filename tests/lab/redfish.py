"""A power controller on the lab's network: a small Redfish service (DMTF DSP0266) that holds one host's power.

Its Off is the host's power cut, its On switches the host on, and its PowerState is whether the host's PID 1 lives: what
it says is read anew for each question. It has a cable and an address of its own, so that it answers while the host is
off. It knows what a fence agent asks for, over HTTPS with Basic authentication, and no more of Redfish.

`mood` is "well", "silent" (takes the request and never answers) or "liar" (says yes to an order and does nothing).

Invariant: its threads, its cable and its namespace are gone when it is closed.
"""

from __future__ import annotations

import base64
import json
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.lab.certificates import Authority
from tests.lab.host import Host
from tests.lab.switch import Switch
from tests.support import kernel

USER = "fence"
_ROOT, _SYSTEMS, _SYSTEM = "/redfish/v1", "/redfish/v1/Systems", "/redfish/v1/Systems/1"
_RESET = f"{_SYSTEM}/Actions/ComputerSystem.Reset"


class PowerController:
    """Holds the power of `host`; `orders` are the resets that it was asked for."""

    def __init__(self, host: Host, password: str) -> None:
        self.host = host
        self.mood = "well"
        self.orders: list[str] = []
        self.closing = threading.Event()
        self.word = "Basic " + base64.b64encode(f"{USER}:{password}".encode()).decode()
        self._turn = threading.Lock()

    @property
    def state(self) -> str:
        return "On" if self.host.is_up else "Off"

    def shown(self, path: str) -> dict[str, Any] | None:
        """What a GET answers; None for what isn't there."""
        known: dict[str, dict[str, Any]] = {
            _ROOT: {"Systems": {"@odata.id": _SYSTEMS}},
            _SYSTEMS: {"Members": [{"@odata.id": _SYSTEM}]},
            _SYSTEM: {"PowerState": self.state, "Actions": {"#ComputerSystem.Reset": {"target": _RESET}}},
        }
        return known.get(path.rstrip("/"))

    def reset(self, kind: str) -> bool:
        """Obey a reset, unless it is in no mood to; whether it knows that kind."""
        with self._turn:
            self.orders.append(kind)
            if kind not in ("ForceOff", "On"):
                return False
            if self.mood != "liar":
                if kind == "ForceOff" and self.host.is_up:
                    self.host.power_cut()
                elif kind == "On" and not self.host.is_up:
                    self.host.switch_on()
            return True


class _Request(BaseHTTPRequestHandler):
    controller: PowerController

    def do_GET(self) -> None:
        if self._may():
            found = self.controller.shown(self.path)
            self._answer(404 if found is None else 200, found or {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self._may():
            known = self.path == _RESET and self.controller.reset(json.loads(body).get("ResetType", ""))
            self._answer(200 if known else 400, {})

    def _may(self) -> bool:
        if self.controller.mood == "silent":
            self.controller.closing.wait(60)
            return False
        if self.headers.get("Authorization") != self.controller.word:
            self._answer(401, {"error": {"code": "Base.1.0.InsufficientPrivilege"}})
            return False
        return True

    def _answer(self, code: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Nothing: a test looks at what the agents say."""


@contextmanager
def holding(host: Host, switch: Switch, address: str, password: str) -> Iterator[PowerController]:
    """A controller at an address of the lab's network that holds the power of a host, while the context lasts."""
    controller = PowerController(host, password)
    name = f"bmc-{host.name}"
    net = switch.connect(
        name, [f"{address}/24"], "02:0b:" + ":".join(f"{int(part):02x}" for part in address.split("."))
    )
    try:
        request = type("Request", (_Request,), {"controller": controller})
        with ThreadingHTTPServer((address, 443), request, bind_and_activate=False) as server:
            server.daemon_threads = True
            server.socket.close()
            server.socket = _listening(net, address)
            serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
            serving.start()
            try:
                yield controller
            finally:
                controller.closing.set()
                server.shutdown()
                serving.join()
    finally:
        switch.disconnect(name, net)


def _listening(net: int, address: str) -> ssl.SSLSocket:
    """A socket of that network namespace; the thread comes back from it."""
    with open("/proc/thread-self/ns/net", "rb") as own:
        kernel.setns(net, kernel.CLONE_NEWNET)
        try:
            plain = socket.create_server((address, 443), backlog=16)
        finally:
            kernel.setns(own.fileno(), kernel.CLONE_NEWNET)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(Authority().signed([address]))
        file.flush()
        context.load_cert_chain(file.name)
    return context.wrap_socket(plain, server_side=True)
