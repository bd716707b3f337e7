"""A network of two convolutions as ONNX, written by hand: torch's exporter takes seconds."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn


def export_two_layers(model: nn.Module, file: Path) -> None:
    """Write `first`, ReLU, `head` and a flatten as an exporter would, with the weights named as in the network."""
    weights = [numpy_helper.from_array(value.detach().numpy(), name) for name, value in model.state_dict().items()]
    nodes = [
        helper.make_node("Conv", ["images", "first.weight", "first.bias"], ["a"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Conv", ["b", "head.weight", "head.bias"], ["c"], "head"),
        helper.make_node("Flatten", ["c"], ["scores"], "flat"),
    ]
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 2])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(file))
