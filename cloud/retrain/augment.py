"""Random flips and small shifts of a batch, on tensors."""

from __future__ import annotations

import torch
from torch.nn import functional


def flip_and_shift(images: torch.Tensor, shift_px: int, generator: torch.Generator) -> torch.Tensor:
    """Return images f32[N,C,h,w], each flipped at random both ways, all shifted by one random step (edges mirrored).

    Args:
        shift_px: the largest shift, in pixels; 0 for none.
        generator: on the CPU, so that the same seed draws the same on every device.
    """
    count, height, width = len(images), images.shape[2], images.shape[3]
    for axis in (2, 3):
        flip = torch.rand(count, 1, 1, 1, generator=generator) < 0.5
        images = torch.where(flip.to(images.device), images.flip(axis), images)
    if shift_px > 0:
        padded = functional.pad(images, [shift_px] * 4, "reflect")
        down, right = torch.randint(0, 2 * shift_px + 1, (2,), generator=generator).tolist()
        images = padded[:, :, down : down + height, right : right + width]
    return images.contiguous(memory_format=torch.channels_last)
