"""Changes to defective parts that make a network call them good: PGD in a small ball, and PGD on a patch.

Source: Madry et al. 2018 (projected gradient descent from a random start); Brown et al. 2017 (patches; here one for each part
rather than one for all, which is harder to withstand). The attacker knows the full-precision network whole, and not the refusal.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from scripts.benches.adversarial_model import GOOD, U8, scaled, tensor_of

_STEP_SHARE = 0.2
_PATCH_STEP = 16.0


def in_a_ball(network: nn.Module, pixels: U8, eps: int, *, steps: int, seed: int) -> U8:
    """Return parts u8[N,h,w] that differ nowhere by more than `eps` grey levels from `pixels`, as good as they can look."""
    start = tensor_of(pixels)
    low, high = (start - eps).clamp(0, 255), (start + eps).clamp(0, 255)
    draw = torch.Generator().manual_seed(seed)
    begun = torch.minimum(torch.maximum(start + eps * (2 * torch.rand(start.shape, generator=draw) - 1), low), high)
    return _descend(network, begun, torch.ones_like(start), low, high, max(eps * _STEP_SHARE, 0.5), steps)


def on_a_patch(network: nn.Module, pixels: U8, area: float, *, steps: int, seed: int, reach: int = 255) -> U8:
    """Return parts with a square patch each, of `area` (a share of the picture), at a place drawn by chance.

    `reach`: how many grey levels a pixel of the patch may differ; an attacker who knows of the refusal keeps it small.
    """
    start = tensor_of(pixels)
    count, _, height, width = start.shape
    side = round(math.sqrt(area * height * width))
    rng = np.random.default_rng(seed)
    mask = torch.zeros_like(start)
    for row in range(count):
        top, left = (int(rng.integers(0, size - side + 1)) for size in (height, width))
        mask[row, :, top : top + side, left : left + side] = 1.0
    low, high = (start - reach * mask).clamp(0, 255), (start + reach * mask).clamp(0, 255)
    return _descend(network, start, mask, low, high, min(_PATCH_STEP, max(reach * _STEP_SHARE, 0.5)), steps)


def noise(pixels: U8, eps: int, seed: int) -> U8:
    """Return parts with noise of `eps` grey levels up or down at each pixel: what an attack must be better than."""
    signs = np.random.default_rng(seed).choice((-eps, eps), pixels.shape)
    noisy: U8 = np.clip(pixels.astype(np.int16) + signs, 0, 255).astype(np.uint8)
    return noisy


def _descend(
    network: nn.Module,
    begun: torch.Tensor,
    mask: torch.Tensor,
    low: torch.Tensor,
    high: torch.Tensor,
    step: float,
    steps: int,
) -> U8:
    target = torch.full((len(begun),), GOOD)
    now = begun
    for _ in range(steps):
        now = now.detach().requires_grad_(True)
        loss = functional.cross_entropy(network(scaled(now)).scores, target, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, now)
        now = torch.minimum(torch.maximum(now.detach() - step * gradient.sign() * mask, low), high)
    # A camera's file has whole grey levels.
    levels: U8 = now.detach().round().clamp(0, 255).to(torch.uint8).numpy()[:, 0]
    return levels
