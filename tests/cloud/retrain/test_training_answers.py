from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cloud.retrain.answers import answers_of
from cloud.retrain.augment import draw_moves, move
from cloud.retrain.masks import MaskFile
from cloud.retrain.run_records import DatasetEntry, Head, Split
from cloud.retrain.samples import Sample
from cloud.retrain.tensors import ImageTensors, to_tensors
from contract.manifest import Label, LabelKind
from contract.preprocess import PreprocessSpec

LABELS = (Label("good", LabelKind.GOOD), Label("dent", LabelKind.DEFECT), Label("rust", LabelKind.DEFECT))
SPEC = PreprocessSpec(32, 32, 1, (0.0,), (1.0,))
CPU = torch.device("cpu")


def _tensors(folder: Path, mask_px: int = 64) -> ImageTensors:
    """Return three images: one with two labels and a mask whose upper left quarter is bright, one good, one without a mask."""
    mask = np.zeros((mask_px, mask_px), np.uint8)
    mask[: mask_px // 2, : mask_px // 2] = 255
    Image.fromarray(mask).save(folder / "a-mask.png")
    digest = hashlib.sha256((folder / "a-mask.png").read_bytes()).hexdigest()
    pixels = np.zeros((64, 64), np.uint8)
    first = DatasetEntry("a.png", 0, "1", "dent", "", "base", Split.TRAIN, "a", also=("rust",))
    samples = (
        Sample(pixels, first, MaskFile(folder / "a-mask.png", digest)),
        Sample(pixels, DatasetEntry("b.png", 0, "2", "good", "", "base", Split.TRAIN, "b")),
        Sample(pixels, DatasetEntry("c.png", 0, "3", "rust", "", "base", Split.TRAIN, "c")),
    )
    index = {label.name: place for place, label in enumerate(LABELS)}
    return to_tensors(samples, SPEC, index, masks=True, good=frozenset({"good"}))


def test_every_label_of_an_image_is_wanted(tmp_path: Path) -> None:
    targets = answers_of(_tensors(tmp_path), Head.MULTI).at(torch.tensor([1, 0]), CPU)
    assert targets.every is not None and targets.every.tolist() == [[1, 0, 0], [0, 1, 1]]
    assert targets.labels.tolist() == [0, 1] and targets.masks is None


def test_mask_is_moved_as_its_image_is_and_a_good_image_has_an_empty_one(tmp_path: Path) -> None:
    answers = answers_of(_tensors(tmp_path), Head.SEGMENT)
    image = torch.zeros(3, 1, 32, 32)
    image[0, 0, :16, :16] = 1
    for seed in range(6):
        moves = draw_moves(3, 3, torch.Generator().manual_seed(seed))
        targets = answers.at(torch.arange(3), CPU, moves)
        assert targets.masks is not None and torch.equal(targets.masks, move(image, moves))
        assert targets.masked is not None and targets.masked.tolist() == [True, True, False]


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(0, 6), st.integers(0, 999))
def test_moves_only_move(count: int, shift: int, seed: int) -> None:
    images = torch.rand(count, 1, 16, 16, generator=torch.Generator().manual_seed(seed))
    moved = move(images, draw_moves(count, shift, torch.Generator().manual_seed(seed)))
    assert moved.shape == images.shape and torch.isin(moved, images).all()
    if shift == 0:
        assert torch.equal(moved.flatten(1).sort(1).values, images.flatten(1).sort(1).values)
