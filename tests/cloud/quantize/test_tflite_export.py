from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from cloud.__main__ import main
from cloud.clock import SystemClock
from cloud.commands.quantize_view import quantize_json
from cloud.quantize import tflite_export
from cloud.quantize.int8 import Calibration
from cloud.quantize.quantize_run import QuantizeJob, quantize_run
from cloud.quantize.tflite_export import TfliteJob, TfliteReport, export_tflite, load_tflite_report
from cloud.quantize.tflite_runner import TfliteRunner
from cloud.registry.blobs import sha256_of
from cloud.retrain.launch import launch_tflite
from cloud.retrain.run_folder import RunFolder
from cloud.retrain.run_records import ArtefactFigures, QuantizeReport
from cloud.retrain.train import train
from contract.errors import InvalidConfig
from contract.manifest import Thresholds
from tests.cloud.retrain.pictures import LABELS, picture, quick_job, write_folders


def test_missing_environment_names_the_command_that_makes_it(tmp_path: Path) -> None:
    job = TfliteJob(str(tmp_path), python=str(tmp_path / "nowhere" / "python"))
    with pytest.raises(InvalidConfig, match="is not there") as caught:
        export_tflite(job, SystemClock())
    assert "./scripts/setup tflite-export" in caught.value.hint
    with pytest.raises(InvalidConfig, match="no TfliteReport"):
        load_tflite_report(RunFolder(tmp_path))


def test_quantize_with_tflite_says_what_is_missing_before_it_computes_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tflite_export, "_PYTHON", tmp_path / "nowhere")
    assert main(["quantize", str(tmp_path), "--tflite"]) == 1
    assert "./scripts/setup tflite-export" in capsys.readouterr().err and list(tmp_path.iterdir()) == []
    monkeypatch.setattr(tflite_export, "_PYTHON", Path(sys.executable))
    assert main(["quantize", str(tmp_path), "--tflite"]) == 1
    assert "run.json is not there" in capsys.readouterr().err


def test_a_tflite_artefact_stands_beside_the_int8_one_in_the_figures() -> None:
    thresholds = Thresholds(0.9, 0.5)
    int8 = ArtefactFigures("int8.onnx", "int8", "minmax", 1.0, None, 1.0, 5, 0.1, scheme="u8s8", thresholds=thresholds)
    other = msgspec.structs.replace(int8, file="int8.tflite", scheme="", method="onnx2tf")
    report = QuantizeReport((int8,), "int8.onnx", thresholds, (), 0.1, 1.0)
    shown = quantize_json("r", report, None, TfliteReport(other, 1.0, 0.99, thresholds, 0.1, 1.0))
    assert {name: each["file"] for name, each in shown["artefacts"].items()} == {
        "int8": "int8.onnx",
        "int8.tflite": "int8.tflite",
    }
    assert shown["tflite"]["agreement"] == 0.99 and "tflite" not in quantize_json("r", report, None)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_trained_run_becomes_a_tflite_model_that_answers_alike(tmp_path: Path) -> None:
    subprocess.run(["./scripts/setup", "tflite-export"], check=True, timeout=1500)
    job = quick_job(write_folders(tmp_path / "data"), tmp_path / "run")
    train(job, SystemClock())
    run = RunFolder(tmp_path / "run")
    quantize_run(QuantizeJob(str(run.root), (Calibration.MINMAX,), threads=1), SystemClock())
    report = launch_tflite(TfliteJob(str(run.root), threads=1))
    assert report.agreement >= 0.97 and report.fp32_accuracy >= 0.8
    assert report.artefact.accuracy is not None and report.artefact.accuracy >= report.fp32_accuracy - 0.1
    file = run.root / report.artefact.file
    assert file.stat().st_size == report.artefact.size_bytes < run.fp32.stat().st_size / 2, "the weights are int8"
    runner = TfliteRunner(file, run.info().preprocess)
    assert runner.scores([picture(label, 999) for label in LABELS]).argmax(1).tolist() == [0, 1, 2]
    with np.load(run.root / "tflite_golden.npz") as golden:
        pixels, _ = run.load_golden()
        np.testing.assert_array_equal(golden["pixels"], pixels)
        np.testing.assert_allclose(runner.scores(list(pixels)), golden["scores"], atol=report.golden_max_abs_error)
    assert load_tflite_report(run) == report
    assert report.made == sha256_of(file) and report.images > 0 and report.artefact.calibration_error > 0
    assert msgspec.to_builtins(report)["artefact"]["precision"] == "int8"
