"""Second opinions under more load than the machine can take: the product's server beside one that refuses nothing.

Each is asked in a closed loop first: what it answers a second is its capacity. Then requests come by chance (open loop, Poisson) at
1, 2 and 4 times that, from a process of its own, as real HTTP. An answer counts for `goodput` if it came by the deadline, from when
the request should have been sent; clients hang up only after three deadlines, so what comes late is seen to come late.
"""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from PIL import Image

from agent.sources.surface import surface
from cloud.__main__ import main as cloud_main
from cloud.registry.bundle import BundleContent
from cloud.registry.keys import load_keys
from cloud.registry.release import Registry, release
from cloud.store.database import Database
from cloud.store.stations import Stations
from contract.errors import NotFound, RefusedError
from contract.manifest import Artefact, OutputKind, RuntimeKind, Thresholds
from scripts.benches.budget import table as budget_table
from scripts.benches.fallback_load import Heard, Load
from scripts.benches.line_model import write_line_model
from scripts.benches.line_spec import LABELS, SIDE, SPEC
from scripts.benches.with_parent import with_parent
from scripts.fleet.child import Child
from scripts.story.processes import free_port

Figures = dict[str, float]
CONTENDERS = ("own", "plain")
LEVELS = (1, 2, 4)
WITHIN_MS = 500
_STATIONS, _IMAGES = 24, 16
_PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """Seconds of each closed and open loop, rounds, and the width of the model."""

    closed_s: float
    open_s: float
    rounds: int
    width: float


FULL = Sizes(6.0, 15.0, 3, 1.0)
QUICK = Sizes(2.0, 4.0, 1, 0.5)


@dataclass(frozen=True, slots=True)
class Plant:
    """A home with a released model and stations that may ask for it."""

    home: Path
    port: int
    bundle: str
    stations: list[tuple[str, str]]
    images: list[str]


def measure(*, quick: bool = False, peers: bool = False) -> Figures:
    """Return the `fallback.*` figures; progress goes to stderr. `peers` is of no meaning here: the plain server is always there.

    Raises:
        NotFound: a server did not come up.
    """
    sizes = QUICK if quick else FULL
    runs: dict[str, list[Figures]] = {each: [] for each in CONTENDERS}
    with tempfile.TemporaryDirectory(prefix="plumbline-fallback-") as folder:
        plant = make_plant(Path(folder), sizes.width)
        for number in range(sizes.rounds):
            for contender in CONTENDERS if number % 2 == 0 else CONTENDERS[::-1]:
                with served(contender, plant):
                    runs[contender].append(one_round(contender, plant, sizes))
    figures: Figures = {"fallback.within_ms": WITHIN_MS}
    for contender, found in runs.items():
        for key in found[0]:
            figures[f"fallback.{contender}.{key}"] = float(np.median([each[key] for each in found]))
    return {
        "fallback.p99_over_deadline_4x": figures["fallback.own.4x.answered_p99_ms"] / WITHIN_MS,
        "fallback.goodput_4x": figures["fallback.own.4x.goodput"],
        "fallback.refused_p99_ms_4x": figures["fallback.own.4x.refused_p99_ms"],
        **figures,
    }


def one_round(contender: str, plant: Plant, sizes: Sizes) -> Figures:
    """Return one contender's capacity, and how it fares at each level of load.

    Capacity is measured before and after each level, so that what else the machine does falls on both.

    Raises:
        RefusedError: an answer was neither an opinion nor a refusal.
    """
    load = Load("127.0.0.1", plant.port, plant.bundle, plant.stations, plant.images, 5_000, sizes.closed_s)
    send(msgspec.structs.replace(load, seconds=1.0, clients=1))  # loads the model
    capacities = [_capacity(load)]
    figures: Figures = {}
    for level in LEVELS:
        rate = capacities[-1] * level
        heard = send(msgspec.structs.replace(load, within_ms=WITHIN_MS, seconds=sizes.open_s, rate=rate, seed=level))
        if heard.other:
            raise RefusedError(f"{contender} gave answers that were neither 200 nor 503: {heard.other}")
        capacities.append(_capacity(load))
        in_time = sum(each <= WITHIN_MS for each in heard.answered_ms)
        offered = len(heard.answered_ms) + len(heard.refused_ms) + heard.silent
        found = {
            "goodput": in_time / heard.took_s / float(np.mean(capacities[-2:])),
            "answered_p50_ms": _quantile(heard.answered_ms, 50),
            "answered_p99_ms": _quantile(heard.answered_ms, 99),
            "refused_p99_ms": _quantile(heard.refused_ms, 99),
            "late_share": (len(heard.answered_ms) - in_time + heard.silent) / max(offered, 1),
        }
        _say(f"{contender} at {level}x ({rate:.0f} a second): " + ", ".join(f"{k} {v:.3g}" for k, v in found.items()))
        figures |= {f"{level}x.{key}": figure for key, figure in found.items()}
    return {"capacity_per_s": float(np.median(capacities)), **figures}


