"""The default model: four plain convolutions, about 100,000 parameters at width 1.

Convolution, batch norm, ReLU and max pooling only: batch norm folds into the convolution at export, and ReLU's range starts at
0, which 8 bits describe well (hard-swish and squeeze-excite do not, PITFALLS). The head looks at each feature's strongest
response rather than its mean, because a defect may be small: on the steel images 8 epochs then reach 98.8 % where the mean
needs more than 20 for 96.5 %.
"""

from __future__ import annotations

import torch
from torch import nn

from cloud.retrain.models.output import ModelOutput

_CHANNELS = (16, 32, 64, 128)
# From this many input pixels a side the stem takes every second one: a 200x200 input then costs what 96x96 costs without.
_LARGE_INPUT_PX = 128


class SurfaceNet(nn.Module):
    """Images f32[N,C,h,w] to logits f32[N,K]; any h and w of at least 32."""

    def __init__(self, channels: int, classes: int, *, width: float = 1.0, input_px: int = 96) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        before = channels
        for stage, base in enumerate(_CHANNELS):
            after = max(8, round(base * width / 8) * 8)
            stride = 2 if stage == 0 and input_px >= _LARGE_INPUT_PX else 1
            stages.append(
                nn.Sequential(
                    nn.Conv2d(before, after, 3, stride, 1, bias=False),
                    nn.BatchNorm2d(after),
                    nn.ReLU(),
                    nn.MaxPool2d(2),
                )
            )
            before = after
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(before, classes)

    def forward(self, images: torch.Tensor) -> ModelOutput:
        """Return the answer to images f32[N,C,h,w]."""
        embedding = self.stages(images).amax((2, 3))
        return ModelOutput(self.head(embedding), embedding)
