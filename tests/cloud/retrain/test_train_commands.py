from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from cloud.__main__ import main
from cloud.quantize.quantize_run import QuantizeJob
from cloud.registry.blobs import sha256_of
from cloud.retrain.job import TrainJob
from cloud.retrain.launch import launch_local, launch_quantize
from cloud.retrain.progress import JobFailure, as_error, parse_line
from cloud.retrain.run_folder import RunFolder
from contract.errors import BadDataset, InvalidConfig, NotFound, RefusedError, TransientError
from tests.cloud.quantize.reviewed_folder import write_reviewed_folder
from tests.cloud.retrain.pictures import QUICK, quick_job, write_folders, write_prefix


@pytest.mark.slow
def test_three_commands_lead_from_images_to_a_judged_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, run = write_prefix(tmp_path / "data", 24), tmp_path / "run"
    (tmp_path / "not.txt").write_text("good_0.png\n")
    recipe = ["--epochs", "3", "--batch-size", "8", "--size", "40", "--threads", "1", "--calibration", "0.2"]
    images = ["--data", str(data), "--layout", "prefix", "--exclude", str(tmp_path / "not.txt"), "--simulated"]
    assert main(["train", *images, *recipe, "--out", str(run), "--json"]) == 0
    out, err = capsys.readouterr()
    trained = json.loads(out)
    assert trained["labels"]["good"] == "good" and trained["train_images"] < 71 and "train: " in err
    assert RunFolder(run).info().simulated and not any(e.file == "good_0.png" for e in RunFolder(run).dataset().entries)

    assert main(["quantize", str(run), "--methods", "minmax", "--images", "12", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["artefacts"]
    for precision in ("fp32", "int8"):
        assert {"accuracy", "size_bytes", "median_ms"} <= figures[precision].keys()
    assert main(["quantize", str(run), "--methods", "minmax", "--images", "12"]) == 0
    assert "median latency" in capsys.readouterr().out

    lenient = ["--min-accuracy", "0", "--min-recall", "0"]
    since = write_reviewed_folder(tmp_path / "since", [("good", f"later{number}") for number in range(5)])
    code = main(["gate", str(run), *lenient, "--labelled", str(since), "--json"])
    report = json.loads(capsys.readouterr().out)
    look = next(check for check in report["checks"] if check["name"] == "new look")
    assert look["figures"]["parts"] == 5 and look["figures"]["more_passed"] > 100 and "; enough: " in look["sentence"]
    assert report["labelled"] == sha256_of(since / "labels.jsonl")
    assert report["checks"] and code == (0 if report["passed"] else 3)
    assert main(["gate", str(run), "--min-accuracy", "1.1"]) == 3
    out, err = capsys.readouterr()
    assert "FAILED  accuracy" in out and err.strip().splitlines()[-1].startswith("the gate failed: accuracy")
    assert len(err.strip().splitlines()[-1]) < 300 and err.strip().endswith("report.html shows it")
    code = main(["gate", str(run), *lenient])
    out, err = capsys.readouterr()
    assert ("next: plumbline-cloud release" in out) is (code == 0) and ("the gate failed" in err) is (code == 3)


def test_a_stopped_run_is_not_replaced_without_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoint.pt").write_bytes(b"half done")
    words = ["train", "--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "run")]
    assert main(words) == 1 and "--resume goes on" in capsys.readouterr().err
    assert main([*words, "--resume"]) == 1 and "--resume goes on" not in capsys.readouterr().err


def test_a_run_stopped_by_ctrl_c_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        (tmp_path / "checkpoint.pt").write_bytes(b"half done")
        raise KeyboardInterrupt

    monkeypatch.setattr("cloud.retrain.launch.launch", stopped)
    assert main(["train", "--data", str(tmp_path), "--out", str(tmp_path)]) == 130
    assert "repeat the command with --resume" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--data", "{tmp}/nowhere", "--out", "{tmp}/run"], "is no folder"),
        (["train", "--out", "{tmp}/run"], "no images to train on"),
        (["train", "--data", "{tmp}", "--reviewed", "{tmp}/none", "--out", "{tmp}/run"], "is no folder"),
        (["quantize", "{tmp}/run"], "run.json is not there"),
        (["quantize", "{tmp}/run", "--methods", "magic"], "a calibration that does not exist"),
        (["gate", "{tmp}/run"], "run.json is not there"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([a.format(tmp=tmp_path) for a in arguments]) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith("error: ") and words in said[-1] and not any("Traceback" in line for line in said)


@pytest.mark.slow
def test_error_crosses_the_process_border_as_itself(tmp_path: Path) -> None:
    data = write_folders(tmp_path / "data", 5)
    (data / "good" / "torn.png").write_bytes(b"no image")
    with pytest.raises(BadDataset, match=r"torn\.png") as caught:
        launch_local(quick_job(data, tmp_path / "run"))
    assert "--skip-unreadable" in caught.value.hint
    with pytest.raises(NotFound):
        launch_quantize(QuantizeJob(str(tmp_path / "run")))


def test_finished_run_is_refused_before_a_process_starts(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    with pytest.raises(InvalidConfig, match="holds a finished run"):
        launch_local(TrainJob(out=str(tmp_path / "run"), data=str(tmp_path)))


def test_killed_process_is_worth_another_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(TransientError, match="ended with 1") as caught:
        launch_local(quick_job(write_folders(tmp_path / "data", 4), tmp_path / "run"))
    assert "--resume" in caught.value.hint


def test_other_chatter_is_no_job_line() -> None:
    for text in ("", "warning: something", "3", "[1, 2]", '{"progress": 4}', "{"):
        assert parse_line(text) is None
    assert isinstance(as_error(JobFailure("BadImage", "m", "h")), RefusedError)
    assert type(as_error(JobFailure("NoSuchError", "m", "h"))) is RefusedError
    assert type(as_error(JobFailure("annotations", "m", "h"))) is RefusedError


@pytest.mark.long
def test_two_processes_train_one_model(tmp_path: Path) -> None:
    info = launch_local(quick_job(write_folders(tmp_path / "data"), tmp_path / "run"), gpus=2)
    assert info.figures.world_size == 2 and info.figures.steps == QUICK.min_steps
    assert info.figures.holdout_accuracy is not None and info.figures.holdout_accuracy >= 0.7
