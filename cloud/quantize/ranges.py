"""Activation ranges: what each tensor of a model was seen to hold on the calibration images."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationMethod
from onnxruntime.quantization.calibrate import TensorData, TensorsData, create_calibrator
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

from cloud.quantize.calibration import TensorReader
from cloud.quantize.quiet import quiet
from cloud.quantize.scheme import RULES, Scheme
from contract.errors import BadModel


class Calibration(str, Enum):
    """How activation ranges are chosen."""

    MINMAX = "minmax"
    ENTROPY = "entropy"
    PERCENTILE = "percentile"


_METHODS = {
    Calibration.MINMAX: CalibrationMethod.MinMax,
    Calibration.ENTROPY: CalibrationMethod.Entropy,
    Calibration.PERCENTILE: CalibrationMethod.Percentile,
}
# A tensor whose values span less than this has no range that 8 bits could be spread over.
_NARROWEST = 1e-8


def op_types_of(scheme: Scheme) -> list[str]:
    """Return the types of node that are quantized under `scheme`."""
    return sorted(RULES[scheme].op_types or {*QLinearOpsRegistry, *QDQRegistry})


def measure_ranges(
    model: onnx.ModelProto, tensors: Sequence[NDArray[Any]], method: Calibration, scheme: Scheme
) -> TensorsData:
    """Return ONNX Runtime's ranges of `model`'s tensors.

    Args:
        tensors: calibration inputs, f32[1,C,h,w] each.
    Raises:
        BadModel: there is nothing to calibrate on, every input is one constant, or the method gave up on them.
    """
    check_inputs(tensors)
    with tempfile.TemporaryDirectory() as scratch, quiet():
        file = Path(scratch) / "model.onnx"
        onnx.save(model, str(file))
        # Percentile is symmetric by itself in ONNX Runtime, whatever the scheme.
        options = {"symmetric": True} if scheme is Scheme.S8S8 else {}
        try:
            calibrator = create_calibrator(
                file,
                op_types_of(scheme),
                augmented_model_path=str(Path(scratch) / "augmented.onnx"),
                calibrate_method=_METHODS[method],
                extra_options=options,
            )
            calibrator.collect_data(TensorReader(model.graph.input[0].name, tensors))
            return calibrator.compute_data()
        except (ValueError, RuntimeError, IndexError, ArithmeticError, AssertionError) as error:
            raise BadModel(
                f"{method.value} calibration failed: {error}",
                hint="use another method, or calibration images that differ more",
            ) from error


def check_inputs(tensors: Sequence[NDArray[Any]]) -> None:
    """Raise BadModel for calibration inputs that no range could be read off."""
    if not tensors:
        raise BadModel("there are no images to calibrate on", hint="raise --images, or train with more images")
    if all(float(tensor.max()) - float(tensor.min()) < _NARROWEST for tensor in tensors):
        raise BadModel(
            f"each of the {len(tensors)} calibration images is one constant grey: no activation range can be read off them",
            hint="calibrate on images like those the line takes",
        )


def constant_tensors(ranges: TensorsData) -> tuple[str, ...]:
    """Return the tensors that held one value on every calibration image: a dead channel, or images that hardly differ."""
    return tuple(
        name
        for name, data in ranges.items()
        if float(np.max(data.range_value[1]) - np.min(data.range_value[0])) < _NARROWEST
    )


def with_ranges(ranges: TensorsData, known: Mapping[str, tuple[float, float]]) -> TensorsData:
    """Return `ranges` with the (lowest, highest) of `known` for the tensors that it names and `ranges` has."""
    data = dict(ranges.items())
    for name, (lowest, highest) in known.items():
        if name in data:
            data[name] = TensorData(lowest=np.array(lowest, np.float32), highest=np.array(highest, np.float32))
    return TensorsData(ranges.calibration_method, data)
