"""What a camera may have come to do to its images, as one number each, on tensors f32[N,C,h,w] of 0 to 255.

The kinds are those of `cloud.gate.corruptions` that change a whole image; their strengths are continuous, so that one can be
fitted to what was seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import torch
from torch.nn import functional


class ChangeKind(str, Enum):
    """What changed. The strength of DEFOCUS is a Gaussian's sigma in pixels of the model's input, of NOISE its sigma in grey
    levels; of GAIN, GAMMA and CONTRAST the factor (1 is none); of OFFSET grey levels; of VIGNETTE the share lost in the corners."""

    DEFOCUS = "defocus"
    NOISE = "noise"
    GAIN = "gain"
    GAMMA = "gamma"
    CONTRAST = "contrast"
    OFFSET = "offset"
    VIGNETTE = "vignette"


@dataclass(frozen=True, slots=True)
class CameraChange:
    """One kind of change at one strength."""

    kind: ChangeKind
    strength: float

    def describe(self) -> str:
        """Return it for a person: "defocus of 1.2 px"."""
        unit = {ChangeKind.DEFOCUS: " px", ChangeKind.NOISE: " grey levels", ChangeKind.OFFSET: " grey levels"}
        return f"{self.kind.value} of {self.strength:.2g}{unit.get(self.kind, '')}"

    def scaled(self, factor: float) -> CameraChange:
        """Return the change made weaker (below 1) or stronger: factors by their logarithm, the others by themselves."""
        if self.kind in _FACTORS:
            return CameraChange(self.kind, math.exp(math.log(self.strength) * factor))
        strength = self.strength * factor
        return CameraChange(self.kind, min(strength, 0.95) if self.kind is ChangeKind.VIGNETTE else strength)


def change_images(images: torch.Tensor, change: CameraChange, generator: torch.Generator) -> torch.Tensor:
    """Return the images as the changed camera would give them: rounded, 0 to 255.

    Args:
        images: f32[N,C,h,w], 0 to 255.
        generator: on the CPU; noise is drawn from it.
    """
    return _KINDS[change.kind](images, change.strength, generator).round().clamp(0, 255)


def _defocus(images: torch.Tensor, sigma: float, generator: torch.Generator) -> torch.Tensor:
    reach = min(max(1, math.ceil(3 * sigma)), min(images.shape[2:]) - 1)
    at = torch.arange(-reach, reach + 1, dtype=torch.float32)
    # Each tap is the Gaussian over its pixel: sampled in the middle, narrow ones would blur too little.
    edges = torch.special.ndtr((torch.stack([at - 0.5, at + 0.5])) / max(sigma, 1e-3))
    taps = (edges[1] - edges[0]).to(images.device)
    taps = taps / taps.sum()
    flat = images.flatten(0, 1)[:, None]
    wide = functional.pad(flat, [reach] * 4, "replicate")
    once = functional.conv2d(wide, taps[None, None, None, :])
    return functional.conv2d(once, taps[None, None, :, None]).view_as(images)


def _noise(images: torch.Tensor, sigma: float, generator: torch.Generator) -> torch.Tensor:
    return images + torch.randn(images.shape, generator=generator).to(images.device) * sigma


def _gain(images: torch.Tensor, factor: float, generator: torch.Generator) -> torch.Tensor:
    return images * factor


def _gamma(images: torch.Tensor, power: float, generator: torch.Generator) -> torch.Tensor:
    return 255 * (images / 255) ** power


def _contrast(images: torch.Tensor, factor: float, generator: torch.Generator) -> torch.Tensor:
    mean = images.mean((1, 2, 3), keepdim=True)
    return (images - mean) * factor + mean


def _offset(images: torch.Tensor, levels: float, generator: torch.Generator) -> torch.Tensor:
    return images + levels


def _vignette(images: torch.Tensor, loss: float, generator: torch.Generator) -> torch.Tensor:
    down = torch.linspace(-1, 1, images.shape[2], device=images.device)[:, None]
    right = torch.linspace(-1, 1, images.shape[3], device=images.device)[None, :]
    return images * (1 - loss * (down**2 + right**2) / 2)


_FACTORS = frozenset({ChangeKind.GAIN, ChangeKind.GAMMA, ChangeKind.CONTRAST})
_KINDS: dict[ChangeKind, Callable[[torch.Tensor, float, torch.Generator], torch.Tensor]] = {
    ChangeKind.DEFOCUS: _defocus,
    ChangeKind.NOISE: _noise,
    ChangeKind.GAIN: _gain,
    ChangeKind.GAMMA: _gamma,
    ChangeKind.CONTRAST: _contrast,
    ChangeKind.OFFSET: _offset,
    ChangeKind.VIGNETTE: _vignette,
}
