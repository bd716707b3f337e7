"""Small ONNX networks made by hand, which need no training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from contract.preprocess import PreprocessSpec

PX = 12
SPEC = PreprocessSpec(PX, PX, 1, (0.0,), (1.0,))


def images(count: int, seed: int = 0) -> list[NDArray[np.float32]]:
    """Return inputs f32[1,1,12,12] between 0 and 1."""
    generator = np.random.default_rng(seed)
    return [generator.random((1, 1, PX, PX), np.float32) for _ in range(count)]


def write_net(
    file: Path, *, independent: bool = False, spread: float = 1.0, opset: int = 18, nan: bool = False
) -> Path:
    """Write conv, ReLU, pooling, conv, ReLU, global pooling, Gemm: f32[N,1,12,12] to scores f32[N,3] and an activation map.

    Args:
        independent: end in a sigmoid, with 1 minus the largest in front.
        spread: how much larger the first channel of the first convolution is than the others: rounding hates it.
    """
    generator = np.random.default_rng(1)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(generator.normal(0, 0.5, shape).astype(np.float32), name)

    first = generator.normal(0, 0.5, (4, 1, 3, 3)).astype(np.float32)
    first[0] *= spread
    if nan:
        first[0, 0, 0, 0] = np.nan
    labels = 2 if independent else 3
    initializers = [
        numpy_helper.from_array(first, "first.weight"),
        weights("first.bias", 4),
        weights("second.weight", 8, 4, 3, 3),
        weights("second.bias", 8),
        weights("head.weight", labels, 8),
        weights("head.bias", labels),
        weights("map.weight", 3, 8, 1, 1),
    ]
    scores = "logits" if independent else "scores"
    nodes = [
        helper.make_node("Conv", ["images", "first.weight", "first.bias"], ["a"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], "relu_1"),
        helper.make_node("MaxPool", ["b"], ["c"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["c", "second.weight", "second.bias"], ["d"], "second", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["d"], ["e"], "relu_2"),
        helper.make_node("GlobalMaxPool", ["e"], ["f"], "strongest"),
        helper.make_node("Flatten", ["f"], ["g"], "flat"),
        helper.make_node("Gemm", ["g", "head.weight", "head.bias"], [scores], "head", transB=1),
        helper.make_node("Conv", ["e", "map.weight"], ["activation_map"], "map"),
    ]
    if independent:
        initializers += [
            numpy_helper.from_array(np.array([1], np.int64), "axis"),
            numpy_helper.from_array(np.array(1, np.float32), "one"),
        ]
        nodes += [
            helper.make_node("Sigmoid", ["logits"], ["defects"], "sigmoid"),
            helper.make_node("ReduceMax", ["defects", "axis"], ["worst"], "worst", keepdims=1),
            helper.make_node("Sub", ["one", "worst"], ["good"], "good"),
            helper.make_node("Concat", ["good", "defects"], ["scores"], "all", axis=1),
        ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 1, PX, PX])],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 3]),
            helper.make_tensor_value_info("activation_map", TensorProto.FLOAT, ["batch", 3, PX // 2, PX // 2]),
        ],
        initializers,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9), str(file))
    return file
