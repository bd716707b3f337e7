"""A finished run's network, with its weights."""

from __future__ import annotations

from torch import nn

from cloud.retrain.checkpoint import load_weights
from cloud.retrain.models.build import build_model
from cloud.retrain.run_folder import RunFolder


def trained_network(run: RunFolder) -> nn.Module:
    """Return the network of a trained run on the CPU, in evaluation mode: images f32[N,C,h,w] to a ModelOutput.

    Raises:
        NotFound: the folder holds no finished run.
        BadModel, BadDataset: its weights or its run.json are damaged.
    """
    info = run.info()
    network = build_model(info.recipe, info.preprocess.channels, len(info.labels), info.preprocess.height)
    load_weights(network, run.checkpoint)
    return network.eval()
