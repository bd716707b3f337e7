"""What each image should be answered with, as tensors: labels, several of them for MULTI, masks for SEGMENT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from cloud.retrain.augment import Moves, move
from cloud.retrain.dataset import Dataset, Sample
from cloud.retrain.images import load_image
from cloud.retrain.objective import Targets
from cloud.retrain.run_folder import Head, Recipe
from contract.errors import BadDataset, BadImage
from contract.preprocess import PreprocessSpec, preprocess

_BRIGHT = 127


@dataclass(frozen=True, slots=True)
class Answers:
    """`labels` i64[N]; `every` f32[N,K] under MULTI; `masks` u8[N,1,h,w], 255 where the defect is, and `masked` bool[N] under
    SEGMENT."""

    labels: torch.Tensor
    every: torch.Tensor | None = None
    masks: torch.Tensor | None = None
    masked: torch.Tensor | None = None

    def at(self, rows: torch.Tensor, device: torch.device, moves: Moves | None = None) -> Targets:
        """Return the targets of some rows; `moves` is what was done to their images."""
        masks = None
        if self.masks is not None:
            masks = self.masks[rows].to(device).float() / 255
            masks = masks if moves is None else move(masks, moves)
        return Targets(
            self.labels[rows].to(device),
            None if self.every is None else self.every[rows].to(device),
            masks,
            None if self.masked is None else self.masked[rows].to(device),
        )


def answers_of(dataset: Dataset, samples: Sequence[Sample], spec: PreprocessSpec, recipe: Recipe) -> Answers:
    """Return the answers of `samples` as the recipe's head needs them.

    Raises:
        BadDataset: a mask that cannot be read, or is of another shape than its image.
    """
    index_of = dataset.index_of()
    labels = torch.tensor([index_of[s.entry.label] for s in samples], dtype=torch.int64)
    if recipe.head is Head.MULTI:
        every = torch.zeros(len(samples), len(dataset.labels))
        for row, sample in zip(every, samples, strict=True):
            for name in (sample.entry.label, *sample.entry.also):
                row[index_of[name]] = 1
        return Answers(labels, every=every)
    if recipe.head is Head.SEGMENT:
        masks: NDArray[np.uint8] = np.zeros((len(samples), 1, spec.height, spec.width), np.uint8)
        for row, sample in zip(masks, samples, strict=True):
            if sample.entry.mask:
                row[...] = _mask(dataset, sample, spec)
        masked = torch.tensor([bool(s.entry.mask) for s in samples], dtype=torch.bool)
        return Answers(labels, masks=torch.from_numpy(masks), masked=masked)
    return Answers(labels)


def _mask(dataset: Dataset, sample: Sample, spec: PreprocessSpec) -> NDArray[np.uint8]:
    """Return the mask u8[1,h,w], resized as its image is."""
    file = dataset.folders[sample.entry.folder] / sample.entry.mask
    try:
        mask = load_image(file)
    except BadImage as error:
        raise BadDataset(f"the mask of {sample.entry.file}: {error.message}", hint=error.hint) from error
    if sample.entry.mask_sha256 and mask.sha256 != sample.entry.mask_sha256:
        raise BadDataset(f"the mask {file} has changed since the dataset was made", hint="make the dataset again")
    if mask.pixels.shape[:2] != sample.pixels.shape[:2]:
        raise BadDataset(f"the mask {file} is of another size than its image", hint="mend or remove the mask")
    grey = mask.pixels if mask.pixels.ndim == 2 else mask.pixels.max(2)
    flat = msgspec.structs.replace(spec, channels=1, mean=(0.0,), std=(1.0,), dtype="uint8", layout="NCHW")
    bright = np.where(grey > _BRIGHT, 255, 0).astype(np.uint8)
    return np.asarray(preprocess(bright, flat)[0], np.uint8)
