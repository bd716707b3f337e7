"""Fine-tuning with int8's rounding simulated, for models that rounding afterwards spoils.

Weights are rounded per output channel in the forward pass and what enters a weighted layer is rounded to 8 bits; gradients pass
straight through. Batch norm keeps its statistics, hence folds into the convolution as it will at export: its factor is one a
channel, and so is the step, so rounding before folding is rounding after it.

Source: Jacob et al. 2018 (arXiv 1712.05877), section 3; ranges of activations by moving averages, section 3.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx
import torch
from torch import nn
from torch.nn.utils import parametrize

from cloud.quantize.float_tail import is_weighted
from cloud.quantize.scheme import RULES, Scheme
from cloud.retrain.augment import flip_and_shift
from cloud.retrain.batches import step_generator
from cloud.retrain.objective import Targets, loss_of
from cloud.retrain.run_records import Recipe
from cloud.retrain.tensors import scale
from contract.errors import BadModel
from contract.preprocess import PreprocessSpec

_LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
# A fine-tune of a finished model: a third of what a warm start takes.
_LEARNING_RATE_SHARE = 1 / 3
# Ranges are only watched for this share of the steps, then held, so that weights settle on steps that stand still.
_WATCHING = 0.5
_AVERAGING = 0.9
_LEAST_STEP = 1e-8


@dataclass(frozen=True, slots=True)
class TrainedRanges:
    """(lowest, highest) of what enters each weighted layer, by the name of its weights."""

    by_weight: dict[str, tuple[float, float]]

    def by_tensor(self, model: onnx.ModelProto) -> dict[str, tuple[float, float]]:
        """Return the ranges by the tensors of an exported model; max pooling's input is known by its output's."""
        makers = {name: node for node in model.graph.node for name in node.output}
        found: dict[str, tuple[float, float]] = {}
        for node in model.graph.node:
            known = self.by_weight.get(node.input[1]) if is_weighted(node) and len(node.input) > 1 else None
            if known is None:
                continue
            tensor = node.input[0]
            found[tensor] = known
            while tensor in makers and makers[tensor].op_type == "MaxPool":
                tensor = makers[tensor].input[0]
                found[tensor] = known
        return found


def fine_tune(
    model: nn.Module,
    pixels: torch.Tensor,
    targets: Targets,
    spec: PreprocessSpec,
    recipe: Recipe,
    *,
    steps: int,
    scheme: Scheme,
    seed: int,
    good: tuple[int, ...] = (),
    say: Callable[[int, float], None] = lambda *_: None,
) -> TrainedRanges:
    """Train `model` in place for `steps` with int8's rounding, and return the ranges it was trained with.

    Args:
        model: a trained network on the CPU; afterwards its weights stand on the grid that `scheme` rounds to.
        pixels: u8[N,C,h,w], the training images, and `targets` of all of them.
        say: is told the step and the loss.
    Raises:
        BadModel: it has no weighted layer, or the loss is no number.
    """
    torch.manual_seed(seed)
    watched = _attach(model, scheme)
    model.eval()  # batch norm keeps its statistics
    optimizer = torch.optim.AdamW(
        (p for p in model.parameters() if p.requires_grad),
        lr=recipe.warm_learning_rate * _LEARNING_RATE_SHARE,
        weight_decay=recipe.weight_decay,
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
    count = len(pixels)
    try:
        for step in range(steps):
            if step == int(steps * _WATCHING):
                for rounding in watched.values():
                    rounding.watching = False
            generator = step_generator(seed, step, 30)
            rows = torch.randint(0, count, (min(recipe.batch_size, count),), generator=generator)
            images = flip_and_shift(scale(pixels[rows], spec), recipe.shift_px, generator)
            loss = loss_of(model(images), _rows(targets, rows), recipe, good=good)
            if not torch.isfinite(loss):
                raise BadModel("fine-tuning for int8 diverged: the loss is no number", hint="use fewer --qat-steps")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # as torch has it
            optimizer.step()
            schedule.step()
            say(step + 1, float(loss.detach()))
    finally:
        _detach(model, watched)
    return TrainedRanges({f"{name}.weight": rounding.limits() for name, rounding in watched.items()})


class _RoundWeights(nn.Module):
    """Weights f32[O,...] on the symmetric grid of each output channel, by `steps` from 0 to the largest."""

    def __init__(self, steps: int, axis: int) -> None:
        super().__init__()
        self.steps = steps
        self.axis = axis

    def forward(self, weights: torch.Tensor) -> torch.Tensor:
        others = [axis for axis in range(weights.dim()) if axis != self.axis]
        step = (weights.detach().abs().amax(others, keepdim=True) / self.steps).clamp_min(_LEAST_STEP)
        rounded = (weights.detach() / step).round().clamp(-self.steps, self.steps) * step
        return weights + (rounded - weights).detach()


class _RoundInput:
    """Rounds what enters a layer to 8 bits of a range that is watched, then held."""

    def __init__(self, symmetric: bool) -> None:
        self.symmetric = symmetric
        self.watching = True
        self.lowest: float | None = None
        self.highest = 0.0
        self.handle: torch.utils.hooks.RemovableHandle | None = None

    def __call__(self, layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        values = inputs[0]
        if self.watching:
            low, high = float(values.detach().min()), float(values.detach().max())
            keep = _AVERAGING if self.lowest is not None else 0.0
            self.lowest = keep * (self.lowest or 0.0) + (1 - keep) * low
            self.highest = keep * self.highest + (1 - keep) * high
        low, high = self.limits()
        step = max((high - low) / 255, _LEAST_STEP)
        zero = round(-low / step)
        codes = (values.detach() / step).round().clamp(-zero, 255 - zero)
        inside = values.clamp(-zero * step, (255 - zero) * step)
        return (inside + (codes * step - inside).detach(), *inputs[1:])

    def limits(self) -> tuple[float, float]:
        """Return (lowest, highest), with 0 in between, as the quantizer wants it."""
        low, high = min(self.lowest or 0.0, 0.0), max(self.highest, 0.0)
        return (-max(-low, high), max(-low, high)) if self.symmetric else (low, high)


def _attach(model: nn.Module, scheme: Scheme) -> dict[str, _RoundInput]:
    watched: dict[str, _RoundInput] = {}
    for name, layer in model.named_modules():
        if isinstance(layer, _LAYERS):
            rounding = _RoundInput(scheme is Scheme.S8S8)
            rounding.handle = layer.register_forward_pre_hook(rounding)
            watched[name] = rounding
    for name in watched:
        layer = model.get_submodule(name)
        axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
        parametrize.register_parametrization(layer, "weight", _RoundWeights(RULES[scheme].weight_steps, axis))
    if not watched:
        raise BadModel("the model has no layer with weights to fine-tune for int8", hint="use --qat-steps 0")
    return watched


def _detach(model: nn.Module, watched: dict[str, _RoundInput]) -> None:
    for name, rounding in watched.items():
        parametrize.remove_parametrizations(model.get_submodule(name), "weight", leave_parametrized=True)
        if rounding.handle is not None:
            rounding.handle.remove()


def _rows(targets: Targets, rows: torch.Tensor) -> Targets:
    parts: Sequence[torch.Tensor | None] = (targets.every, targets.masks, targets.masked, targets.teacher)
    return Targets(targets.labels[rows], *(None if part is None else part[rows] for part in parts))
