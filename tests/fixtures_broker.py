"""A real mosquitto for tests, on a free port of loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from scripts.story.processes import free_port as free_port

ROOT = Path(__file__).resolve().parent.parent


class Broker:
    """A mosquitto process; `kill` and `start` again keep its port and its persistence file."""

    def __init__(self, folder: Path, *, config: str = "") -> None:
        binary = ROOT / ".venv/bin/mosquitto"
        found = str(binary) if binary.exists() else shutil.which("mosquitto")
        if found is None:
            raise RuntimeError("no mosquitto: run ./scripts/setup")
        self._binary = found
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        self._log = folder / "mosquitto.log"
        # Started by root, mosquitto becomes `nobody` and cannot write here.
        user = "user root\n" if os.geteuid() == 0 else ""
        self._config.write_text(
            f"{user}listener {self.port} 127.0.0.1\nallow_anonymous true\n"
            f"persistence true\npersistence_location {folder}/\n{config}"
        )

    def start(self) -> None:
        """Start it and wait until it listens."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen((self._binary, "-c", str(self._config)), stdout=log, stderr=log)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.2).close()
                return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError(f"mosquitto does not listen: {self._log.read_text()}")

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def start_broker(folder: Path) -> Broker:
    """Return a broker that runs, its files below `folder`."""
    broker = Broker(folder)
    broker.start()
    return broker
