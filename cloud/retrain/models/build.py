"""A recipe to a network."""

from __future__ import annotations

from torch import nn

from cloud.retrain.models.surface import SurfaceNet
from cloud.retrain.run_folder import Recipe


def build_model(recipe: Recipe, channels: int, classes: int, input_px: int) -> nn.Module:
    """Return an untrained network: images f32[N,C,h,w] to a ModelOutput.

    Args:
        recipe: which network, how wide, with which head.
        channels: 1 or 3.
        classes: labels, K.
        input_px: the input's side in pixels.
    """
    return SurfaceNet(channels, classes, width=recipe.width, input_px=input_px)


def parameter_count(model: nn.Module) -> int:
    """Return how many numbers a network learns."""
    return sum(p.numel() for p in model.parameters())
