"""What every network of ours answers, whatever it is made of."""

from __future__ import annotations

from typing import NamedTuple

import torch


class ModelOutput(NamedTuple):
    """A network's answer to images f32[N,C,h,w].

    `scores`: logits f32[N,K]. `embedding`: f32[N,D], what the last layer sees. `activation_map`: f32[N,K,h',w'], how much each
    place speaks for each label. `mask`: f32[N,1,h',w'], logits of a defect being there. None where a network has no such thing.
    """

    scores: torch.Tensor
    embedding: torch.Tensor | None = None
    activation_map: torch.Tensor | None = None
    mask: torch.Tensor | None = None
