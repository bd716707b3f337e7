"""What a plant asks of a retrain's thresholds comes to the step that chooses them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from cloud.commands.train import register
from cloud.ports.alarms import Opened
from cloud.ports.records import Cursor
from cloud.quantize.job import QuantizeJob
from cloud.registry.blobs import Blobs
from cloud.retrain import pipeline as pipeline_module
from cloud.retrain.job import TrainJob
from cloud.retrain.pipeline import Pipeline
from cloud.retrain.run_records import DRIFT_SHARE, RunFigures
from cloud.settings import load_settings
from cloud.settings_improve import RetrainSettings
from contract.errors import BadModel
from tests.fakes.cloud_tables import T0, open_tables


class _Runs:
    def run_of(self, version: str) -> Path:
        return Path("/runs") / version


def test_who_names_no_share_gets_the_same_everywhere() -> None:
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers())
    typed = parser.parse_args(["train", "--out", "run"]).drift_share
    assert typed == RetrainSettings().drift_share == TrainJob(out="run").drift_share == DRIFT_SHARE


@pytest.mark.parametrize("table", ["", "[retrain]\nno_miss = true\ndrift_share = 0.4\n"])
def test_no_miss_and_the_share_of_the_settings_reach_their_steps(
    table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cloud.toml"
    file.write_text(table)
    settings = load_settings(file)
    assert settings.retrain.no_miss is bool(table)
    asked: list[QuantizeJob] = []
    learnt: list[TrainJob] = []

    def quantize(job: QuantizeJob) -> None:
        asked.append(job)
        raise BadModel("far enough")

    class _Trained:
        figures = RunFigures(1.0, 1, 1, "cpu", 1, 1, 0, 1.0, None, None, None)

    def learn(job: TrainJob) -> type[_Trained]:
        learnt.append(job)
        return _Trained

    monkeypatch.setattr(pipeline_module, "launch_local", learn)
    monkeypatch.setattr(pipeline_module, "launch_quantize", quantize)
    tables = open_tables(tmp_path / "cloud.db")
    tables.alarms.commit(Cursor(0, 1, 1), {}, [Opened("s1", T0, T0, "lens", "lens: out of focus")], [])
    tables.alarms.start_retrain(tables.alarms.open()[0], "labels are there", T0)
    (retrain,) = tables.alarms.retrains()
    releaser: Any = _Runs()
    carried = Pipeline(
        tables.alarms,
        Blobs(tmp_path / "blobs"),
        releaser,
        tmp_path / "work",
        lambda: T0,
        no_miss=settings.retrain.no_miss,
        drift_share=settings.retrain.drift_share,
    )
    assert not carried.carry_out(retrain, [], "v1", "v1.r1")
    assert [(job.no_miss, job.alpha, job.delta) for job in asked] == [(bool(table), None, None)], "the parent's promise"
    assert [job.drift_share for job in learnt] == [0.4 if table else DRIFT_SHARE]
    assert "far enough" in tables.alarms.retrains()[0].figures
    tables.database.close()
