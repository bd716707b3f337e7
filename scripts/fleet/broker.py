"""The broker: a mosquitto of our own with the limits of production, or one that is there already."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from contract.errors import InvalidConfig, NotFound
from scripts.fleet.child import Child
from scripts.story.processes import free_port, tool

# `max_inflight_messages` must let a worker have a whole batch unacknowledged. Autosaving ten thousand sessions every second
# would be most of what the broker does; what a kill -9 takes from it, stations send again.
_LIMITS = """\
allow_anonymous true
max_connections -1
max_inflight_messages 1000
max_queued_messages 100000
max_queued_bytes 0
max_packet_size 1048576
memory_limit 4294967296
set_tcp_nodelay true
persistence true
autosave_interval 30
log_type error
log_type warning
"""


@dataclass(frozen=True, slots=True)
class OwnBroker:
    """A mosquitto that can be killed and started again on its port."""

    child: Child
    host: str
    port: int

    def start(self) -> None:
        """Start it and wait until it listens.

        Raises:
            StepFailed: it ended by itself.
            NotFound: it does not listen within a minute.
        """
        self.child.start()
        until = time.monotonic() + 60.0
        while time.monotonic() < until:
            self.child.check_alive()
            if _answers(self.host, self.port):
                return
            time.sleep(0.02)
        raise NotFound(f"mosquitto does not listen at port {self.port} within a minute: {self.child.tail()}")


def own_broker(folder: Path) -> OwnBroker:
    """Return a broker with its files in `folder`, not started yet."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    # Started by root, mosquitto would change to a user that may not write here.
    user = "user root\n" if os.geteuid() == 0 else ""
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\n{user}persistence_location {folder}/\n{_LIMITS}")
    command = [tool("mosquitto"), "-c", str(config)]
    return OwnBroker(Child("broker", command, folder / "mosquitto.log"), "127.0.0.1", port)


def parse_broker(text: str) -> tuple[str, int]:
    """Return (host, port) of "HOST:PORT".

    Raises:
        InvalidConfig: it is not that, or nothing listens there.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65_536:
        raise InvalidConfig(f"--broker {text} is not HOST:PORT", hint="e.g. --broker 10.0.0.5:1883")
    if not _answers(host, int(port)):
        raise InvalidConfig(f"no broker answers at {text}", hint="start it, or leave --broker out for one of our own")
    return host, int(port)


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 5.0).close()
    except OSError:
        return False
    return True
