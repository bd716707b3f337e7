"""Images to tensors, once, by the preprocessing that the device uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from cloud.retrain.samples import Sample
from contract.preprocess import PreprocessSpec, preprocess, resize


@dataclass(frozen=True, slots=True)
class ImageTensors:
    """Resized images u8[N,C,h,w] and their labels i64[N]; kept as bytes, a quarter of the memory of floats.

    `every`: u8[N,K], 1 where an image has the label, the first or another. `masks`: u8[N,1,h,w], 1 where the defect is, and
    `masked`: bool[N], the images whose mask is known; None when masks were not asked for.
    """

    pixels: torch.Tensor
    labels: torch.Tensor
    every: torch.Tensor | None = None
    masks: torch.Tensor | None = None
    masked: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)


# Models see images in their own size up to this; a larger input costs more than the detail it adds is worth.
_LARGEST_INPUT_PX = 224
_SMALLEST_INPUT_PX = 32
# A pixel of a small mask is on when a quarter of it is: a thin scratch would be lost at half.
_COVERED = 64


def native_px(samples: Sequence[Sample]) -> int:
    """Return the images' own size as a square input: the median of their shorter sides, 32 to 224, a multiple of 8."""
    shorter = float(np.median([min(s.shape[:2]) for s in samples]))
    return int(min(max(round(shorter / 8) * 8, _SMALLEST_INPUT_PX), _LARGEST_INPUT_PX))


def choose_spec(samples: Sequence[Sample], input_px: int, channels: int) -> PreprocessSpec:
    """Return a preprocessing that gives the training images mean 0 and standard deviation 1 per channel."""
    bare = PreprocessSpec(input_px, input_px, channels, (0.0,) * channels, (1.0,) * channels)
    total = np.zeros(channels)
    squares = np.zeros(channels)
    for sample in samples:
        image = preprocess(sample.pixels, bare)[0].astype(np.float64)
        total += image.mean((1, 2))
        squares += (image**2).mean((1, 2))
    mean = total / len(samples)
    std = np.sqrt(np.maximum(squares / len(samples) - mean**2, 1e-4))
    return PreprocessSpec(
        input_px,
        input_px,
        channels,
        tuple(round(float(m), 4) for m in mean),
        tuple(round(float(s), 4) for s in std),
    )


def to_tensors(
    samples: Sequence[Sample],
    spec: PreprocessSpec,
    index_of: dict[str, int],
    *,
    masks: bool = False,
    good: frozenset[str] = frozenset(),
) -> ImageTensors:
    """Return the samples resized as `spec` says, not yet scaled.

    Args:
        index_of: each label's place in the model's output.
        masks: whether the defects' areas are wanted.
        good: labels that mean a good part; such an image without a mask file is known to have no defect anywhere.
    """
    as_bytes = msgspec.structs.replace(spec, dtype="uint8", layout="NCHW")
    pixels: NDArray[np.uint8] = np.empty((len(samples), spec.channels, spec.height, spec.width), np.uint8)
    every: NDArray[np.uint8] = np.zeros((len(samples), len(index_of)), np.uint8)
    for row, sample in enumerate(samples):
        pixels[row] = preprocess(sample.pixels, as_bytes)[0]
        every[row, [index_of[name] for name in (sample.entry.label, *sample.entry.also)]] = 1
    labels = torch.tensor([index_of[s.entry.label] for s in samples], dtype=torch.int64)
    areas, known = _to_masks(samples, spec, good) if masks else (None, None)
    return ImageTensors(torch.from_numpy(pixels), labels, torch.from_numpy(every), areas, known)


def _to_masks(
    samples: Sequence[Sample], spec: PreprocessSpec, good: frozenset[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    areas: NDArray[np.uint8] = np.zeros((len(samples), 1, spec.height, spec.width), np.uint8)
    known: NDArray[np.bool_] = np.zeros(len(samples), bool)
    for row, sample in enumerate(samples):
        if sample.mask is not None:
            area = np.where(sample.mask.load(), np.uint8(255), np.uint8(0))
            areas[row, 0] = resize(area, spec.height, spec.width) >= _COVERED
        known[row] = sample.mask is not None or sample.entry.label in good
    return torch.from_numpy(areas), torch.from_numpy(known)


def scale(pixels: torch.Tensor, spec: PreprocessSpec) -> torch.Tensor:
    """Return u8[N,C,h,w] scaled to f32[N,C,h,w] by contract.preprocess's own formula (a test holds the two equal)."""
    std = torch.tensor(spec.std, dtype=torch.float32, device=pixels.device)
    mean = torch.tensor(spec.mean, dtype=torch.float32, device=pixels.device)
    factor, shift = (1 / 255) / std, mean / std
    return pixels * factor[:, None, None] - shift[:, None, None]
