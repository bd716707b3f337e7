"""The demo's plant: a broker, the cloud and three stations, each a process of its own, all on loopback."""

from __future__ import annotations

import atexit
import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import create_engine, text

from agent.store.database import FILE_NAME
from contract.errors import LinkDown
from scripts.story.images import Pictures
from scripts.story.processes import Process, StepFailed, free_port, run_tool, tool
from scripts.story.ways import PlainSetUp, Postgres, SecureSetUp, Ways

STATIONS = ("line1", "line2", "line3")
# The one whose lens will lose focus. The canary of a rollout is the first station that is not expected to change.
FOGGED = "line2"

# Windows of a second or two instead of minutes: the same code on a faster clock.
WINDOW_FRAMES = 32
ENROL_WINDOWS = 24
FRAMES_PER_S = 25

# glibc gives image-sized blocks back to the kernel after every frame and faults them in again: half the cost of statistics.
_STATION_ENVIRONMENT = {"MALLOC_TRIM_THRESHOLD_": "100000000", "MALLOC_MMAP_THRESHOLD_": "100000000"}

_CLOUD_TABLES = f"""
[drift]
enrol_windows = {ENROL_WINDOWS}
settle_windows = {ENROL_WINDOWS}
period_s = 0.0

[review]
routine_per_day = 0
labels_per_alarm = 120
audit_share = 0.5
ask_again_s = 15.0

[rollout]
wave_shares = []
probation_frames = 96
min_agreement = 0.8
probation_timeout_s = 300.0
serve_s = 2.0
silence_s = 300.0
"""

_AGENT_TABLES = """
[windows]
frames = {window_frames}
seconds = 10.0

[enrol]
frames = 128

[policy]
images_leave = "requested"
audit_rate = 0.5
doubtful_per_window = 8
"""


@dataclass(frozen=True, slots=True)
class StationAccount:
    """A station's own books: rows of results ever judged, by fate, and summaries not yet acknowledged."""

    captured: int
    passed: int
    rejected: int
    waiting: int


