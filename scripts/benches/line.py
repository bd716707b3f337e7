"""A line's controller beside a station: how long a verdict takes to reach it, and what becomes of every trigger.

Five runs, each a whole station as its own process and a real client of the protocol in this one. `calm`: parts at a rate that the
model keeps up with, over Modbus TCP, MQTT and OPC UA; latency is from just before the client's write of the request to the
verdict in the client's hands. `stored_first`: the same over Modbus TCP, each verdict told once its record is on the disk.
`overrun`: parts faster than the model can judge. `dies`: a camera that goes away half way. In
each, every ask must come to exactly one end, and the verdict that the client got must be the one that the station recorded.
The floor, taken in the same minutes: pymodbus' own client and server with one register and nothing behind it.
"""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from agent.line_io.line_teller import FACT, LineFact
from contract.errors import RefusedError
from scripts.benches.budget import table as budget_table
from scripts.benches.line_floor import floor_ms
from scripts.benches.line_images import read_grey, write_line_images
from scripts.benches.line_model import build_line_bundle
from scripts.benches.line_opcua import OpcUaPlc
from scripts.benches.line_plc import Drive, LinePlc, ModbusPlc, MqttPlc, drive
from scripts.benches.with_parent import with_parent
from scripts.fleet.child import Child
from scripts.story.processes import Process, free_port, run_broker

Figures = dict[str, float]
_IMAGES, _WARM, _FLOOR = 24, 20, 300
_OVER = 2.0

_CONFIG = """\
station = "bench"
home = "state"
[source]
kind = "folder"
folder = "{images}"
fps = 0
[line]
deadline_ms = {deadline_ms}
[plc]
kind = "{kind}"
port = {port}
heartbeat_s = 0.5
waiting = 4
{keys}[enrol]
frames = 10
[broker]
host = ""
[api]
port = 0
[bundle]
path = "{bundle}"
"""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Parts of a calm run and their rate, parts of the others, the model's width."""

    parts: int
    per_s: float
    others: int
    width: float


FULL = Sizes(300, 10.0, 300, 1.0)
QUICK = Sizes(60, 20.0, 100, 0.5)


@dataclass(frozen=True, slots=True)
class Bench:
    """Where the station's things are."""

    folder: Path
    images: Path
    bundle: Path
    broker_port: int


