"""Runs that were made before their records gained fields are still what their hashes say."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import msgspec
import pytest

from cloud.retrain.judged_files import check_dataset
from cloud.retrain.run_folder import RunFolder
from cloud.retrain.run_lineage import run_chain
from cloud.retrain.run_records import Recipe, RunFigures, RunInfo
from contract.errors import BadDataset
from contract.manifest import Label, LabelKind, Lineage
from contract.preprocess import PreprocessSpec

# As dataset.json and run.json of version 1 were first written: every field there was then, none that came since.
_ENTRY = {
    "file": "a.png",
    "folder": 0,
    "sha256": "1a" * 32,
    "label": "good",
    "labeller": "ann",
    "source": "base",
    "split": "holdout",
    "part": "p1",
    "audit": False,
    "inclusion": 1.0,
}
_RECIPE = {"epochs": 12, "min_steps": 300, "warm_steps": 400, "batch_size": 32, "width": 1.0, "warm_pull": 0.0}


def _hash(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value)).hexdigest()


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path)
    figures = RunFigures(1.0, 1, 1, "cpu", 1, 1, 0, 1.0, None, 1.0, None)
    spec = PreprocessSpec(32, 32, 1, (0.0,), (1.0,))
    labels = (Label("good", LabelKind.GOOD), Label("dent", LabelKind.DEFECT))
    folder.save_info(RunInfo(Recipe(), 0, labels, spec, "", _hash([_ENTRY]), "code", figures))
    told = json.loads((tmp_path / "run.json").read_bytes())
    (tmp_path / "run.json").write_text(json.dumps(told | {"recipe": _RECIPE}))
    (tmp_path / "dataset.json").write_text(json.dumps({"folders": ["images"], "entries": [_ENTRY]}))
    return folder


def test_the_gate_takes_its_dataset_and_no_other(run: RunFolder) -> None:
    check_dataset(run)
    (run.root / "dataset.json").write_text(
        json.dumps({"folders": ["images"], "entries": [{**_ENTRY, "label": "dent"}]})
    )
    with pytest.raises(BadDataset, match="not the one the run was trained on"):
        check_dataset(run)


def test_why_finds_dataset_and_recipe_as_they_were(run: RunFolder) -> None:
    lineage = Lineage(dataset=_hash([_ENTRY]), recipe=_hash(_RECIPE))
    (link,) = run_chain(run.root, lambda _: None, lineage=lineage)
    checks = {check.what: check.holds for check in link.checks}
    assert checks == {f"dataset of {run.root.name}": True, "dataset of the bundle": True, "recipe": True}
    assert link.info is not None and link.info.recipe.seen_drift == Recipe().seen_drift
