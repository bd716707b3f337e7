"""What is done to an exported graph: names that mean something, weights of another training."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from torch import nn

from cloud.quantize.temperature import remove_temperature
from cloud.retrain.models.tail import FLOAT_SCOPE
from cloud.retrain.node_names import FLOAT_PREFIX, STEM_PREFIX

WRAPPER = "network."
"""Under which name the exporter's wrapper holds a network."""

_SCOPES = "pkg.torch.onnx.name_scopes"
# What may stand between the first convolution and the place where quantized values are few enough to be cheap.
_STEM_STEPS = ("Relu", "MaxPool")


def name_as_trained(graph: onnx.ModelProto) -> None:
    """Name weights as the network does, and nodes by the module they come from, e.g. "stages.1.0.Conv".

    A delta aligns tensors by name, whatever wraps the network. Two kinds of nodes get a prefix for whoever quantizes:
    "float." are the last steps, whose answers 8 bits cannot hold (cloud.retrain.models.tail). "stem." are the convolution that
    reads the image and what pools it: with 1 or 3 channels its int8 form is 7 times slower than floats on x86 (ONNX Runtime gathers
    patches of 9 values one by one), and half of such a network's time.
    """
    stem = _stem(graph)
    taken: dict[str, int] = {}
    for node in graph.graph.node:
        prefix = STEM_PREFIX if node.output[0] in stem else _prefix(node)
        name = f"{prefix}{_scope(node)}{node.op_type}"
        taken[name] = taken.get(name, 0) + 1
        node.name = name if taken[name] == 1 else f"{name}_{taken[name]}"
    # The exporter notes stack traces with this machine's paths in every node; they are nobody else's business.
    inner = graph.graph
    for item in (*inner.node, *inner.input, *inner.output, *inner.value_info, inner):
        del item.metadata_props[:]
    for initializer in graph.graph.initializer:
        initializer.name = initializer.name.removeprefix(WRAPPER)
    for node in graph.graph.node:
        node.input[:] = [name.removeprefix(WRAPPER) for name in node.input]
    _hold_once(graph)


def swap_weights(like: Path, model: nn.Module, outputs: tuple[str, ...], file: Path) -> bool:
    """Write `like` with `model`'s weights; return False when they, or the outputs, do not match name by name."""
    if not like.exists():
        return False
    graph = onnx.load(str(like))
    remove_temperature(graph)
    state = {name.removeprefix(WRAPPER): tensor.numpy() for name, tensor in model.state_dict().items()}
    shapes = {i.name: tuple(i.dims) for i in graph.graph.initializer}
    if any(shapes.get(name) != tensor.shape for name, tensor in state.items()):
        return False
    if tuple(output.name for output in graph.graph.output) != outputs:
        return False
    for initializer in graph.graph.initializer:
        if initializer.name in state:
            fresh = np.ascontiguousarray(state[initializer.name], np.float32)
            initializer.CopyFrom(numpy_helper.from_array(fresh, initializer.name))
    onnx.save(graph, str(file))
    return True


def _hold_once(graph: onnx.ModelProto) -> None:
    """Replace the class map's copy of the head's weights by the weights, shaped when the model is loaded.

    A copy would be sent with every delta, and keep its old values when weights are swapped.
    """
    tensors = {i.name: numpy_helper.to_array(i) for i in graph.graph.initializer}
    for node in [n for n in graph.graph.node if n.op_type == "Conv" and n.input[1] in tensors]:
        copy = node.input[1]
        shape, numbers = tensors[copy].shape, tensors[copy].tobytes()
        # A copy of f32[K,D] as f32[K,D,1,1] holds the same numbers in the same order.
        of = next((n for n, t in tensors.items() if (*t.shape, 1, 1) == shape and t.tobytes() == numbers), None)
        if of is None:
            continue
        axes = numpy_helper.from_array(np.array([2, 3], np.int64), f"{copy}_axes")
        shaped = helper.make_node("Unsqueeze", [of, axes.name], [copy], f"{node.name}.{of}.Unsqueeze")
        graph.graph.initializer.append(axes)
        graph.graph.node.insert(0, shaped)
        graph.graph.initializer.remove(next(i for i in graph.graph.initializer if i.name == copy))


def _prefix(node: onnx.NodeProto) -> str:
    return (
        FLOAT_PREFIX
        if any(part.startswith(FLOAT_SCOPE) for scope in _scopes(node) for part in scope.split("."))
        else ""
    )


def _scope(node: onnx.NodeProto) -> str:
    scopes = _scopes(node)
    inner = scopes[-1].removeprefix(WRAPPER) if scopes else ""
    return f"{inner}." if inner else ""


def _scopes(node: onnx.NodeProto) -> list[str]:
    """Return the modules around a node, outermost first, without the network itself."""
    for item in node.metadata_props:
        if item.key == _SCOPES:
            # A list as Python writes it, whose last entry is the operation.
            scopes = ast.literal_eval(item.value)
            return [str(scope) for scope in scopes[:-1] if scope]
    return []


def _stem(graph: onnx.ModelProto) -> set[str]:
    """Return what the one convolution that reads the image answers, and the ReLU and pooling that alone follow it."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    answers = {output.name for output in graph.graph.output}
    at, stem = graph.graph.input[0].name, set[str]()
    while len(readers.get(at, ())) == 1 and at not in answers:
        (node,) = readers[at]
        if node.op_type != ("Conv" if not stem else node.op_type) or (stem and node.op_type not in _STEM_STEPS):
            break
        at = node.output[0]
        stem.add(at)
    return stem