class Plant:
    """Everything that runs. `close` leaves no process behind."""

    def __init__(self, work: Path, pictures: Pictures, ways: Ways) -> None:
        self.work, self._pictures = work, pictures
        self.home = work / "cloud"
        self.config = self.home / "cloud.toml"
        self.api_port = free_port()
        self.url = f"{'https' if ways.secure else 'http'}://127.0.0.1:{self.api_port}"
        self._set_up = (SecureSetUp if ways.secure else PlainSetUp)(work, self.home, self.api_port)
        self.broker = self._set_up.broker
        atexit.register(self.broker.kill)  # should anything below fail
        self._postgres = Postgres(work / "postgres") if ways.postgres else None
        # The database's key comes before any table of the file.
        database = f"database = {json.dumps(self._postgres.url)}\n" if self._postgres is not None else ""
        self.config.write_text(database + self.config.read_text() + _CLOUD_TABLES)
        self.verify = self._set_up.context()
        self.inspector_token = (self.home / "secrets" / "inspector.token").read_text().strip()
        operator = (self.home / "secrets" / "operator.token").read_text().strip()
        headers = {"Authorization": f"Bearer {operator}"}
        self._client = httpx.Client(base_url=self.url, headers=headers, timeout=10.0, verify=self.verify)
        if not ways.secure:
            self.add_stations()
        serve = [tool("plumbline-cloud"), "serve", "--config", str(self.config)]
        self.cloud = Process("cloud", serve, work / "cloud.log")
        self.stations = {
            name: Process(
                name, [tool("plumbline-agent"), "run", "--config", str(self.agent_config(name))], work / f"{name}.log"
            )
            for name in STATIONS
        }

    def agent_config(self, station: str) -> Path:
        """Return a station's agent.toml."""
        return self.work / station / "agent.toml"

    def controls(self, station: str) -> Path:
        """Return the file that adjusts a station's simulated camera while it runs."""
        return self.work / station / "camera.json"

    def processes(self) -> list[Process]:
        """Return everything that should be alive."""
        return [self.broker, self.cloud, *self.stations.values()]

    def get(self, path: str) -> Any:
        """Return the cloud's JSON answer, as an operator's page would get it.

        Raises:
            LinkDown: it does not answer.
            StepFailed: it refuses.
        """
        try:
            response = self._client.get(path)
        except httpx.TransportError as error:
            raise LinkDown(f"the cloud does not answer: {error}") from error
        if not response.is_success:
            raise StepFailed(f"GET {path}: {response.status_code} {response.text[:200]}")
        return response.json()

    def broker_connected(self) -> bool:
        """Return whether the cloud reaches the broker."""
        return bool(self.get("/v1/fleet")["broker_connected"])

    def digest(self, version: str) -> str:
        """Return the bundle of a released version."""
        found = [str(v["digest"]) for v in self.get("/v1/versions") if v["version"] == version]
        if not found:
            raise StepFailed(f"version '{version}' was never released: an earlier step did not come to its end")
        return found[0]

    def fleet(self) -> dict[str, dict[str, Any]]:
        """Return every station as the operator sees it, by name."""
        return {s["station"]: s for s in self.get("/v1/fleet")["stations"]}

    def cloud_command(self, *arguments: str, accept: tuple[int, ...] = (0,)) -> Any:
        """Run a plumbline-cloud command on this plant and return its JSON answer."""
        command = [tool("plumbline-cloud"), *arguments, "--config", str(self.config), "--json"]
        return json.loads(run_tool(command, accept=accept))

    def account(self, station: str) -> StationAccount:
        """Return a station's own books: counted from the rows of its database, not from any total it keeps."""
        with closing(self._database(station)) as connection:
            verdicts = dict(connection.execute("SELECT verdict, count(*) FROM results GROUP BY verdict").fetchall())
            waiting = connection.execute("SELECT count(*) FROM outbox").fetchone()[0]
        captured, passed, rejected = sum(verdicts.values()), verdicts.get("PASS", 0), verdicts.get("REJECT", 0)
        return StationAccount(captured, passed, rejected, waiting)

    def add_stations(self) -> None:
        """Add the stations that are not there yet; those that enrol need the server."""
        for station in STATIONS:
            if not self.agent_config(station).exists():
                self._add_station(station)

    def asked_for(self) -> int:
        """Return how many frames the cloud has asked people to look at, from its own database."""
        engine = create_engine(self._postgres.url if self._postgres else f"sqlite:///{self.home / 'cloud.db'}")
        with closing(engine.connect()) as connection:
            asked = connection.execute(text("SELECT count(*) FROM samples WHERE requested_at IS NOT NULL")).scalar()
        engine.dispose()
        return int(asked or 0)

    def vouched_for(self, digest: str) -> bool:
        """Return whether the newest signed targets metadata lists a bundle."""
        files = (self.home / "registry" / "tuf" / "metadata").glob("*.targets.json")
        newest = max(files, key=lambda file: int(file.name.partition(".")[0]))
        return digest in newest.read_text()

    def latest_answers(self, station: str, bundle: str, most: int, since: float) -> list[tuple[str, str]]:
        """Return the latest (part, label) that a station judged with a bundle, of frames captured `since` (Unix seconds)."""
        query = "SELECT part, label FROM results WHERE label <> '' AND bundle = ? AND captured_at >= ? ORDER BY id DESC LIMIT ?"
        with closing(self._database(station)) as connection:
            return [(part, label) for part, label in connection.execute(query, (bundle, since, most))]

    def _database(self, station: str) -> sqlite3.Connection:
        file = self.work / station / "state" / FILE_NAME
        return sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10.0)

    def close(self) -> None:
        """Stop everything."""
        for process in (*self.stations.values(), self.cloud, self.broker):
            process.stop()
        self._client.close()
        if self._postgres is not None:
            self._postgres.stop()

    def _add_station(self, name: str) -> None:
        folder = self.work / name
        self._set_up.enrol(name, folder)
        run_tool([tool("plumbline-agent"), "simulate", "set", str(self.controls(name)), "--defocus-px", "0"])
        seed = STATIONS.index(name) + 1
        source = [
            'kind = "simulated"',
            f"fps = {FRAMES_PER_S}",
            f"seed = {seed}",
            'controls = "camera.json"',
            f"scene = {json.dumps(str(self._pictures.line))}",
        ]
        config = self.agent_config(name)
        written = config.read_text().replace('kind = "simulated"', "\n".join(source))
        config.write_text(written + _AGENT_TABLES.format(window_frames=WINDOW_FRAMES))
