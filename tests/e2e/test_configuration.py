"""`plumbline-cloud config` on a running server, and a running station that follows it over a real broker."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cloud.__main__ import main
from contract.config_states import settings_digest
from tests.fixtures_broker import ROOT, Broker, free_port, start_broker
from tests.station_process import STATION, Station, wait_for

SHORT = "[windows]\nframes = 64\n"


class House:
    """A broker, an aggregator and a station that trusts it, each a process."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        self.broker = broker
        self.home, port = folder / "plant", free_port()
        ports = ("--api-port", str(port), "--broker-port", str(self.broker.port))
        self.run("init", "--home", str(self.home), *ports)
        self.config = str(self.home / "cloud.toml")
        self.run("station", "add", STATION, "--out", str(folder / "device"), "--config", self.config)
        url = f"http://127.0.0.1:{port}"
        trust = 'root = "device/trust/root.json"\norder_keys = ["device/trust/order_key.json"]\n'
        token = 'token_file = "device/station.token"\n'
        extra = f'[cloud]\nurl = "{url}"\n{token}[trust]\n{trust}[api]\nport = 0\n'
        self.station = Station(folder, self.broker.port, extra=extra)
        # A burst of work elsewhere on a test machine is no trouble of the settings.
        text = self.station.config.read_text().replace("deadline_ms", "queue = 200\ndeadline_ms")
        self.station.config.write_text(text)
        with (folder / "serve.log").open("ab") as log:
            self.server = subprocess.Popen(
                (sys.executable, "-m", "cloud", "serve", "--config", self.config),
                stdout=log, stderr=log, cwd=ROOT, env={**os.environ, "PYTHONWARNINGS": "default"},
            )  # fmt: skip
        until = time.monotonic() + 120
        while time.monotonic() < until:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{url}/healthz", timeout=30).is_success:
                    return
            time.sleep(0.05)
        raise AssertionError((folder / "serve.log").read_text())

    def run(self, *words: str, code: int = 0) -> str:
        """Run plumbline-cloud; return what it printed."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            assert main(list(words)) == code, out.getvalue()
        return out.getvalue()

    def configure(self, action: str, *words: str, code: int = 0) -> str:
        return self.run("config", action, *words, "--config", self.config, code=code)

    def show(self) -> dict[str, Any]:
        shown: dict[str, Any] = json.loads(self.configure("show", STATION, "--json"))
        return shown

    def close(self) -> None:
        self.station.close()
        self.server.kill()
        self.server.wait()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    broker = start_broker(tmp_path / "broker")
    try:
        made = House(tmp_path, broker)
        yield made
        made.close()
    finally:
        broker.kill()


@pytest.mark.slow
def test_an_operator_orders_settings_sees_them_kept_refused_and_taken_back(house: House, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.toml"
    overlay.write_text(SHORT)
    short = ("--file", str(overlay), "--probation-s", "6", "--reason", "shorter")
    assert "nothing yet" in house.configure("show", STATION)
    assert "no station 's9'" in house.configure("set", "s9", *short, code=1)
    house.station.start()
    house.configure("set", STATION, *short)

    def reported(state: str, seq: int) -> bool:
        said = house.show()["reported"]
        return (said["state"], said["config_seq"]) == (state, seq)

    wait_for(lambda: reported("COMMITTED", 1))
    assert house.show()["reported"]["configuration"] == settings_digest(SHORT)
    overlay.write_text('[trust]\nroot = "mine.json"\n')
    house.configure("set", STATION, *short)
    wait_for(lambda: reported("REFUSED", 2))
    text = house.configure("show", STATION)
    assert "no order sets 'trust'" in text and f"in force: {settings_digest(SHORT)[:12]}" in text
    house.configure("clear", STATION, "--probation-s", "6")
    wait_for(lambda: reported("COMMITTED", 3))
    assert house.show()["reported"]["configuration"] == ""
    overlay.write_text("[line\n")
    assert "no TOML" in house.configure("set", STATION, *short, code=1)
