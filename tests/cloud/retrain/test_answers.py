from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cloud.retrain.answers import answers_of
from cloud.retrain.augment import draw_moves, move
from cloud.retrain.dataset import Dataset, Sample
from cloud.retrain.run_folder import DatasetEntry, Head, Recipe, Split
from contract.errors import BadDataset
from contract.manifest import Label, LabelKind
from contract.preprocess import PreprocessSpec, preprocess

LABELS = (Label("good", LabelKind.GOOD), Label("dent", LabelKind.DEFECT), Label("rust", LabelKind.DEFECT))
SPEC = PreprocessSpec(32, 32, 1, (0.0,), (1.0,))
CPU = torch.device("cpu")


def _dataset(folder: Path, mask_px: int = 64) -> Dataset:
    """Return two images: one with two labels and a mask whose upper left quarter is bright, one good."""
    mask = np.zeros((mask_px, mask_px), np.uint8)
    mask[: mask_px // 2, : mask_px // 2] = 255
    Image.fromarray(mask).save(folder / "a-mask.png")
    digest = hashlib.sha256((folder / "a-mask.png").read_bytes()).hexdigest()
    pixels = np.zeros((64, 64), np.uint8)
    entries = [
        DatasetEntry(
            "a.png", 0, "1", "dent", "", "base", Split.TRAIN, "a", also=("rust",), mask="a-mask.png", mask_sha256=digest
        ),
        DatasetEntry("b.png", 0, "2", "good", "", "base", Split.TRAIN, "b"),
    ]
    return Dataset(LABELS, (folder,), tuple(Sample(pixels, entry) for entry in entries), ())


def test_every_label_of_an_image_is_wanted(tmp_path: Path) -> None:
    dataset = _dataset(tmp_path)
    targets = answers_of(dataset, dataset.samples, SPEC, Recipe(head=Head.MULTI)).at(torch.tensor([1, 0]), CPU)
    assert targets.every is not None and targets.every.tolist() == [[1, 0, 0], [0, 1, 1]]
    assert targets.labels.tolist() == [0, 1] and targets.masks is None


def test_mask_is_resized_and_moved_as_its_image_is(tmp_path: Path) -> None:
    dataset = _dataset(tmp_path)
    answers = answers_of(dataset, dataset.samples, SPEC, Recipe(head=Head.SEGMENT))
    image = torch.zeros(2, 1, 32, 32)
    image[0] = torch.from_numpy(preprocess(np.asarray(Image.open(tmp_path / "a-mask.png")), SPEC)[0])
    for seed in range(6):
        moves = draw_moves(2, 3, torch.Generator().manual_seed(seed))
        targets = answers.at(torch.arange(2), CPU, moves)
        assert targets.masks is not None and torch.allclose(targets.masks, move(image, moves))
        assert targets.masked is not None and targets.masked.tolist() == [True, False]


def test_mask_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    dataset = _dataset(tmp_path, 48)
    with pytest.raises(BadDataset, match=r"a-mask\.png is of another size"):
        answers_of(dataset, dataset.samples, SPEC, Recipe(head=Head.SEGMENT))
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(tmp_path / "a-mask.png")
    with pytest.raises(BadDataset, match=r"a-mask\.png has changed"):
        answers_of(dataset, dataset.samples, SPEC, Recipe(head=Head.SEGMENT))
    (tmp_path / "a-mask.png").unlink()
    with pytest.raises(BadDataset, match=r"the mask of a\.png: cannot read"):
        answers_of(dataset, dataset.samples, SPEC, Recipe(head=Head.SEGMENT))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(0, 6), st.integers(0, 999))
def test_moves_only_move(count: int, shift: int, seed: int) -> None:
    images = torch.rand(count, 1, 16, 16, generator=torch.Generator().manual_seed(seed))
    moved = move(images, draw_moves(count, shift, torch.Generator().manual_seed(seed)))
    assert moved.shape == images.shape and torch.isin(moved, images).all()
    if shift == 0:
        assert torch.equal(moved.flatten(1).sort(1).values, images.flatten(1).sort(1).values)
