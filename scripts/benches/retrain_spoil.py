"""An int8 model spoilt as careless toolchains spoil them: coarser weights, or activations clipped by a bad calibration."""

from __future__ import annotations

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from cloud.quantize.artefact_runner import ArtefactRunner
from cloud.quantize.golden import golden_tolerance
from cloud.retrain.run_folder import RunFolder
from contract.errors import BadModel
from scripts.benches.retrain_candidates import Rounding

# Levels to each side of 0 in signed weights of that many bits.
_LEVELS = {Rounding.FOUR_BITS: 7, Rounding.THREE_BITS: 3, Rounding.FOUR_BITS_PER_TENSOR: 7}


def spoil_int8(run: RunFolder, rounding: Rounding, share: float) -> None:
    """Make a run's int8.onnx worse in place and let it ship, with golden vectors of its own, as the toolchain would.

    Args:
        share: what activation ranges shrink to, where they are clipped.
    Raises:
        BadModel: the file has nothing of the kind.
    """
    model = onnx.load(str(run.int8))
    if rounding is Rounding.CLIPPED:
        _clip(model, share)
    else:
        _coarsen(model, _LEVELS[rounding], per_tensor=rounding is Rounding.FOUR_BITS_PER_TENSOR)
    onnx.save(model, str(run.int8))
    report = run.quantize_report()
    pixels, _ = run.load_golden()
    spec = run.info().preprocess
    scores = ArtefactRunner(run.int8, spec, threads=1).scores(list(pixels))
    run.save_golden(pixels, scores)
    tolerance = golden_tolerance(scores, ArtefactRunner(run.fp32, spec, threads=1).scores(list(pixels)))
    run.save_quantize_report(msgspec.structs.replace(report, ships=run.int8.name, golden_max_abs_error=tolerance))


def _coarsen(model: onnx.ModelProto, levels: int, *, per_tensor: bool) -> None:
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    done = 0
    for node in model.graph.node:
        codes = constants.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if codes is None or codes.data_type != onnx.TensorProto.INT8:
            continue
        values = numpy_helper.to_array(codes)
        if values.ndim < 2:
            continue
        steps = numpy_helper.to_array(constants[node.input[1]]).astype(np.float64)
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1) % values.ndim
        coarse = _coarse(values, steps, axis, levels, per_tensor=per_tensor)
        codes.CopyFrom(numpy_helper.from_array(coarse, codes.name))
        done += 1
    if done == 0:
        raise BadModel("the int8 model has no int8 weights")


def _coarse(
    codes: NDArray[np.int8], steps: NDArray[np.float64], axis: int, levels: int, *, per_tensor: bool
) -> NDArray[np.int8]:
    """Return codes rounded to `levels` levels a side of their channel's, or the tensor's, largest weight."""
    wide = np.moveaxis(codes.astype(np.float64), axis, 0)
    shape = (-1, *(1,) * (wide.ndim - 1))
    weights = wide * (steps.reshape(shape) if steps.ndim else steps)
    largest = np.abs(weights).max() if per_tensor else np.abs(weights).reshape(len(wide), -1).max(1).reshape(shape)
    grid = np.where(largest > 0, largest, 1.0) / levels
    rounded = np.rint(weights / grid) * grid / (steps.reshape(shape) if steps.ndim else steps)
    return np.asarray(np.moveaxis(np.clip(np.rint(rounded), -127, 127), 0, axis), np.int8)


def _clip(model: onnx.ModelProto, share: float) -> None:
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    done = set()
    for node in model.graph.node:
        # What quantizes an activation is a QuantizeLinear; weights are stored quantized.
        if node.op_type != "QuantizeLinear" or node.input[0] in constants or node.input[1] in done:
            continue
        scale = constants.get(node.input[1])
        if scale is None or node.input[0] == model.graph.input[0].name:
            continue
        done.add(node.input[1])
        scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * np.float32(share), scale.name))
    if not done:
        raise BadModel("the int8 model quantizes no activation")
