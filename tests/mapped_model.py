"""A model that says where it looks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_mapped_model(path: Path, maps: int = 2) -> Path:
    """Write a model whose map of label 0 is the image itself, of label 1 its negative; scores are their maxima."""
    weights = np.array([1.0, -1.0, 0.5, 0.25][:maps], np.float32).reshape(maps, 1, 1, 1)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "weights"], ["map"]),
            helper.make_node("GlobalMaxPool", ["map"], ["most"]),
            helper.make_node("Flatten", ["most"], ["every"]),
            helper.make_node("Slice", ["every", "zero", "two", "one"], ["scores"]),
        ],
        "mapped",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 8, 8])],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 2]),
            helper.make_tensor_value_info("map", TensorProto.FLOAT, [1, maps, 8, 8]),
        ],
        [
            numpy_helper.from_array(weights, "weights"),
            *(
                numpy_helper.from_array(np.array([n], np.int64), name)
                for name, n in (("zero", 0), ("two", 2), ("one", 1))
            ),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path
