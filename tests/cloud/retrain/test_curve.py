"""`plumbline-cloud curve`: smaller networks made from a run, measured."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from cloud.__main__ import main
from cloud.clock import SystemClock
from cloud.quantize.job import QuantizeJob
from cloud.quantize.quantize_run import quantize_run
from cloud.retrain.run_folder import RunFolder
from cloud.retrain.train import train
from tests.cloud.retrain.pictures import quick_job, write_folders


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_pruned_and_taught_networks_are_smaller_runs_with_the_parents_holdout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = quick_job(write_folders(tmp_path / "data"), tmp_path / "run")
    train(job, SystemClock())
    quantize_run(QuantizeJob(run=job.out, threads=1), SystemClock())
    asked = ["curve", job.out, "--out", str(tmp_path / "curve"), "--prune", "0.5", "--widths", "0.5", "--json"]
    assert main([*asked, "--steps", "20", "--epochs", "2", "--threads", "1"]) == 0
    points = json.loads(capsys.readouterr().out)
    assert [(p["kind"], p["amount"]) for p in points] == [
        ("as it is", 1.0),
        ("pruned", 0.5),
        ("narrower", 0.5),
        ("taught", 0.5),
    ]
    whole, *smaller = points
    assert all(p["parameters"] < 0.5 * whole["parameters"] and p["size_bytes"] < whole["size_bytes"] for p in smaller)
    assert all(p["accuracy"] is not None for p in points)
    assert (tmp_path / "curve" / "curve.png").read_bytes().startswith(b"\x89PNG")
    splits = [{e.sha256: e.split for e in RunFolder(Path(p["run"])).dataset().entries} for p in points]
    assert all(each == splits[0] for each in splits), "a student never learns from its teacher's holdout"
    taught = RunFolder(Path(points[3]["run"])).info()
    assert taught.teacher and taught.recipe.distil == 0.5
    trained_at = (Path(points[3]["run"]) / "run.json").stat().st_mtime_ns
    assert main([*asked, "--steps", "20", "--epochs", "2", "--threads", "1"]) == 0, "what is there is not made again"
    assert json.loads(capsys.readouterr().out) == msgspec.to_builtins(points)
    assert (Path(points[3]["run"]) / "run.json").stat().st_mtime_ns == trained_at


@pytest.mark.parametrize(
    ("options", "message"),
    [([], "nothing to measure"), (["--prune", "0.95"], "--prune 0.95"), (["--widths", "0"], "--widths 0")],
)
def test_what_cannot_be_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main(["curve", str(tmp_path), "--out", str(tmp_path / "curve"), *options]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
