"""The agent beside a bare loop, itself without sketches, and a peer: same model, same images, one run, in turns.

Contenders, each a process of its own with one thread for the model, in an environment that has `[agent]` and nothing else:
  bare         read, decode (Pillow), contract.preprocess, ONNX Runtime, and nothing else
  agent        `plumbline-agent run` on the folder: features, sketches, SQLite, kept images, the local API; no broker
  no_sketches  the agent with `[windows] sketch = false`
  peer         Roboflow's `inference` in `.venv-peers` (see peer.py), only with --peers: cv2.imread and their engine

Cases: `camera` is 1280x800 with decoding about as dear as the model, `decode` the same with a light model, `small` is 224x224,
where the model is nearly all there is. Every figure is a median over repetitions; ratios and differences are taken within one
repetition, so that a machine that is busy for a while is busy for all.
"""

from __future__ import annotations

import math
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from agent.settings_keys import WindowSettings
from agent.slots.unpacked import open_archive
from scripts.benches.agent_venv import station_python
from scripts.benches.budget import table as budget_table
from scripts.benches.child import run_child
from scripts.benches.line_images import read_grey, write_line_images
from scripts.benches.line_model import build_line_bundle
from scripts.benches.peer import REQUIREMENT, install_peer, peer_contender
from scripts.benches.station_run import run_station, write_config

Figures = dict[str, float]
_WIDTHS = {"medium": 1.0, "light": 0.25}


@dataclass(frozen=True, slots=True)
class _Case:
    """`name`; the images' folder; the model's name in `_WIDTHS`."""

    name: str
    images: str
    model: str


_CASES = (_Case("camera", "camera", "medium"), _Case("small", "small", "medium"), _Case("decode", "camera", "light"))
HEADLINE, SMALL = "camera", "small"
_MEASURED = ("fps", "p50_ms", "p99_ms", "cpu_us", "rss_mb", "start_s", "kib_per_1000")


@dataclass(frozen=True, slots=True)
class _Effort:
    """How long is measured: images of each size, repetitions, seconds each, frames before."""

    images: int
    repetitions: int
    seconds: float
    warm: int


_WHOLE = _Effort(images=48, repetitions=5, seconds=5.0, warm=64)
_QUICK = _Effort(images=12, repetitions=1, seconds=1.0, warm=8)


def measure(*, quick: bool = False, peers: bool = False) -> Figures:
    """Return the `agent.*` figures; progress and what was compared go to stderr.

    Raises:
        RefusedError: a contender did not run.
    """
    busy = os.getloadavg()[0] / (os.cpu_count() or 1)
    if busy > 0.5:
        _say(
            f"{busy:.1f} processes wait for each core: frames/s and start-up say little now, processor time still does"
        )
    python = station_python(_say)
    effort, cases = (_QUICK, _CASES[:2]) if quick else (_WHOLE, _CASES)
    if peers:
        install_peer(_say)
        _say(
            f"peer: {REQUIREMENT}, its engine on the same int8 file, one thread; it decodes with OpenCV and keeps nothing"
        )
    with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as scratch:
        work = Path(scratch)
        _say("writing images and building the model")
        images = write_line_images(work / "images", effort.images)
        _say(f"images: {images.origin}")
        calibration = read_grey(images.small) + read_grey(images.camera)
        bundles = {
            name: build_line_bundle(work / f"{name}.plb", calibration, width=_WIDTHS[name])
            for name in {case.model for case in cases}
        }
        models = {name: Path(open_archive(path, work / name).folder) / "int8.onnx" for name, path in bundles.items()}
        figures: Figures = {}
        runs: dict[str, dict[str, list[Figures]]] = {}
        for case in cases:
            folder = images.camera if case.images == "camera" else images.small
            contenders = _contenders(python, work, bundles[case.model], models[case.model], folder, effort, peers=peers)
            runs[case.name] = _in_turns(case.name, contenders, effort.repetitions)
            alone = median(
                _bare(python, models[case.model], folder, 0.0, 0)["rss_mb"] for _ in range(effort.repetitions)
            )
            figures |= {f"agent.{case.name}.session.rss_mb": alone}
        for name, of_case in runs.items():
            figures |= _of_case(name, of_case)
        inside = _inside(python, work / "home-inside", bundles["medium"], images.small, effort)
        restarted = run_station(
            work / "home-agent", bundles["medium"], images.small, 0.5, effort.warm, python=python, fresh=False
        )
    return _headline(runs, figures) | inside | {"agent.restart_s": restarted["start_s"], "agent.busy": busy} | figures


