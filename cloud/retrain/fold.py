"""Batch norm folded into the convolution before it, wherever that can be done."""

from __future__ import annotations

import copy
import itertools

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """Return a copy in evaluation mode whose convolutions have swallowed their batch norms.

    Pairs that follow each other in an nn.Sequential are folded, at any depth; of what is left, those that torch.fx finds by
    following a picture through the network. A batch norm that nobody can reach stays: the exporter writes it as it is.
    """
    folded = copy.deepcopy(model).eval()
    for module in list(folded.modules()):
        if isinstance(module, nn.Sequential):
            _fold_sequence(module)
    if any(isinstance(module, nn.BatchNorm2d) for module in folded.modules()):
        _fold_traced(folded)
    return folded


def _fold_sequence(sequence: nn.Sequential) -> None:
    layers = list(sequence)
    for place, (first, second) in enumerate(itertools.pairwise(layers)):
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d) and _has_statistics(second):
            sequence[place], sequence[place + 1] = fuse_conv_bn_eval(first, second), nn.Identity()


def _fold_traced(model: nn.Module) -> None:
    try:
        graph = fx.Tracer().trace(model)
    except Exception:  # noqa: BLE001  # tracing raises whatever the network's own code does
        return
    calls = [str(node.target) for node in graph.nodes if node.op == "call_module"]
    for node in graph.nodes:
        before = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) != 1:
            continue
        first, second = model.get_submodule(str(before.target)), model.get_submodule(str(node.target))
        # A layer used twice cannot swallow the norm after one of its uses.
        once = calls.count(str(before.target)) == 1 and calls.count(str(node.target)) == 1
        if once and isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d) and _has_statistics(second):
            _put(model, str(before.target), fuse_conv_bn_eval(first, second))
            _put(model, str(node.target), nn.Identity())


def _has_statistics(norm: nn.BatchNorm2d) -> bool:
    return norm.running_mean is not None and norm.running_var is not None


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, module)
