from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cloud.retrain.dataset import Dataset, FolderSource, read_dataset
from cloud.retrain.reviewed import add_reviewed, is_reviewed
from cloud.retrain.run_records import Split
from contract.errors import BadDataset
from tests.cloud.retrain.pictures import LABELS, picture, write_folders


@pytest.fixture
def base(tmp_path: Path) -> Dataset:
    return read_dataset(FolderSource(write_folders(tmp_path / "base", 6)))


def _review(folder: Path, lines: list[dict[str, Any]]) -> Path:
    folder.mkdir()
    for number, line in enumerate(lines):
        name = line.get("file", f"{number}.png")
        if "/" not in name:
            Image.fromarray(picture(line["true"] if "true" in line else line["label"], 500 + number)).save(
                folder / name
            )
        line.setdefault("file", name)
        line.pop("true", None)
    (folder / "labels.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_reviewed_images_join_with_a_share_held_out_by_part(base: Dataset, tmp_path: Path) -> None:
    lines = [
        {"label": LABELS[i % 3], "part": f"p{i // 6}-{i % 3}", "audit": i % 2 == 0, "inclusion": 0.1} for i in range(24)
    ]
    merged = add_reviewed(base, _review(tmp_path / "r", lines), drift_share=0.25, seed=1)
    fresh = [s.entry for s in merged.samples if is_reviewed(s.entry)]
    assert len(fresh) == 24 and {e.split for e in fresh} == {Split.TRAIN, Split.DRIFT}
    by_part: dict[str, set[Split]] = {}
    for entry in fresh:
        by_part.setdefault(entry.part, set()).add(entry.split)
    assert all(len(splits) == 1 for splits in by_part.values())
    assert sum(e.audit for e in fresh) == 12 and {e.inclusion for e in fresh} == {0.1}
    assert {merged.folders[e.folder] for e in fresh} == {(tmp_path / "r").resolve()}


def test_part_of_the_base_holdout_is_never_learnt_from(base: Dataset, tmp_path: Path) -> None:
    part = next(s.entry.part for s in base.samples if s.entry.split is Split.HOLDOUT and s.entry.label == "stain")
    merged = add_reviewed(base, _review(tmp_path / "r", [{"label": "stain", "part": part}]), drift_share=0.0)
    assert merged.samples[-1].entry.split is Split.DRIFT


def test_image_reviewed_twice_counts_once_under_its_last_label(base: Dataset, tmp_path: Path) -> None:
    folder = _review(tmp_path / "r", [{"file": "a.png", "label": "stain"}])
    with (folder / "labels.jsonl").open("a") as labels:
        labels.write('{"file": "a.png", "label": "scratch"}\n')
    merged = add_reviewed(base, folder)
    assert [s.entry.label for s in merged.samples if is_reviewed(s.entry)] == ["scratch"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"file": "0.png", "label": "dent"}', "line 2: 'dent' is no label of this model"),
        ('{"file": "gone.png", "label": "good"}', "line 2: cannot read"),
        ('{"file": "../base/good/good00.png", "label": "good"}', "line 2: .* lies outside"),
        ('{"file": "0.png"}', "line 2 is no label"),
        ("{torn", "line 2 is no label"),
        ('{"file": "0.png", "label": "good", "inclusion": 0}', "line 2: inclusion 0"),
    ],
)
def test_bad_line_is_named(base: Dataset, tmp_path: Path, line: str, words: str) -> None:
    folder = _review(tmp_path / "r", [{"label": "good"}])
    with (folder / "labels.jsonl").open("a") as labels:
        labels.write(line + "\n")
    with pytest.raises(BadDataset, match=words):
        add_reviewed(base, folder)


def test_folder_without_labels_is_refused(base: Dataset, tmp_path: Path) -> None:
    with pytest.raises(BadDataset, match="cannot read"):
        add_reviewed(base, tmp_path)
    (tmp_path / "labels.jsonl").write_text("\n")
    with pytest.raises(BadDataset, match="holds no labels"):
        add_reviewed(base, tmp_path)
