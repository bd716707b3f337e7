"""Channels that a network can do without, removed: a smaller dense network that goes on from the weights left.

Whole channels, because a CPU gains nothing from single zeros. A channel's importance is what the next layer can hear of it: the
scale (and positive shift) that its batch norm gives it (Liu et al. 2017, "Learning Efficient Convolutional Networks through
Network Slimming", section 3) times the L1 norm of the weights that read it (Li et al. 2017, "Pruning Filters for Efficient
ConvNets", section 3.1, of the filter itself: batch norm undoes the size of that one). A channel of importance 0 is always 0
after ReLU, or read by nobody: removing it changes no answer.
"""

from __future__ import annotations

import torch
from torch import nn

from cloud.retrain.models.surface import CHANNEL_STEP, SurfaceNet
from contract.errors import InvalidConfig


def prune(model: nn.Module, share: float) -> SurfaceNet:
    """Return a network without the least important `share` of every convolution's channels; fine-tune it next.

    Widths stay multiples of 8, rounded up, and at least 8. To build it again from a checkpoint, give `build_model` what
    `channels_of` says of its weights, as `stage_channels`. `model` is left as it is.

    Raises:
        InvalidConfig: the share is not 0..1, or the network is not of the surface family.
    """
    if not 0.0 <= share < 1.0:
        raise InvalidConfig(f"a share of {share:g} cannot be pruned", hint="choose at least 0 and less than 1")
    if not isinstance(model, SurfaceNet):
        raise InvalidConfig("only a network of the surface family can be pruned", hint="train it without --prune")
    layers = _layers(model)
    kept = [torch.arange(layers[0][0].in_channels)]
    for place, (_, norm) in enumerate(layers):
        kept.append(_most_important(norm, _readers(model, layers, place), share))
    smaller = SurfaceNet(
        layers[0][0].in_channels,
        model.head.out_features,
        input_px=model.input_px,
        depth=model.depth,
        stage_channels=[len(channels) for channels in kept[1:]],
        good=model.good,
        segment=model.float_mask is not None,
    )
    with torch.no_grad():
        for (convolution, norm), (old, old_norm), inputs, outputs in zip(
            _layers(smaller), layers, kept, kept[1:], strict=False
        ):
            convolution.weight.copy_(old.weight[outputs][:, inputs])
            for name, tensor in norm.state_dict().items():
                whole = old_norm.state_dict()[name]
                tensor.copy_(whole[outputs] if whole.ndim else whole)
        smaller.head.weight.copy_(model.head.weight[:, kept[-1]])
        smaller.head.bias.copy_(model.head.bias)
        if smaller.float_mask is not None and model.float_mask is not None:
            smaller.float_mask.load_state_dict(
                {"weight": model.float_mask.weight[:, kept[-1]], "bias": model.float_mask.state_dict()["bias"]}
            )
    return smaller.train(model.training)


def _layers(model: SurfaceNet) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    modules = [module for module in model.stages.modules() if isinstance(module, (nn.Conv2d, nn.BatchNorm2d))]
    return [
        (first, second)
        for first, second in zip(modules[::2], modules[1::2], strict=True)
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d)
    ]


def _readers(model: SurfaceNet, layers: list[tuple[nn.Conv2d, nn.BatchNorm2d]], place: int) -> torch.Tensor:
    """Return the weights that read a convolution's channels, f32[outputs, channels, ...]."""
    if place + 1 < len(layers):
        return layers[place + 1][0].weight.detach()
    head = model.head.weight.detach()
    return head if model.float_mask is None else torch.cat([head, model.float_mask.weight.detach().flatten(1)])


def _most_important(norm: nn.BatchNorm2d, readers: torch.Tensor, share: float) -> torch.Tensor:
    """Return the places of the channels to keep, in order."""
    heard = readers.abs().transpose(0, 1).flatten(1).sum(1)
    importance = (norm.weight.detach().abs() + norm.bias.detach().clamp(min=0)) * heard
    # Rounded first: 0.7 of 40 channels is 28.000000000000004.
    wanted = round((1 - share) * len(importance), 6)
    count = min(len(importance), max(CHANNEL_STEP, int(-(-wanted // CHANNEL_STEP)) * CHANNEL_STEP))
    # Stable: equal channels are kept in order, whatever the machine.
    return importance.argsort(descending=True, stable=True)[:count].sort().values
