"""What a smaller network costs in accuracy and gains in time: pruned children of a run, and students of it.

Each point is a run of its own, quantized, so any of them can be gated and released. What is there already is not made again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from cloud.quantize.job import QuantizeJob
from cloud.retrain.job import TrainJob, make_folder
from cloud.retrain.launch import launch_local, launch_quantize
from cloud.retrain.progress import OnProgress, Progress, ignore_progress
from cloud.retrain.run_folder import RunFolder, publish
from cloud.retrain.run_records import QuantizeReport, RunInfo
from contract.errors import InvalidConfig, StorageFull

CURVE_NAME = "curve.json"
_DATASET_NAME = "dataset.json"


class CurveJob(msgspec.Struct, frozen=True):
    """Which points: `prune`, shares of channels taken out before `steps` of fine-tuning; `widths`, of new networks that learn from
    the run's answers with weight `distil`, each beside one that learns from the labels alone."""

    run: str
    out: str
    prune: tuple[float, ...] = ()
    widths: tuple[float, ...] = ()
    distil: float = 0.5
    steps: int | None = None
    epochs: int | None = None
    seed: int = 0
    threads: int = 2


class CurvePoint(msgspec.Struct, frozen=True):
    """One network of a curve. `kind`: "as it is", "pruned", "narrower" or "taught"; `amount`: share pruned, or width. Accuracies on
    the holdout, 0..1; `ships`, `size_bytes` and `median_ms` (one thread, batch 1, this machine) are of the artefact that ships."""

    kind: str
    amount: float
    run: str
    parameters: int
    fp32_accuracy: float | None
    accuracy: float | None
    ships: str
    size_bytes: int
    median_ms: float


def measure_curve(job: CurveJob, on_progress: OnProgress = ignore_progress) -> tuple[CurvePoint, ...]:
    """Train and quantize every point, write `job.out`/curve.json, and return the points, the run itself first.

    Raises:
        InvalidConfig: nothing to measure, or a share or width that cannot be.
        NotFound: the run is not trained and quantized.
        StorageFull: the curve cannot be written.
        PlumblineError: as training and quantization raise.
    """
    _check(job)
    run, out = RunFolder(Path(job.run)), Path(job.out)
    info = run.info()
    points = [_point("as it is", info.recipe.width, run, info, run.quantize_report())]
    make_folder(out)
    wanted = list(_jobs(job, run, info, out))
    for number, (kind, amount, wanted_job) in enumerate(wanted):
        on_progress(Progress("curve", number, len(wanted), f"{kind} {amount:g}"))
        child = RunFolder(out / f"{kind}-{amount:g}")
        if not child.is_trained():
            made = msgspec.structs.replace(wanted_job, out=str(child.root), resume=child.checkpoint.exists())
            launch_local(made, on_progress)
        quantized = (
            child.quantize_report()
            if (child.root / "quantize.json").is_file()
            else launch_quantize(QuantizeJob(run=str(child.root), threads=job.threads), on_progress)
        )
        points.append(_point(kind, amount, child, child.info(), quantized))
        _write(out / CURVE_NAME, points)
    on_progress(Progress("curve", len(wanted), len(wanted), str(out / CURVE_NAME)))
    return tuple(points)


def _check(job: CurveJob) -> None:
    if not job.prune and not job.widths:
        raise InvalidConfig("there is nothing to measure", hint="give --prune 0.25,0.5 or --widths 0.5, or both")
    for share in job.prune:
        if not 0 < share <= 0.9:
            raise InvalidConfig(f"--prune {share:g} is outside 0..0.9", hint="0.5 takes half of the channels")
    for width in job.widths:
        if not 0 < width <= 8:
            raise InvalidConfig(f"--widths {width:g} is no width", hint="1 is about 100,000 parameters")
    if not 0 < job.distil <= 1:
        raise InvalidConfig(f"--distil {job.distil:g} is outside 0..1", hint="0.5 weighs labels and teacher alike")


def _jobs(job: CurveJob, run: RunFolder, info: RunInfo, out: Path) -> Iterator[tuple[str, float, TrainJob]]:
    """Yield (kind, amount, the job, without its folder) of every point."""
    parent = str(run.root.resolve())
    plain = msgspec.structs.replace(info.recipe, prune=0.0, distil=0.0)
    steps, epochs = job.steps or plain.warm_steps, job.epochs or plain.epochs
    for share in job.prune:
        recipe = msgspec.structs.replace(plain, prune=share, warm_steps=steps)
        yield "pruned", share, TrainJob(out="", parent=parent, recipe=recipe, seed=job.seed, threads=job.threads)
    dataset = _dataset_of(run, info, out / _DATASET_NAME) if job.widths else ""
    for width in job.widths:
        for kind, distil in (("narrower", 0.0), ("taught", job.distil)):
            recipe = msgspec.structs.replace(plain, width=width, distil=distil, epochs=epochs)
            made = TrainJob(out="", dataset=dataset, recipe=recipe, seed=job.seed, threads=job.threads)
            teacher = parent if distil else None
            yield kind, width, msgspec.structs.replace(made, teacher=teacher, input_px=info.preprocess.height)


def _dataset_of(run: RunFolder, info: RunInfo, file: Path) -> str:
    """Write the run's dataset as one to train on, with its splits: a student must not learn from the teacher's holdout."""
    manifest = msgspec.structs.replace(run.dataset(), name="curve", labels=info.labels)
    _write(file, manifest)
    return str(file)


def _point(kind: str, amount: float, run: RunFolder, info: RunInfo, quantized: QuantizeReport) -> CurvePoint:
    ships = next(a for a in quantized.artefacts if a.file == quantized.ships)
    full = next((a for a in quantized.artefacts if a.precision == "fp32"), ships)
    return CurvePoint(
        kind,
        amount,
        str(run.root),
        info.figures.parameters,
        full.accuracy,
        ships.accuracy,
        ships.file,
        ships.size_bytes,
        ships.median_ms,
    )


def _write(file: Path, value: object) -> None:
    temporary = file.with_suffix(".tmp")
    try:
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2))
        publish(temporary, file)
    except OSError as error:
        raise StorageFull(
            f"cannot write {file}: {error.strerror}", hint="free disk space, or choose another --out"
        ) from error
