from __future__ import annotations

import os
from pathlib import Path

import msgspec
import psutil
import pytest
import torch

from cloud.retrain.job import TrainJob
from cloud.retrain.launch import launch
from cloud.retrain.launchers.options import LaunchKind, LaunchOptions
from cloud.retrain.launchers.torchrun import explain_torchrun, torchrun_command
from cloud.retrain.progress import Progress
from cloud.retrain.run_folder import RunFolder
from contract.errors import BadDataset, InvalidConfig, TransientError
from tests.cloud.retrain.pictures import QUICK, quick_job, write_folders
from tests.cloud.retrain.remembering import FOLDER_VARIABLE

TWO = LaunchOptions(kind=LaunchKind.TORCHRUN, processes=2, gpus=0)

# What torch 2.13 prints when a worker is killed, less its column of colours.
KILLED = """
Root Cause (first observed failure):
[0]:
  time      : 2026-11-30_02:40:11
  host      : station
  rank      : 1 (local_rank: 1)
  exitcode  : -9 (pid: 4711)
  error_file: <N/A>
  traceback : Signal 9 (SIGKILL) received by PID 4711
""".splitlines()


def _job(folder: Path, *, steps: int = 40, model: str = "surface", per_label: int = 24) -> TrainJob:
    recipe = msgspec.structs.replace(QUICK, min_steps=steps, epochs=1, model=model)
    return msgspec.structs.replace(quick_job(write_folders(folder / "data", per_label), folder / "run"), recipe=recipe)


@pytest.mark.slow
def test_two_processes_train_one_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")]))
    shown: list[Progress] = []
    info = launch(_job(tmp_path, model="tests.cloud.retrain.remembering:make"), TWO, shown.append)
    assert info.figures.world_size == 2 and info.figures.steps == 40 and info.figures.device == "cpu"
    assert info.figures.holdout_accuracy is not None and info.figures.holdout_accuracy >= 0.7
    assert len([p for p in shown if p.stage == "export"]) == 2, "one of the two exports"
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    kept = torch.load(RunFolder(tmp_path / "run").checkpoint, weights_only=True)["model"]
    for name, weights in first.items():
        torch.testing.assert_close(second[name], weights, rtol=0, atol=0)
        torch.testing.assert_close(kept[f"network.{name}"], weights, rtol=0, atol=0)


@pytest.mark.long
def test_killed_worker_ends_the_job_by_name_and_resume_goes_on(tmp_path: Path) -> None:
    job = _job(tmp_path, steps=30_000)

    def kill_second(progress: Progress) -> None:
        if progress.stage == "train" and (tmp_path / "run" / "checkpoint.pt").exists():
            workers = [p for p in psutil.Process().children(recursive=True) if p.environ().get("RANK") == "1"]
            for worker in workers:
                worker.kill()

    with pytest.raises(TransientError, match=r"worker 1 was killed by SIGKILL") as caught:
        launch(job, TWO, kill_second)
    assert "--resume" in caught.value.hint
    assert not [p for p in psutil.Process().children(recursive=True) if "cloud.retrain.train" in p.cmdline()]
    steps: list[int] = []

    def first_step(progress: Progress) -> None:
        if progress.stage == "train":
            steps.append(progress.done)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launch(msgspec.structs.replace(job, resume=True), TWO, first_step)
    assert steps[0] > 30, "the steps before the checkpoint are not done again"
    assert not [p for p in psutil.Process().children(recursive=True) if "cloud.retrain.train" in p.cmdline()]


@pytest.mark.long
def test_weights_that_a_users_network_does_not_use_hinder_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")]))
    info = launch(_job(tmp_path, steps=4, model="tests.cloud.retrain.odd_networks:stubborn"), TWO)
    assert info.figures.world_size == 2 and info.figures.steps >= 4


@pytest.mark.long
def test_error_of_two_processes_is_the_error_of_one(tmp_path: Path) -> None:
    job = _job(tmp_path, per_label=6)
    (tmp_path / "data" / "good" / "torn.png").write_bytes(b"no image")
    with pytest.raises(BadDataset, match=r"torn\.png"):
        launch(job, TWO)


def test_report_of_torchrun_becomes_one_line() -> None:
    error = explain_torchrun(1, KILLED)
    assert error.message == "training stopped because worker 1 was killed by SIGKILL" and error.retry
    raised = [*(line.replace("-9", "1") for line in KILLED)]
    raised.insert(0, "[rank1]: torch.OutOfMemoryError: CUDA out of memory")
    assert explain_torchrun(1, raised).message == (
        "training stopped because worker 1 ended with 1: torch.OutOfMemoryError: CUDA out of memory"
    )
    assert "no such option" in explain_torchrun(2, ["usage: torchrun", "no such option"]).message


def test_several_machines_meet_where_they_are_told_to(tmp_path: Path) -> None:
    command = torchrun_command(tmp_path / "job.json", 4, nodes=2, rendezvous="first:29500")
    assert {"--nnodes=2", "--rdzv-endpoint=first:29500", "--nproc-per-node=4"} <= set(command)
    assert "--standalone" not in command and "--standalone" in torchrun_command(tmp_path / "job.json", 4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (LaunchOptions(kind=LaunchKind.LOCAL, processes=2), "one process, not 2"),
        (LaunchOptions(processes=0), "--processes 0 is too small"),
        (LaunchOptions(processes=2, gpus=1), "2 processes do not fit on 1 GPUs"),
        (LaunchOptions(kind=LaunchKind.RAY, nodes=2), "one machine, not 2"),
        (LaunchOptions(nodes=2), "both --nodes and --rdzv-endpoint"),
        (LaunchOptions(rendezvous="here:1"), "both --nodes and --rdzv-endpoint"),
        (LaunchOptions(ray_address="http://x:1"), "--launch ray"),
    ],
)
def test_options_that_contradict_each_other_are_refused(tmp_path: Path, options: LaunchOptions, words: str) -> None:
    with pytest.raises(InvalidConfig, match=words):
        launch(TrainJob(out=str(tmp_path / "run"), data=str(tmp_path)), options)
    assert not (tmp_path / "run").exists()


def test_kind_follows_from_how_many_processes_there_are() -> None:
    assert LaunchOptions().resolved(0) is LaunchOptions().resolved(1) is LaunchKind.LOCAL
    assert LaunchOptions().resolved(2) is LaunchOptions(processes=2).resolved(0) is LaunchKind.TORCHRUN
    assert LaunchOptions(gpus=0).resolved(4) is LaunchKind.LOCAL and LaunchOptions().processes_here(4) == 4
