from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch

from cloud.clock import SystemClock
from cloud.retrain.job import TrainJob, write_job
from cloud.retrain.metrics_log import read_metrics
from cloud.retrain.run_folder import RunFolder
from cloud.retrain.run_records import Recipe
from cloud.retrain.train import train
from contract.errors import StorageFull
from tests.cloud.retrain.pictures import quick_job, write_folders

# Everything that has a memory: an average, an early stop that is near, labels drawn unevenly.
RECIPE = Recipe(
    epochs=1,
    min_steps=30,
    batch_size=8,
    shift_px=2,
    width=0.5,
    ema=0.9,
    patience=40,
    class_balance=0.5,
    schedule="cosine",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folders(tmp_path_factory.mktemp("resume") / "data", 8)


@pytest.fixture(scope="module")
def straight(data: Path) -> RunFolder:
    run = RunFolder(data.parent / "straight")
    train(_job(data, run.root), SystemClock())
    return run


def _job(data: Path, out: Path) -> TrainJob:
    return msgspec.structs.replace(quick_job(data, out), recipe=RECIPE, input_px=32, save_every_s=0.0)


def _kill_when(job: TrainJob, moment: Callable[[RunFolder], bool]) -> None:
    """Run the script in a process of its own and take it away with SIGKILL at a moment of its run."""
    run, file = RunFolder(Path(job.out)), Path(job.out) / "job.json"
    write_job(job, file)
    command = [sys.executable, "-m", "cloud.retrain.train", str(file)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not moment(run):
            time.sleep(0.0005)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL and not run.is_trained()


def _assert_same(run: RunFolder, straight: RunFolder) -> None:
    first = torch.load(straight.checkpoint, weights_only=True)
    second = torch.load(run.checkpoint, weights_only=True)
    assert first["model"].keys() == second["model"].keys() and first["step"] == second["step"]
    for name, weights in first["model"].items():
        assert torch.equal(second["model"][name], weights), name
    assert run.fp32.read_bytes() == straight.fp32.read_bytes()
    learnt = [
        [(m.step, m.loss, m.rate, m.calibration_accuracy) for m in read_metrics(r.metrics)] for r in (straight, run)
    ]
    assert learnt[0] == learnt[1] and len(learnt[0]) == first["step"]


@pytest.mark.slow
def test_killed_process_resumes_to_the_same_bytes(data: Path, straight: RunFolder) -> None:
    job = _job(data, data.parent / "killed")
    _kill_when(job, lambda run: len(read_metrics(run.metrics)) >= 9 and run.checkpoint.with_suffix(".tmp").exists())
    with (Path(job.out) / "metrics.jsonl").open("ab") as torn:
        torn.write(b'{"step":30,"loss":0.1,"rate":1.0}\n{"step": 7, "lo')
    train(msgspec.structs.replace(job, resume=True), SystemClock())
    _assert_same(RunFolder(Path(job.out)), straight)


@pytest.mark.long
@pytest.mark.parametrize("step", [0, 1, 2, 5, 13, 17, 22, 28, 29, 30])
def test_killed_process_resumes_to_the_same_bytes_from_any_step(data: Path, straight: RunFolder, step: int) -> None:
    job = _job(data, data.parent / f"killed{step}")
    _kill_when(job, lambda run: run.metrics.exists() and len(read_metrics(run.metrics)) >= step)
    train(msgspec.structs.replace(job, resume=True), SystemClock())
    _assert_same(RunFolder(Path(job.out)), straight)


@pytest.mark.slow
def test_full_disk_during_a_checkpoint_lets_training_go_on(data: Path, straight: RunFolder) -> None:
    job = _job(data, data.parent / "full")
    Path(job.out).mkdir()
    (Path(job.out) / "checkpoint.tmp").symlink_to("/dev/full")
    said: list[str] = []
    figures = train(job, SystemClock(), lambda progress: said.append(progress.text))
    run = RunFolder(Path(job.out))
    assert figures.skipped_checkpoints == 1 and any("no room on the disk at step 1" in text for text in said)
    assert any("1 checkpoints found no room" in warning for warning in run.info().warnings)
    _assert_same(run, straight)


def test_disk_that_stays_full_is_said_and_leaves_nothing_half_written(data: Path) -> None:
    job = _job(data, data.parent / "stays-full")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, limits[1]))
    try:
        with pytest.raises(StorageFull, match="no room left") as caught:
            train(job, SystemClock())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "--resume" in caught.value.hint
    assert [file.name for file in Path(job.out).iterdir()] == ["metrics.jsonl"]
