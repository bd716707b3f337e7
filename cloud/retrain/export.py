"""A trained model to ONNX, checked against the model it came from."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cloud.quantize.artefact_runner import open_session
from cloud.retrain.run_folder import publish
from contract.errors import BadModel

INPUT_NAME = "images"
OUTPUT_NAME = "scores"
# Opset 18 runs on every ONNX Runtime that the agent supports.
_OPSET = 18
# Two runtimes add floats in another order; more than this is another model.
_MAX_ABS_ERROR = 1e-3
_WRAPPED = "network."


def export_onnx(model: nn.Module, example: torch.Tensor, file: Path, *, like: Path | None = None) -> None:
    """Write `model` with batch norm folded in as `file`; the batch size stays free.

    Args:
        model: the trained model, on the CPU.
        example: f32[N,C,h,w], a few real images; the exported model must answer them as `model` does.
        file: where to write; replaced whole.
        like: an exported model of the same architecture. Its graph is reused with new weights, which takes milliseconds
            where exporting takes seconds, and keeps tensor names for delta updates (OTA-7).
    Raises:
        BadModel: the exported model answers otherwise.
    """
    folded = _Scores(fold_batch_norm(model))
    with torch.no_grad():
        expected = folded(example).numpy()
    temporary = file.with_suffix(".tmp.onnx")
    if not (
        like is not None
        and _swap_weights(like, folded, temporary)
        and _error(temporary, example, expected) <= _MAX_ABS_ERROR
    ):
        _export(folded, example, temporary)
        error = _error(temporary, example, expected)
        if error > _MAX_ABS_ERROR:
            raise BadModel(
                f"the exported model differs from the trained one by {error:.2g}",
                hint="install the versions of torch and onnxruntime in constraints.txt",
            )
    publish(temporary, file)


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """Return a copy in evaluation mode whose convolutions have swallowed their batch norms."""
    folded = copy.deepcopy(model).eval()
    for stage in folded.stages:  # type: ignore[union-attr]
        if not isinstance(stage, nn.Sequential):
            raise BadModel("a stage of the model is no sequence of layers")
        convolution, norm = stage[0], stage[1]
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            stage[0], stage[1] = fuse_conv_bn_eval(convolution, norm), nn.Identity()
    return folded


class _Scores(nn.Module):
    """A network that answers its scores alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.network(images).scores
        return scores


def _export(model: nn.Module, example: torch.Tensor, file: Path) -> None:
    with _quiet():
        torch.onnx.export(
            model,
            # A batch of one would be taken for a constant; two show that it varies.
            (example[:1].repeat(2, 1, 1, 1).contiguous(),),
            str(file),
            dynamo=True,
            external_data=False,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            opset_version=_OPSET,
            verbose=False,
        )
    graph = onnx.load(str(file))
    # The exporter notes stack traces with this machine's paths in every node; they are nobody else's business.
    for item in (*graph.graph.node, *graph.graph.input, *graph.graph.output, *graph.graph.value_info, graph.graph):
        del item.metadata_props[:]
    _name_as_trained(graph)
    onnx.save(graph, str(file))


def _name_as_trained(graph: onnx.ModelProto) -> None:
    """Give weights the names that they have in the network, whatever wraps it: a delta aligns tensors by name."""
    for initializer in graph.graph.initializer:
        initializer.name = initializer.name.removeprefix(_WRAPPED)
    for node in graph.graph.node:
        node.input[:] = [name.removeprefix(_WRAPPED) for name in node.input]


def _swap_weights(like: Path, model: nn.Module, file: Path) -> bool:
    """Write `like` with `model`'s weights; return False when they do not match name by name."""
    if not like.exists():
        return False
    graph = onnx.load(str(like))
    state = {name.removeprefix(_WRAPPED): tensor.numpy() for name, tensor in model.state_dict().items()}
    shapes = {i.name: tuple(i.dims) for i in graph.graph.initializer}
    if any(shapes.get(name) != tensor.shape for name, tensor in state.items()):
        return False
    for initializer in graph.graph.initializer:
        if initializer.name in state:
            fresh = np.ascontiguousarray(state[initializer.name], np.float32)
            initializer.CopyFrom(numpy_helper.from_array(fresh, initializer.name))
    onnx.save(graph, str(file))
    return True


def _error(file: Path, example: torch.Tensor, expected: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> float:
    scores = open_session(file, threads=1).run(None, {INPUT_NAME: np.ascontiguousarray(example.numpy())})[0]
    return float(np.abs(scores - expected).max())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's chatter away from progress lines."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
