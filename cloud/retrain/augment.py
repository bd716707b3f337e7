"""Random flips and small shifts of a batch, on tensors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Moves:
    """What is done to a batch: `flips` bool[2,N], which images are turned upside down and which left to right; then all are
    shifted by `down` and `right`, 0..2 `shift_px`, where `shift_px` is no shift."""

    flips: torch.Tensor
    shift_px: int
    down: int
    right: int


def draw_moves(count: int, shift_px: int, generator: torch.Generator) -> Moves:
    """Draw what is done to `count` images.

    Args:
        shift_px: the largest shift, in pixels; 0 for none.
        generator: on the CPU, so that the same seed draws the same on every device.
    """
    flips = torch.stack([torch.rand(count, generator=generator) < 0.5 for _ in range(2)])
    down = right = 0
    if shift_px > 0:
        down, right = torch.randint(0, 2 * shift_px + 1, (2,), generator=generator).tolist()
    return Moves(flips, shift_px, down, right)


def move(images: torch.Tensor, moves: Moves) -> torch.Tensor:
    """Return images f32[N,C,h,w], or masks, moved; edges are mirrored."""
    height, width = images.shape[2:]
    for axis, flip in zip((2, 3), moves.flips, strict=True):
        images = torch.where(flip[:, None, None, None].to(images.device), images.flip(axis), images)
    if moves.shift_px > 0:
        padded = functional.pad(images, [moves.shift_px] * 4, "reflect")
        images = padded[:, :, moves.down : moves.down + height, moves.right : moves.right + width]
    return images.contiguous(memory_format=torch.channels_last)


def flip_and_shift(images: torch.Tensor, shift_px: int, generator: torch.Generator) -> torch.Tensor:
    """Return images f32[N,C,h,w], each flipped at random both ways, all shifted by one random step."""
    return move(images, draw_moves(len(images), shift_px, generator))