def table(figures: Mapping[str, float]) -> str:
    """Return the figures that have targets as a table, and below it one line for each case and contender."""
    detail = [key for key in figures if key.count(".") == 3]
    head = budget_table({key: value for key, value in figures.items() if key not in detail})
    names = list(dict.fromkeys(tuple(key.split(".")[1:3]) for key in detail))
    rows: list[tuple[str, ...]] = [("case", "contender", *_MEASURED)]
    for case, contender in names:
        cells = [figures.get(f"agent.{case}.{contender}.{what}", math.nan) for what in _MEASURED]
        rows.append((case, contender, *("-" if math.isnan(cell) else f"{cell:.4g}" for cell in cells)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join((head, "", *lines))


def _contenders(
    python: str, work: Path, bundle: Path, model: Path, folder: Path, effort: _Effort, *, peers: bool
) -> dict[str, Callable[[], Figures]]:
    station = partial(
        run_station, bundle=bundle, images=folder, seconds=effort.seconds, warm=effort.warm, python=python
    )
    contenders: dict[str, Callable[[], Figures]] = {
        "bare": partial(_bare, python, model, folder, effort.seconds, effort.warm),
        "agent": partial(station, work / "home-agent"),
    }
    if "sketch" in WindowSettings.__struct_fields__:
        contenders["no_sketches"] = partial(station, work / "home-no-sketches", windows="sketch = false")
    if peers:
        contenders["peer"] = peer_contender(work, model, folder, effort.seconds, effort.warm)
    return contenders


def _in_turns(case: str, contenders: Mapping[str, Callable[[], Figures]], repetitions: int) -> dict[str, list[Figures]]:
    """Run each contender `repetitions` times, one after another, each round in the other direction."""
    taken: dict[str, list[Figures]] = {name: [] for name in contenders}
    for repetition in range(repetitions):
        order = list(contenders) if repetition % 2 == 0 else list(contenders)[::-1]
        for name in order:
            figures = contenders[name]()
            taken[name].append(figures)
            _say(f"{case} {repetition + 1}/{repetitions} {name}: {figures['fps']:.1f} frames/s")
    return taken


def _of_case(case: str, runs: Mapping[str, Sequence[Figures]]) -> Figures:
    return {
        f"agent.{case}.{contender}.{what}": median(figures[what] for figures in taken)
        for contender, taken in runs.items()
        for what in _MEASURED
        if what in taken[0]
    }


def _headline(runs: Mapping[str, Mapping[str, Sequence[Figures]]], figures: Mapping[str, float]) -> Figures:
    def paired(case: str, what: str, of: Callable[[float, float], float], other: str = "bare") -> float:
        pairs = zip(runs[case]["agent"], runs[case][other], strict=True)
        return median(of(mine[what], theirs[what]) for mine, theirs in pairs)

    def ratio(mine: float, theirs: float) -> float:
        return mine / theirs

    def difference(mine: float, theirs: float) -> float:
        return mine - theirs

    ratios = {case: paired(case, "fps", ratio) for case in runs}
    found = {
        "agent.fps_ratio_bare": ratios[HEADLINE],
        "agent.fps_ratio_bare_worst": min(ratios.values()),
        "agent.rss_extra_mb": max(
            figures[f"agent.{case}.agent.rss_mb"] - figures[f"agent.{case}.session.rss_mb"] for case in runs
        ),
        "agent.start_s": median(figures[f"agent.{case}.agent.start_s"] for case in runs),
        "agent.kib_per_1000": figures[f"agent.{SMALL}.agent.kib_per_1000"],
    }
    if "no_sketches" in runs[SMALL]:
        found["agent.sketches_us"] = paired(SMALL, "cpu_us", difference, "no_sketches")
    if "peer" in runs[SMALL]:
        found |= {f"agent.fps_ratio_peer_{case}": paired(case, "fps", ratio, "peer") for case in runs}
    return found


def _inside(python: str, home: Path, bundle: Path, images: Path, effort: _Effort) -> Figures:
    """Return `agent.overhead_us`, and what decoding, preparing and running took beside it, from inside the station."""
    taken: list[Figures] = []
    for repetition in range(effort.repetitions):
        config = write_config(home, bundle, images, effort.warm)
        arguments = (str(config), str(effort.seconds), str(effort.warm))
        taken.append(run_child((python, "-m", "scripts.benches.overhead", *arguments)))
        _say(f"inside {repetition + 1}/{effort.repetitions}: {taken[-1]['overhead_us']:.0f} us a frame beyond its work")
    return {f"agent.{what}": median(figures[what] for figures in taken) for what in taken[0] if what != "cpu_us"}


def _bare(python: str, model: Path, folder: Path, seconds: float, warm: int) -> Figures:
    command = (python, "-m", "scripts.benches.bare_loop", str(model), str(folder), str(seconds), str(warm))
    return run_child(command)


def _say(text: str) -> None:
    print(f"[bench] {text}", file=sys.stderr, flush=True)
