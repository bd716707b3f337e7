"""How the learning rate rises and falls over a run."""

from __future__ import annotations

import math
from enum import Enum

import torch

_ONECYCLE_RISE = 0.25
_COSINE_RISE = 0.05
# What is left of the rate at the end of a cosine: nothing learns from a rate of 0.
_COSINE_END = 0.01


class RateSchedule(str, Enum):
    """ONECYCLE: a quarter of the steps up, the rest down (Smith, Topin 2017, arXiv 1708.07120). COSINE: up over a twentieth of the
    steps, then half a cosine down to a hundredth (Loshchilov, Hutter 2016, arXiv 1608.03983)."""

    ONECYCLE = "onecycle"
    COSINE = "cosine"


def make_schedule(
    kind: str, optimizer: torch.optim.Optimizer, rate: float, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Return the schedule of `steps` steps whose highest rate is `rate`.

    Raises:
        ValueError: there is no such schedule.
    """
    if RateSchedule(kind) is RateSchedule.ONECYCLE:
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps + 1, pct_start=_ONECYCLE_RISE)
    rise = max(1, round(_COSINE_RISE * steps))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / (rise + 1)
        fallen = (step - rise) / max(1, steps - rise)
        return _COSINE_END + (1 - _COSINE_END) * 0.5 * (1 + math.cos(math.pi * min(1.0, fallen)))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