def _capacity(load: Load) -> float:
    closed = send(load)
    return len(closed.answered_ms) / closed.took_s


def send(load: Load) -> Heard:
    """Send a load from a process of its own."""
    command = (sys.executable, "-m", "scripts.benches.fallback_load")
    done = subprocess.run(command, input=msgspec.json.encode(load), capture_output=True, check=True)
    return msgspec.json.decode(done.stdout, type=Heard)


def make_plant(folder: Path, width: float) -> Plant:
    """Make a home with the line's model released in full precision, and stations."""
    home = folder / "plant"
    port = free_port()
    with contextlib.redirect_stdout(io.StringIO()):
        # No broker is there: nothing but questions comes.
        cloud_main(["init", "--home", str(home), "--api-port", str(port), "--broker-port", str(free_port())])
    pictures = [surface(1, index, SIDE, SIDE)[0] for index in range(_IMAGES)]
    model = write_line_model(folder / "fp32.onnx", pictures, width=width)
    content = BundleContent(
        name="bench",
        version="bench",
        labels=LABELS,
        preprocess=SPEC,
        artefacts=(Artefact("fp32.onnx", RuntimeKind.ONNX, "fp32", OutputKind.LOGITS),),
        thresholds=Thresholds(pass_at=0.9, reject_at=0.9),
        files={"fp32.onnx": model},
    )
    made = release(content, Registry(home / "registry"), load_keys(home / "keys"), time.time(), full_precision=model)
    database = Database(f"sqlite:///{home / 'cloud.db'}")
    stations = [(f"line{number}", f"token {number}") for number in range(_STATIONS)]
    for name, token in stations:
        Stations(database).add(name, token, "", time.time())
    database.close()
    files = []
    for number, picture in enumerate(pictures):
        file = folder / f"{number}.png"
        Image.fromarray(picture).save(file, "PNG", compress_level=1)  # as a station sends it
        files.append(str(file))
    return Plant(home, port, made.digest, stations, files)


@contextmanager
def served(contender: str, plant: Plant) -> Iterator[None]:
    """Serve the plant by the real command, or by the plain server.

    Raises:
        NotFound: it did not come up.
    """
    log = plant.home.parent / f"{contender}.log"
    command = [sys.executable, "-m", "scripts.benches.fallback_plain", str(plant.home), str(plant.port)]
    if contender == "own":
        command = [sys.executable, "-m", "cloud", "serve", "--config", str(plant.home / "cloud.toml")]
    child = Child(contender, with_parent(command), log)
    child.start()
    try:
        _wait_for(f"http://127.0.0.1:{plant.port}/healthz", child)
        yield
    finally:
        child.stop()


def _wait_for(url: str, child: Child) -> None:
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(url, timeout=5):
            return
        child.check_alive()
        time.sleep(0.1)
    raise NotFound(f"no answer from {url}: {child.tail()}")


def table(figures: Figures) -> str:
    """Return the headline beside its targets, then a line for each contender and level."""
    head = budget_table({key: figure for key, figure in figures.items() if key.count(".") == 1})
    rows: list[tuple[str, ...]] = [("server", "load", "goodput", "p50 ms", "p99 ms", "refused p99 ms", "late")]
    for contender in CONTENDERS:
        for level in LEVELS:
            key = f"fallback.{contender}.{level}x"
            shown = ("goodput", "answered_p50_ms", "answered_p99_ms", "refused_p99_ms", "late_share")
            rows.append((contender, f"{level}x", *(f"{figures[f'{key}.{each}']:.3g}" for each in shown)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    capacities = ", ".join(f"{each} {figures[f'fallback.{each}.capacity_per_s']:.0f}" for each in CONTENDERS)
    return "\n".join((head, "", f"capacity a second: {capacities}; goodput is of it, deadline {WITHIN_MS} ms", *lines))


def _quantile(values: list[float], percent: float) -> float:
    return float(np.percentile(values, percent)) if values else 0.0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
