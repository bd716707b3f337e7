"""What a job trains on when it names a dataset, a parent, masks or several labels an image."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image

from cloud.retrain.dataset import FolderSource, read_dataset
from cloud.retrain.dataset_store import StoredDataset, save_dataset
from cloud.retrain.inputs import read_inputs
from cloud.retrain.job import TrainJob
from cloud.retrain.run_folder import RunFolder
from cloud.retrain.run_records import Head, Recipe, RunFigures, RunInfo, Split
from cloud.retrain.tensors import to_tensors
from contract.errors import BadDataset, InvalidConfig
from contract.manifest import Label, LabelKind
from contract.preprocess import PreprocessSpec
from tests.cloud.retrain.layout_files import PX, write_coco_files, write_table
from tests.cloud.retrain.pictures import LABELS, picture, write_folders

SPEC = PreprocessSpec(32, 32, 1, (0.0,), (1.0,))
_FIGURES = RunFigures(0.0, 0, 0, "cpu", 1, 0, 0, 0.0, None, None, None)


def _store(root: Path, images: Path, layout: str = "folders", seed: int = 0) -> StoredDataset:
    dataset = read_dataset(FolderSource(images, layout=layout), seed=seed)
    return save_dataset(root, msgspec.structs.replace(dataset.manifest(), name="d", labels=dataset.labels))


def _run(root: Path, stored: StoredDataset, labels: tuple[Label, ...] | None = None) -> RunFolder:
    """A run folder as training leaves it, without its weights."""
    root.mkdir()
    run = RunFolder(root)
    run.save_dataset(msgspec.structs.replace(stored.manifest, labels=(), warnings=(), name=""))
    run.save_info(RunInfo(Recipe(), 0, labels or stored.manifest.labels, SPEC, "", "", "", _FIGURES))
    return run


def _job(tmp_path: Path, **fields: object) -> TrainJob:
    return msgspec.structs.replace(TrainJob(out=str(tmp_path / "out")), **fields)


def test_a_named_dataset_is_what_is_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = _store(tmp_path / "datasets", write_folders(tmp_path / "images", 6), seed=5)
    monkeypatch.chdir(tmp_path)
    for reference in ("d", f"d@{stored.id[:4]}", str(stored.path)):
        inputs = read_inputs(_job(tmp_path, dataset=reference))
        assert inputs.dataset.manifest().entries == stored.manifest.entries
        assert inputs.dataset.labels == stored.manifest.labels
    with pytest.raises(InvalidConfig, match="both --data and --dataset"):
        read_inputs(_job(tmp_path, dataset="d", data="images"))
    (tmp_path / "images" / "good" / "good00.png").unlink()
    with pytest.raises(BadDataset, match=r"good00\.png"):
        read_inputs(_job(tmp_path, dataset="d"))


def test_a_parents_splits_hold_for_a_dataset_split_otherwise(tmp_path: Path) -> None:
    images = write_folders(tmp_path / "images", 8)
    first = _store(tmp_path / "a", images, seed=1)
    second = _store(tmp_path / "b", images, seed=2)
    assert first.id != second.id
    parent = _run(tmp_path / "run", first)
    dataset = read_inputs(_job(tmp_path, dataset=str(second.path), parent=str(parent.root))).dataset
    splits = {e.sha256: e.split for e in first.manifest.entries}
    assert {s.entry.sha256: s.entry.split for s in dataset.samples} == splits


def test_a_parent_of_another_label_set_is_refused_and_both_sides_are_named(tmp_path: Path) -> None:
    stored = _store(tmp_path / "a", write_folders(tmp_path / "images", 6))
    good, scratch, stain = stored.manifest.labels
    cases = (
        (
            (good, scratch, Label("dent", LabelKind.DEFECT)),
            "does not know the label 'stain'; no image is labelled 'dent'",
        ),
        (
            (good, scratch, stain, Label("dent", LabelKind.DEFECT)),
            "more labels than the dataset; no image is labelled 'dent'",
        ),
        ((good, scratch, Label("stain", LabelKind.GOOD)), "'stain' means a good part, to the dataset a defect one"),
    )
    for number, (labels, words) in enumerate(cases):
        parent = _run(tmp_path / f"run{number}", stored, labels)
        with pytest.raises(BadDataset, match=words):
            read_inputs(_job(tmp_path, dataset=str(stored.path), parent=str(parent.root)))


def test_an_image_of_two_labels_needs_the_multi_head(tmp_path: Path) -> None:
    root = write_table(tmp_path / "d", extra="two.png,scratch;stain")
    Image.fromarray(picture("stain", 70, PX)).save(root / "two.png")
    job = _job(tmp_path, data=str(root), layout="csv")
    with pytest.raises(BadDataset, match=r"two\.png has the labels 'scratch', 'stain'") as caught:
        read_inputs(job)
    assert "--head multi" in caught.value.hint
    dataset = read_inputs(msgspec.structs.replace(job, recipe=Recipe(head=Head.MULTI))).dataset
    tensors = to_tensors(dataset.samples, SPEC, dataset.index_of())
    row = next(i for i, s in enumerate(dataset.samples) if s.entry.file == "two.png")
    assert tensors.every is not None and tensors.every[row].tolist() == [0, 1, 1] and tensors.labels[row] == 1
    assert tensors.every.sum(1).tolist().count(1) == 15 and tensors.masks is None


def test_the_segment_head_gets_masks_and_asks_for_them(tmp_path: Path) -> None:
    segment = Recipe(head=Head.SEGMENT)
    with pytest.raises(BadDataset, match="no defect of the training images has a mask"):
        read_inputs(_job(tmp_path, data=str(write_folders(tmp_path / "plain", 5)), recipe=segment))
    root = write_coco_files(tmp_path / "d")
    dataset = read_inputs(_job(tmp_path, data=str(root), layout="coco", recipe=segment)).dataset
    samples = [s for s in dataset.samples if s.entry.label == "stain"] + dataset.of_split(Split.HOLDOUT)
    tensors = to_tensors(samples, SPEC, dataset.index_of(), masks=True, good=frozenset({"good"}))
    assert tensors.masks is not None and tensors.masked is not None
    assert tensors.masks.shape == (len(samples), 1, 32, 32) and tensors.masks.dtype == torch.uint8
    # The left quarter of 40 pixels is that of 32.
    expected = np.zeros((32, 32), np.uint8)
    expected[:, :8] = 1
    assert (tensors.masks[0, 0].numpy() == expected).all() and bool(tensors.masked.all())
    unknown = to_tensors(samples, SPEC, dataset.index_of(), masks=True)
    assert unknown.masked is not None
    assert unknown.masked.tolist() == [s.entry.label != "good" for s in samples]
    assert {s.entry.label for s in samples} == set(LABELS)


def test_a_child_has_its_parents_head_without_being_told(tmp_path: Path) -> None:
    stored = _store(tmp_path / "a", write_folders(tmp_path / "images", 6))
    parent = _run(tmp_path / "run", stored)
    parent.save_info(msgspec.structs.replace(parent.info(), recipe=Recipe(head=Head.MULTI)))
    reviewed = tmp_path / "reviewed"
    reviewed.mkdir()
    Image.fromarray(picture("stain", 70, PX)).save(reviewed / "two.png")
    (reviewed / "labels.jsonl").write_text('{"file": "two.png", "label": "scratch", "also": ["stain"]}\n')
    job = _job(tmp_path, parent=str(parent.root), reviewed=str(reviewed))
    two = [s.entry for s in read_inputs(job).dataset.samples if s.entry.also]
    assert [(e.file, e.label, e.also) for e in two] == [("two.png", "scratch", ("stain",))]
