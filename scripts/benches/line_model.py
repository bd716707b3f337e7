"""A model of a realistic cost: a MobileNet of depthwise blocks, 224x224x3, int8 by the product's own quantizer.

Its weights are random: what a frame costs does not hang on them. Only the last layer is fitted, to spread the scores, so that
the thresholds can be set to leave the share of frames unsure that a trained model leaves on the steel images.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from cloud.quantize.artefact_runner import ArtefactRunner
from cloud.quantize.int8 import quantize_int8
from cloud.quantize.ranges import Calibration
from cloud.registry.bundle import BundleContent, build_bundle
from contract.decode import softmax
from contract.manifest import Artefact, OutputKind, RuntimeKind, Thresholds
from contract.preprocess import preprocess
from scripts.benches.line_spec import LABELS, SIDE, SPEC, UNSURE_SHARE

_INPUT, _FEATURES, _SCORES = "images", "features", "scores"
# (output channels, stride) of each depthwise separable block at width 1, as in MobileNet v1.
_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1), (1024, 2))
_STEM = 32


def build_line_bundle(out: Path, images: Sequence[NDArray[np.uint8]], *, width: float) -> Path:
    """Write a bundle with the int8 model of `width` to `out`; return `out`.

    Args:
        images: of the line, u8[H,W]; they calibrate the quantization, the scores and the thresholds.
        width: of the network; its cost grows with the square.
    """
    tensors = [np.asarray(preprocess(image, SPEC), np.float32) for image in images]
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        fp32, int8 = Path(scratch) / "fp32.onnx", Path(scratch) / "int8.onnx"
        onnx.save(_model(width, tensors), str(fp32))
        quantize_int8(fp32, int8, tensors[:8], Calibration.MINMAX)
        confidence = softmax(ArtefactRunner(int8, SPEC, threads=1).scores(images)).max(axis=1)
        content = BundleContent(
            name="bench",
            version=f"{width:g}",
            labels=LABELS,
            preprocess=SPEC,
            artefacts=(Artefact("int8.onnx", RuntimeKind.ONNX, "int8", OutputKind.LOGITS),),
            thresholds=Thresholds(pass_at=0.9, reject_at=float(np.quantile(confidence, UNSURE_SHARE))),
            files={"int8.onnx": int8},
        )
        return build_bundle(content, out, 1_790_000_000.0)[0]


def write_line_model(out: Path, images: Sequence[NDArray[np.uint8]], *, width: float) -> Path:
    """Write the model of `width` in full precision to `out`, its batch axis free as in our exports; return `out`."""
    model = _model(width, [np.asarray(preprocess(image, SPEC), np.float32) for image in images])
    for each in (model.graph.input[0], model.graph.output[0]):
        each.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.save(model, str(out))
    return out


def _model(width: float, tensors: Sequence[NDArray[np.float32]]) -> onnx.ModelProto:
    rng = np.random.default_rng(1)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def constant(name: str, values: NDArray[Any]) -> str:
        weights.append(numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name))
        return name

    def convolve(source: str, inputs: int, outputs: int, kernel: int, stride: int, groups: int) -> str:
        name = f"c{len(nodes)}"
        fan_in = kernel * kernel * inputs // groups
        values = rng.standard_normal((outputs, inputs // groups, kernel, kernel)) * np.sqrt(2 / fan_in)
        nodes.append(
            helper.make_node(
                "Conv",
                [source, constant(f"{name}w", values), constant(f"{name}b", np.zeros(outputs))],
                [f"{name}x"],
                kernel_shape=[kernel, kernel],
                strides=[stride, stride],
                pads=[kernel // 2] * 4,
                group=groups,
            )
        )
        nodes.append(helper.make_node("Relu", [f"{name}x"], [f"{name}y"]))
        return f"{name}y"

    channels = _channels(_STEM, width)
    last = convolve(_INPUT, 3, channels, 3, 2, 1)
    for base, stride in _BLOCKS:
        last = convolve(last, channels, channels, 3, stride, channels)
        outputs = _channels(base, width)
        last = convolve(last, channels, outputs, 1, 1, 1)
        channels = outputs
    nodes.append(helper.make_node("GlobalAveragePool", [last], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], [_FEATURES]))
    body = _graph(nodes, weights, _FEATURES, channels)
    session = onnxruntime.InferenceSession(body.SerializeToString(), providers=["CPUExecutionProvider"])
    features = np.concatenate([session.run(None, {_INPUT: tensor})[0] for tensor in tensors])
    spread = features.std(axis=0)[:, None]
    live = spread > spread.max() / 10
    head = rng.standard_normal((channels, len(LABELS))) * live / np.where(live, spread, 1) * 3 / np.sqrt(live.sum())
    bias = -features.mean(axis=0) @ head
    nodes.append(helper.make_node("Gemm", [_FEATURES, constant("hw", head), constant("hb", bias)], [_SCORES]))
    return _graph(nodes, weights, _SCORES, len(LABELS))


def _channels(base: int, width: float) -> int:
    return max(8, round(base * width / 8) * 8)


def _graph(
    nodes: Sequence[onnx.NodeProto], weights: Sequence[onnx.TensorProto], output: str, size: int
) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "line",
        [helper.make_tensor_value_info(_INPUT, TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, size])],
        list(weights),
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
