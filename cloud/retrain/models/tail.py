"""Last steps of a network that stay in floating point, whatever is quantized before them.

A module here is held under a name that starts with FLOAT_SCOPE; the exporter names its nodes so (cloud.retrain.export), and a
quantizer leaves them out: 8 bits of a sigmoid's output are 1/256 apart, too coarse for thresholds near 0 or 1.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

FLOAT_SCOPE = "float_"
# Less than any logit.
_NEVER = -1e9


class GoodIfNoDefect(nn.Module):
    """Logits f32[N,K] of independent labels, those of GOOD ones replaced by minus the largest of a DEFECT.

    sigmoid(-z) = 1 - sigmoid(z), so the sigmoid of the answer is what contract.manifest.OutputKind.INDEPENDENT asks for, and
    the largest logit belongs to the largest probability.
    """

    def __init__(self, classes: int, good: tuple[int, ...]) -> None:
        super().__init__()
        self.any_good = bool(good)
        is_good = torch.zeros(classes, dtype=torch.bool)
        is_good[list(good)] = True
        # No part of a checkpoint: it follows from the labels.
        self.register_buffer("is_good", is_good, persistent=False)

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        """Return logits f32[N,K]."""
        if not self.any_good:
            return logits
        is_good: torch.Tensor = self.is_good  # type: ignore[assignment]  # nn.Module types a buffer as Tensor or Module
        worst = torch.where(is_good, _NEVER, logits).amax(1, keepdim=True)
        return torch.where(is_good, -worst, logits)


class ClassMap(nn.Module):
    """A class activation map: per place, the head's weights times the features there.

    Zhou et al. 2016, "Learning Deep Features for Discriminative Localization", section 2, for features pooled by their mean;
    Oquab et al. 2015, "Is object localization for free?", for the maximum, which our networks take. With a maximum the map's
    largest value is at most the label's score less its bias where weights are positive, not equal to it: several features
    may have their maximum in several places. Read it as a picture of where evidence lies, not as a sum that adds up.
    """

    def forward(self, weight: torch.Tensor, features: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Return f32[N,K,h,w] of `weight` f32[K,D] and `features` f32[N,D,h,w].

        `mask`: logits f32[N,1,h,w] of a defect being there; evidence counts as much as the mask believes in one.
        """
        # A matrix product rather than a 1x1 convolution: the export then holds the head's weights once.
        places = functional.linear(features.flatten(2).transpose(1, 2), weight)
        evidence = places.transpose(1, 2).reshape(-1, len(weight), *features.shape[2:])
        return evidence if mask is None else evidence * torch.sigmoid(mask)
