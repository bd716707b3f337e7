"""A recipe to a network."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from cloud.retrain.models.surface import SurfaceNet
from cloud.retrain.models.user import build_user_network
from cloud.retrain.run_records import Head, Recipe
from contract.errors import InvalidConfig

# How many convolutions a stage of a named network has.
_DEPTHS = {"surface": 1, "surface-deep": 2}
_MAX_WIDTH = 16.0


def build_model(
    recipe: Recipe,
    channels: int,
    classes: int,
    input_px: int,
    *,
    good: tuple[int, ...] = (),
    stage_channels: Sequence[int] | None = None,
) -> nn.Module:
    """Return an untrained network: images f32[N,C,h,w] to a ModelOutput.

    Args:
        recipe: which network, how wide, with which head. `recipe.model` is "surface", "surface-deep", or "module:factory" for
            a network of the user's own (cloud.retrain.models.user).
        channels: 1 or 3.
        classes: labels, K.
        input_px: the input's side in pixels.
        good: places of the GOOD labels, which Head.MULTI needs.
        stage_channels: for a pruned network of the surface family, what `channels_of` reads from its checkpoint.
    Raises:
        InvalidConfig: there is no such network, or it cannot have this head.
    """
    if not 0.0 < recipe.width <= _MAX_WIDTH:
        raise InvalidConfig(f"a width of {recipe.width:g} is not above 0 and at most {_MAX_WIDTH:g}")
    independent = recipe.head is Head.MULTI
    if independent and classes - len(set(good)) < 1:
        raise InvalidConfig("a multi-label model needs a label of kind defect", hint="name the good ones with --good")
    if ":" in recipe.model:
        if stage_channels is not None:
            raise InvalidConfig(f"'{recipe.model}' cannot be pruned", hint="only the surface family can")
        return build_user_network(recipe, channels, classes, input_px, good if independent else None)
    if recipe.model not in _DEPTHS:
        raise InvalidConfig(
            f"there is no model '{recipe.model}'",
            hint=f"one of {', '.join(_DEPTHS)}, or module:factory for a network of your own",
        )
    return SurfaceNet(
        channels,
        classes,
        width=recipe.width,
        input_px=input_px,
        depth=_DEPTHS[recipe.model],
        stage_channels=stage_channels,
        good=good if independent else None,
        segment=recipe.head is Head.SEGMENT,
    )


def parameter_count(model: nn.Module) -> int:
    """Return how many numbers a network learns."""
    return sum(p.numel() for p in model.parameters())