def measure(*, quick: bool = False, peers: bool = False) -> Figures:
    """Return the `line.*` figures; progress goes to stderr. `peers` is of no meaning here: the bare server is always there.

    Raises:
        DeadlinePassed: a station or a server did not come up.
        RefusedError: a station ended by itself.
    """
    sizes = QUICK if quick else FULL
    figures: Figures = {}
    for library in ("asyncua", "pymodbus"):
        logging.getLogger(library).setLevel(logging.CRITICAL)  # that nobody listens yet is no news
    with tempfile.TemporaryDirectory(prefix="plumbline-line-") as folder:
        images = write_line_images(Path(folder) / "images", _IMAGES)
        bundle = build_line_bundle(Path(folder) / "line.plb", read_grey(images.small), width=sizes.width)
        port = free_port()
        broker = _broker(Path(folder) / "broker", port)
        try:
            bench = Bench(Path(folder), images.small, bundle, port)
            figures |= _floor(bench)
            for kind in ("modbus", "mqtt", "opcua"):
                _say(f"calm, {kind}: {sizes.parts} parts at {sizes.per_s:g} a second")
                figures |= calm(bench, kind, sizes)
            _say(f"stored first, modbus: {sizes.parts} parts at {sizes.per_s:g} a second")
            figures |= calm(bench, "modbus", sizes, name="line.stored_first", keys="stored_first = true\n")
            capacity = 1e3 / figures["line.modbus.station_p50_ms"]
            figures["line.overrun.capacity_per_s"] = capacity
            _say(f"overrun: {sizes.others} parts at {_OVER * capacity:.0f} a second")
            figures |= overrun(bench, sizes.others, _OVER * capacity)
            _say(f"dies: {sizes.others // 2} parts, a camera for half of them")
            figures |= dies(bench, sizes.others // 2)
        finally:
            broker.stop()
    return figures


def calm(bench: Bench, kind: str, sizes: Sizes, *, name: str = "", keys: str = "") -> Figures:
    """Return the latency and the books of a run that the station keeps up with; `keys`: more of [plc]."""
    ran = run(bench, kind, sizes.parts + _WARM, sizes.per_s, keys=keys)
    name = name or f"line.{kind}"
    took_ms, station_ms = ran.drive.latencies_ms(_WARM + 1), ran.drive.station_ms(_WARM + 1)
    return {
        **_percentiles(name, took_ms),
        f"{name}.station_p50_ms": float(np.median(station_ms)),
        f"{name}.path_p50_ms": float(np.median(np.array(took_ms) - np.array(station_ms))),
        **books(name, ran),
    }


def overrun(bench: Bench, parts: int, per_s: float) -> Figures:
    """Return the books of a run with parts faster than the model judges."""
    ran = run(bench, "modbus", parts, per_s)
    return {"line.overrun.asked_per_s": ran.drive.asked_per_s(), **books("line.overrun", ran)}


def dies(bench: Bench, parts: int) -> Figures:
    """Return the books of a run whose camera goes away half way: the folder of its images is no more."""
    images, per_s = bench.folder / "dies", 5.0
    shutil.copytree(bench.images, images)
    away = threading.Timer(parts / 2 / per_s, shutil.rmtree, (images,))
    ran = run(bench, "modbus", parts, per_s, images=images, on_ready=away.start)
    away.join()
    return books("line.dies", ran)


@dataclass(frozen=True, slots=True)
class Ran:
    """What the client saw, what the station counted, and the verdict it recorded of each part."""

    drive: Drive
    counts: dict[str, int]
    recorded: dict[str, str]


def run(
    bench: Bench,
    kind: str,
    parts: int,
    per_s: float,
    *,
    images: Path | None = None,
    keys: str = "",
    on_ready: Callable[[], None] = lambda: None,
) -> Ran:
    """Run a station and ask it for `parts`; `on_ready` is called as the first is about to be asked for.

    `keys`: more of [plc].

    Raises:
        DeadlinePassed: it never took triggers.
        RefusedError: it ended by itself, or kept nothing.
    """
    home = Path(tempfile.mkdtemp(dir=bench.folder))
    port = bench.broker_port if kind == "mqtt" else free_port()
    config = home / "agent.toml"
    config.write_text(
        _CONFIG.format(
            images=images or bench.images, deadline_ms=200.0, kind=kind, port=port, bundle=bench.bundle, keys=keys
        )
    )
    command = with_parent([sys.executable, "-m", "agent", "run", "--config", str(config)])
    station = Child("the station", command, home / "agent.log")
    station.start()
    try:
        with closing(_PLCS[kind](port)) as plc:
            plc.wait_ready()
            on_ready()
            done = drive(plc, parts, per_s)
        station.check_alive()
        station.stop()
    finally:
        station.kill()
    with closing(sqlite3.connect(home / "state" / "agent.sqlite")) as connection:
        row = connection.execute("SELECT value FROM memory WHERE name = ?", (FACT,)).fetchone()
        recorded = dict(connection.execute("SELECT part, verdict FROM results"))
    if row is None:
        raise RefusedError(f"the station kept no books: {station.tail()}")
    return Ran(done, msgspec.json.decode(row[0], type=LineFact).counts, recorded)


def books(name: str, ran: Ran) -> Figures:
    """Return what became of every ask by the client and by the station, and what does not agree."""
    counts, outcomes = ran.counts, ran.drive.outcomes()
    ends = {key: n for key, n in counts.items() if key == "answered" or key.startswith(("lost: ", "refused: "))}
    verdicts = {ask: heard[0].verdict for ask, heard in ran.drive.heard.items() if heard[0].verdict}
    differs = sum(ran.recorded.get(f"part-{ask}") != verdict for ask, verdict in verdicts.items())
    told = {key.split(": ")[-1]: n for key, n in ends.items() if n}
    return {
        f"{name}.triggers": counts["triggers"],
        **{f"{name}.{key.replace(': ', '_')}": n for key, n in ends.items()},
        f"{name}.late": counts["late"],
        # Not one part without an end, or with two; none of which the client heard another end than the station counted.
        f"{name}.unaccounted": abs(len(ran.drive.sent_s) - sum(ends.values()))
        + abs(counts["triggers"] - sum(ends.values())),
        f"{name}.unheard": sum(abs(told.get(word, 0) - outcomes.get(word, 0)) for word in {*told, *outcomes}),
        f"{name}.differs": differs,
    }


def table(figures: Figures) -> str:
    """Return the figures beside their targets."""
    return budget_table(figures)


def _broker(folder: Path, port: int) -> Process:
    """Return a started broker that sends small messages at once: by default mosquitto holds each back for up to 40 ms."""
    folder.mkdir()
    config = folder / "mosquitto.conf"
    user = "user root\n" if os.geteuid() == 0 else ""
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n{user}")
    return run_broker(config, port, folder / "mosquitto.log")


def _floor(bench: Bench) -> Figures:
    port = free_port()
    server = Child(
        "the bare server",
        with_parent([sys.executable, "-m", "scripts.benches.line_floor", str(port)]),
        bench.folder / "floor.log",
    )
    server.start()
    try:
        reads, both = floor_ms(port, _FLOOR)
    finally:
        server.kill()
    return {**_percentiles("line.floor.read", reads), **_percentiles("line.floor.write_read", both)}


def _percentiles(name: str, took_ms: Sequence[float]) -> Figures:
    return {
        f"{name}.p50_ms": float(np.percentile(took_ms, 50)),
        f"{name}.p99_ms": float(np.percentile(took_ms, 99)),
        f"{name}.max_ms": float(np.max(took_ms)),
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


_PLCS: dict[str, Callable[[int], LinePlc]] = {
    "modbus": ModbusPlc,
    "opcua": OpcUaPlc,
    "mqtt": lambda port: MqttPlc(port, "line/bench"),
}
