"""TensorFlow Lite models of one operator, built from LiteRT's own schema: bright images are "good", dark ones "scratch"."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tests.tiny_bundle import LABELS

SIDE = 8


def tflite_bytes(*, dtype: str = "float32", gain: float = 20.0, outputs: int = 2, side: int = SIDE) -> bytes:
    """Return a model of one image `dtype`[1,side,side,1].

    float32 gives logits, as `tests.tiny_bundle.model_bytes` does; another type ("int16", "int32", "float64", "bool") is only
    reshaped, which is enough to be refused.
    """
    flat = side * side
    kind = {name: getattr(schema.TensorType, name.upper()) for name in ("float32", "int16", "int32", "float64", "bool")}
    buffers, tensors = [schema.BufferT()], []

    def tensor(name: str, shape: tuple[int, ...], of: str, data: Any = None) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, list(shape), kind[of], 0
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            buffers.append(buffer)
            made.buffer = len(buffers) - 1
        tensors.append(made)
        return len(tensors) - 1

    operator, code = schema.OperatorT(), schema.OperatorCodeT()
    image = tensor("image", (1, side, side, 1), dtype)
    if dtype == "float32":
        weights = np.zeros((outputs, flat), np.float32)
        weights[0], weights[1] = gain / flat, -gain / flat
        bias = np.zeros(outputs, np.float32)
        bias[:2] = (-gain / 2, gain / 2)
        operator.inputs = [
            image,
            tensor("weights", weights.shape, dtype, weights),
            tensor("bias", bias.shape, dtype, bias),
        ]
        operator.outputs = [tensor("scores", (1, outputs), dtype)]
        operator.builtinOptionsType, operator.builtinOptions = (
            schema.BuiltinOptions.FullyConnectedOptions,
            schema.FullyConnectedOptionsT(),
        )
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    else:
        shape = np.array([1, flat], np.int32)
        operator.inputs = [image, tensor("shape", (2,), "int32", shape)]
        operator.outputs = [tensor("scores", (1, flat), dtype)]
        operator.builtinOptionsType, operator.builtinOptions = (
            schema.BuiltinOptions.ReshapeOptions,
            schema.ReshapeOptionsT(),
        )
        operator.builtinOptions.newShape = shape
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.RESHAPE
    code.version = 1
    graph = schema.SubGraphT()
    graph.tensors, graph.operators = tensors, [operator]
    graph.inputs, graph.outputs = [image], operator.outputs
    model = schema.ModelT()
    model.version, model.description = 3, "tiny"
    model.operatorCodes, model.subgraphs, model.buffers = [code], [graph], buffers
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


assert len(LABELS) == 2
