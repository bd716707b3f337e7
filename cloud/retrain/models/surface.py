"""The surface family: plain convolutions written for int8, by width for three budgets.

Convolution, batch norm, ReLU and max pooling only: batch norm folds into the convolution at export, and ReLU's range starts at
0, which 8 bits describe well (hard-swish and squeeze-excite do not, PITFALLS). The head looks at each feature's strongest
response rather than its mean, because a defect may be small: on the steel images 8 epochs then reach 98.8 % where the mean
needs more than 20 for 96.5 %.

FIGURES_HERE
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.nn import functional

from cloud.retrain.models.output import ModelOutput
from cloud.retrain.models.tail import ClassMap, GoodIfNoDefect

WIDTHS = {"small": 0.5, "medium": 1.0, "large": 2.0}
_CHANNELS = (16, 32, 64, 128)
# Widths are multiples of this: what a vector of 8 floats, and half of one of 16 bytes, holds.
CHANNEL_STEP = 8
# From this many input pixels a side the stem takes every second one: a 200x200 input then costs what 96x96 costs without.
_LARGE_INPUT_PX = 128


def stage_channels_of(width: float, depth: int = 1) -> tuple[int, ...]:
    """Return the output channels of every convolution, in order: one in the first stage, `depth` in each of the others."""
    wide = [max(CHANNEL_STEP, round(base * width / CHANNEL_STEP) * CHANNEL_STEP) for base in _CHANNELS]
    return tuple(c for stage, c in enumerate(wide) for _ in range(1 if stage == 0 else depth))


def channels_of(state: Mapping[str, torch.Tensor]) -> tuple[int, ...]:
    """Return the output channels of every convolution of a SurfaceNet, in order, from its weights.

    A pruned network's are no width's: this is how a checkpoint says what to build.
    """
    return tuple(len(tensor) for name, tensor in state.items() if name.startswith("stages.") and tensor.ndim == 4)


class SurfaceNet(nn.Module):
    """Images f32[N,C,h,w] to logits f32[N,K]; any h and w of at least 32.

    Stages of `depth` times convolution, batch norm, ReLU (the first stage: once), each followed by max pooling. Weights have
    the names that they had in the first release, so that its checkpoints load and deltas align.

    `good`: places of GOOD labels where labels are independent (Head.MULTI); None where they exclude each other. `segment`: with a
    mask head. `stage_channels`: as `stage_channels_of` gives them, in place of `width`.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        width: float = 1.0,
        input_px: int = 96,
        depth: int = 1,
        stage_channels: Sequence[int] | None = None,
        good: tuple[int, ...] | None = None,
        segment: bool = False,
    ) -> None:
        super().__init__()
        self.stage_channels = tuple(stage_channels or stage_channels_of(width, depth))
        self.depth, self.input_px, self.good = depth, input_px, good
        widths = iter(self.stage_channels)
        stages: list[nn.Module] = []
        before = channels
        for stage in range(len(_CHANNELS)):
            layers: list[nn.Module] = []
            for _ in range(1 if stage == 0 else depth):
                after = next(widths)
                stride = 2 if stage == 0 and input_px >= _LARGE_INPUT_PX else 1
                layers += [
                    nn.Conv2d(before, after, 3, stride, 1, bias=False),
                    nn.BatchNorm2d(after),
                    nn.ReLU(),
                ]
                before = after
            stages.append(nn.Sequential(*layers, nn.MaxPool2d(2)))
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(before, classes)
        self.float_mask = nn.Conv2d(before, 1, 1) if segment else None
        self.float_good = GoodIfNoDefect(classes, good) if good is not None else None
        self.float_map = ClassMap()

    @property
    def independent(self) -> bool:
        """Whether labels do not exclude each other: the export then answers probabilities."""
        return self.good is not None

    def forward(self, images: torch.Tensor) -> ModelOutput:
        """Return the answer to images f32[N,C,h,w]. There is no activation map while training: nobody looks at it."""
        if self.float_mask is None:
            features = places = self.stages(images)
        else:
            # Before the last pooling places are half as far apart: a mask of an object a few pixels wide needs that.
            places = images
            for layer in self._before_last_pool():
                places = layer(places)
            features = functional.max_pool2d(places, 2)
        embedding = features.amax((2, 3))
        scores = self.head(embedding)
        if self.float_good is not None:
            scores = self.float_good(scores)
        mask = None if self.float_mask is None else self.float_mask(places)
        if self.training:
            return ModelOutput(scores, embedding, None, mask)
        return ModelOutput(scores, embedding, self.float_map(self.head.weight, places, mask), mask)

    def _before_last_pool(self) -> list[nn.Module]:
        *first, last = self.stages.children()
        return [*first, *list(last.children())[:-1]]
