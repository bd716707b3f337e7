"""Networks of a user's own that are awkward to train or to ship."""

from __future__ import annotations

import torch
from torch import nn


def forgetful(channels: int, classes: int, input_px: int, width: float) -> nn.Module:
    """Return a network that draws numbers by itself at every step."""
    layers = (nn.Conv2d(channels, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    return nn.Sequential(*layers, nn.Dropout(0.5), nn.Linear(32, classes))


class _Undecided(nn.Module):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(channels, classes), nn.Linear(channels, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        seen = images.mean((2, 3))
        answer: torch.Tensor = self.first(seen) if float(seen.sum()) > 0 else self.second(seen)
        return answer


def undecided(channels: int, classes: int, input_px: int, width: float) -> nn.Module:
    """Return a network that can be trained and not exported."""
    return _Undecided(channels, classes)


class _Unique(nn.Module):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(channels, classes)

    def __deepcopy__(self, memo: object) -> nn.Module:
        raise TypeError("there is only one of me")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.layer(images.mean((2, 3)))
        return answer


def unique(channels: int, classes: int, input_px: int, width: float) -> nn.Module:
    """Return a network that cannot be copied, which export does."""
    return _Unique(channels, classes)


class _Stubborn(nn.Module):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.layer, self.unheard = nn.Linear(channels, classes), nn.Linear(channels, classes)
        self.register_buffer("wanted", torch.eye(classes)[0] * 100)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.layer(images.mean((2, 3))) * 0.01 + self.wanted
        return answer


def stubborn(channels: int, classes: int, input_px: int, width: float) -> nn.Module:
    """Return a network that gives the first label whatever it sees, and has weights that it does not use."""
    return _Stubborn(channels, classes)
