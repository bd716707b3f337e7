"""ONNX models of 8 x 8 grey images that go wrong, each in its way; each is a valid model that ONNX Runtime loads (or tries to)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.tiny_bundle import model_bytes

# More than any machine has, in one tensor: f32[2^40].
_TOO_MANY = 1 << 40


def _scored(nodes: list[onnx.NodeProto], *constants: onnx.TensorProto) -> bytes:
    """Return a model whose `nodes` make "scores" f32[1,2] of "image" f32[1,1,8,8]."""
    graph = helper.make_graph(
        nodes,
        "odd",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 2])],
        list(constants),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def _array(name: str, values: object, dtype: type = np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values, dtype), name)


def all_pass() -> bytes:
    """Return a model that is sure of "good", whatever it sees."""
    return _scored(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("Gemm", ["flat", "nothing", "sure"], ["scores"]),
        ],
        _array("nothing", np.zeros((64, 2))),
        _array("sure", [9.0, -9.0]),
    )


def swapped() -> bytes:
    """Return a model that names each label by the other."""
    return model_bytes(gain=-20.0)


def not_a_number() -> bytes:
    """Return a model that answers NaN of all but bright images: the logarithm of mean - 0.7."""
    return _scored(
        [
            helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("Sub", ["flat", "least"], ["less"]),
            helper.make_node("Log", ["less"], ["log"]),
            helper.make_node("Gemm", ["log", "nothing", "sure"], ["scores"]),
        ],
        _array("least", [[0.7]]),
        _array("nothing", np.zeros((1, 2))),
        _array("sure", [9.0, -9.0]),
    )


def grows(values: int = _TOO_MANY, *, at_load: bool = False) -> bytes:
    """Return the tiny model with a detour over a tensor f32[`values`]: made for each frame, or (folded) as it is loaded."""
    shape = (
        [helper.make_node("Identity", ["many"], ["shape"])]
        if at_load
        else [
            helper.make_node("ReduceMax", ["image"], ["peak"], keepdims=0),
            helper.make_node("Mul", ["peak", "zero"], ["still"]),
            helper.make_node("Cast", ["still"], ["whole"], to=TensorProto.INT64),
            helper.make_node("Add", ["many", "whole"], ["shape"]),
        ]
    )
    return _scored(
        [
            *shape,
            helper.make_node("ConstantOfShape", ["shape"], ["big"], value=_array("value", [1.0])),
            helper.make_node("ReduceMin", ["big"], ["one"], keepdims=0),
            helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
            helper.make_node("Mul", ["pooled", "one"], ["weighed"]),
            helper.make_node("Flatten", ["weighed"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weights", "bias"], ["scores"]),
        ],
        _array("many", [values], np.int64),
        _array("zero", 0.0),
        _array("weights", [[20.0, -20.0]]),
        _array("bias", [-10.0, 10.0]),
    )


def slow(turns: int = 2_000_000) -> bytes:
    """Return the tiny model with a loop of `turns` turns that nothing can fold away."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["goes_on"]),
            helper.make_node("Mul", ["value", "shrink"], ["next"]),
        ],
        "turn",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, [1, 1, 1, 1]),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [1, 1, 1, 1]),
        ],
        [_array("shrink", 1.0)],
    )
    return _scored(
        [
            helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
            helper.make_node("Loop", ["turns", "", "pooled"], ["late"], body=body),
            helper.make_node("Flatten", ["late"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weights", "bias"], ["scores"]),
        ],
        _array("turns", turns, np.int64),
        _array("weights", [[20.0, -20.0]]),
        _array("bias", [-10.0, 10.0]),
    )


ODD: dict[str, Callable[[], bytes]] = {
    "all pass": all_pass,
    "swapped": swapped,
    "not a number": not_a_number,
    "grows": grows,
    "slow": slow,
}
