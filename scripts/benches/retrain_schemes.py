"""What 8 bits cost and gain: accuracy and latency of fp32 and of int8 in each scheme, on steel and tiles, at the large width."""

from __future__ import annotations

import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from cloud.quantize.artefact_runner import open_session
from cloud.quantize.job import QuantizeJob
from cloud.quantize.scheme import Scheme
from cloud.retrain.job import TrainJob
from cloud.retrain.run_folder import RunFolder
from cloud.retrain.run_records import ArtefactFigures, Recipe
from contract.preprocess import preprocess
from scripts.benches.retrain_pictures import Deal, Picture, deal_steel, deal_tiles, write_folders
from scripts.benches.retrain_runs import THREADS, file_right, make_run
from scripts.benches.retrain_workers import say, spread

LARGE_WIDTH = 2.0
_ROUNDS = 9
_ROUND_S = 0.5


class SchemeEffort(msgspec.Struct, frozen=True):
    """How much is done. `side`, `input_px`: 0 for the images' own; `recipe`: the large network's."""

    sets: tuple[str, ...] = ("steel", "tiles")
    side: int | None = None
    input_px: int = 0
    of_label: int = 300
    recipe: Recipe = Recipe(width=LARGE_WIDTH)


def measure_schemes(root: Path, effort: SchemeEffort, workers: int | None = None) -> dict[str, float]:
    """Return the `int8.*` figures; runs that lie in `root` are not made again."""
    say("schemes: large models")
    seconds = spread("schemes: large models", partial(_train, root, effort), effort.sets, workers)
    figures: dict[str, float] = {f"int8.{s}_train_s": t for s, t in zip(effort.sets, seconds, strict=True) if t > 1}
    for images in effort.sets:
        figures |= _figures(root / images, images, _deal(images, effort))
    # What is promised of both sets holds where it is hardest.
    figures["int8.speedup"] = min(figures[f"int8.{s}_u8s8_speedup"] for s in effort.sets)
    figures["int8.acc_drop_pt"] = max(figures[f"int8.{s}_u8s8_acc_drop_pt"] for s in effort.sets)
    return figures


def _deal(images: str, effort: SchemeEffort) -> Deal:
    return deal_steel(effort.side, of_label=effort.of_label) if images == "steel" else deal_tiles(effort.side)


def _train(root: Path, effort: SchemeEffort, images: str) -> float:
    deal = _deal(images, effort)
    data = root / f"{images}-images"
    if not data.exists():
        write_folders(deal.base, data)
    job = TrainJob(
        out=str(root / images),
        data=str(data),
        good=deal.good,
        part_pattern=r"^(s\d+)_" if images == "tiles" else None,
        input_px=effort.input_px,
        recipe=effort.recipe,
        threads=THREADS,
    )
    return make_run(job, QuantizeJob(run="", schemes=tuple(Scheme), fp16=True))[1]


def _figures(folder: Path, images: str, deal: Deal) -> dict[str, float]:
    run = RunFolder(folder)
    artefacts = [a for a in run.quantize_report().artefacts if a.file.endswith(".onnx")]
    right = {a.file: file_right(run, folder / a.file, deal.test) for a in artefacts}
    full = right["fp32.onnx"]
    times = _latencies(run, [a.file for a in artefacts], deal.test[0])
    figures: dict[str, float] = {}
    for artefact in artefacts:
        name = f"int8.{images}_{_scheme(artefact)}"
        figures[f"{name}_acc"] = float(right[artefact.file].mean())
        figures[f"{name}_ms"] = times[artefact.file]
        figures[f"{name}_kb"] = artefact.size_bytes / 1024
        if artefact.file == "fp32.onnx":
            continue
        figures[f"{name}_acc_drop_pt"] = 100 * float(full.mean() - right[artefact.file].mean())
        figures[f"{name}_speedup"] = times["fp32.onnx"] / times[artefact.file]
    return figures


def _scheme(artefact: ArtefactFigures) -> str:
    """Return "fp32", "fp16", "u8s8" or "s8s8"; an int8 artefact that says nothing is for CPUs."""
    return artefact.scheme or ("u8s8" if artefact.precision == "int8" else artefact.precision)


def _latencies(run: RunFolder, files: list[str], picture: Picture) -> dict[str, float]:
    """Return the median over rounds of each file's ms an image: one thread, batch 1. Files take turns, so that a busy moment of
    the machine meets all of them."""
    image = preprocess(picture.pixels, run.info().preprocess)
    sessions = {file: open_session(run.root / file, threads=1) for file in files}
    found: dict[str, list[float]] = {file: [] for file in files}
    for _ in range(_ROUNDS):
        for file, session in sessions.items():
            found[file].append(_round_ms(session, image))
    return {file: statistics.median(times) for file, times in found.items()}


def _round_ms(session: onnxruntime.InferenceSession, image: NDArray[Any]) -> float:
    """Return the fastest tenth's ms of one round: what the artefact takes where nobody disturbs it."""
    feed = {session.get_inputs()[0].name: image}
    times: list[float] = []
    end = time.perf_counter() + _ROUND_S
    while time.perf_counter() < end or len(times) < 5:
        before = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - before)
    return float(np.quantile(times, 0.1)) * 1000
