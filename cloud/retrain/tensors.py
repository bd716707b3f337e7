"""Images to tensors, once, by the preprocessing that the device uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from cloud.retrain.dataset import Sample
from contract.preprocess import PreprocessSpec, preprocess


@dataclass(frozen=True, slots=True)
class ImageTensors:
    """Resized images u8[N,C,h,w] and their labels i64[N]; kept as bytes, a quarter of the memory of floats."""

    pixels: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)


# Models see images in their own size up to this; a larger input costs more than the detail it adds is worth.
_LARGEST_INPUT_PX = 224
_SMALLEST_INPUT_PX = 32


def native_px(samples: Sequence[Sample]) -> int:
    """Return the images' own size as a square input: the median of their shorter sides, 32 to 224, a multiple of 8."""
    shorter = float(np.median([min(s.pixels.shape[:2]) for s in samples]))
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


def to_tensors(samples: Sequence[Sample], spec: PreprocessSpec, index_of: dict[str, int]) -> ImageTensors:
    """Return the samples resized as `spec` says, not yet scaled."""
    as_bytes = msgspec.structs.replace(spec, dtype="uint8", layout="NCHW")
    pixels: NDArray[np.uint8] = np.empty((len(samples), spec.channels, spec.height, spec.width), np.uint8)
    for row, sample in zip(pixels, samples, strict=True):
        row[...] = preprocess(sample.pixels, as_bytes)[0]
    labels = torch.tensor([index_of[s.entry.label] for s in samples], dtype=torch.int64)
    return ImageTensors(torch.from_numpy(pixels), labels)


def scale(pixels: torch.Tensor, spec: PreprocessSpec) -> torch.Tensor:
    """Return u8[N,C,h,w] scaled to f32[N,C,h,w] by contract.preprocess's own formula (a test holds the two equal)."""
    std = torch.tensor(spec.std, dtype=torch.float32, device=pixels.device)
    mean = torch.tensor(spec.mean, dtype=torch.float32, device=pixels.device)
    factor, shift = (1 / 255) / std, mean / std
    return pixels * factor[:, None, None] - shift[:, None, None]
