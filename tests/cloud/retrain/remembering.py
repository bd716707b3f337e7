"""A network for tests that leaves the weights it ended with, one file a process, so that a test may compare the processes."""

from __future__ import annotations

import atexit
import os
from pathlib import Path

import torch
from torch import nn

from cloud.retrain.models.surface import SurfaceNet

FOLDER_VARIABLE = "PLUMBLINE_TEST_WEIGHTS"


def make(channels: int, classes: int, input_px: int, width: float) -> nn.Module:
    """Return a small network whose parameters are saved as rankN.pt when this process ends."""
    network = SurfaceNet(channels, classes, width=width, input_px=input_px)
    file = Path(os.environ[FOLDER_VARIABLE]) / f"rank{os.environ.get('RANK', '0')}.pt"
    atexit.register(lambda: torch.save({name: p.detach().cpu() for name, p in network.named_parameters()}, file))
    return network
