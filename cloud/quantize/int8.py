"""fp32 ONNX to int8 ONNX: static QDQ, weights per channel, for CPUs.

Activations are unsigned and weights signed (U8S8): S8S8 on a CPU can be slower than fp32 (PITFALLS). Weights use 7 of their 8
bits: without VNNI, x86 adds two u8*s8 products in 16 bits, and full-range weights saturate there, so the same bundle would
answer differently on different stations.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from cloud.quantize.calibration import TensorReader
from cloud.quantize.weight_rounding import round_convolutions
from cloud.retrain.run_folder import publish
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


# What ONNX Runtime makes of the largest weight of a channel when it may use 7 bits (`reduce_range`).
_WEIGHT_STEPS = 64
# What ONNX Runtime appends to the name of a weight whose codes it stores.
_QUANTIZED = "_quantized"


def quantize_int8(
    fp32: Path, int8: Path, tensors: Sequence[NDArray[Any]], method: Calibration, *, parent: Path | None = None
) -> None:
    """Write the int8 version of `fp32` as `int8`.

    Args:
        tensors: calibration inputs, f32[1,C,h,w] each.
        parent: an int8 model that this function made of the model this one was trained from. Weights keep its codes where they
            can, so that a delta is small; a model that shares no weights with it changes nothing.
    Raises:
        BadModel: the model cannot be quantized this way; the message says why (Percentile gives up with "Too many bins" on
            tensors that hardly vary).
    """
    with tempfile.TemporaryDirectory(dir=int8.parent) as scratch, _quiet():
        prepared, result = Path(scratch) / "prepared.onnx", Path(scratch) / "int8.onnx"
        try:
            quant_pre_process(str(fp32), str(prepared))
            model = onnx.load(str(prepared))
            steps = round_convolutions(model, _WEIGHT_STEPS, _codes_of(parent) if parent else None)
            onnx.save(model, str(prepared))
            name = model.graph.input[0].name
            quantize_static(
                str(prepared),
                str(result),
                TensorReader(name, tensors),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=_METHODS[method],
                extra_options={"TensorQuantOverrides": {name: _channels(each) for name, each in steps.items()}},
            )
        except (ValueError, RuntimeError, IndexError, ArithmeticError, onnx.checker.ValidationError) as error:
            raise BadModel(f"{method.value} calibration failed: {error}", hint="use another method") from error
        publish(result, int8)


def _codes_of(int8: Path) -> dict[str, NDArray[np.int8]]:
    """Return the weights' codes in an int8 model, by the names that they have in the fp32 one."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # with onnx

    try:
        model = onnx.load(str(int8))
    except (OSError, DecodeError) as error:
        raise BadModel(f"the parent's {int8} cannot be read: {error}", hint="quantize the parent again") from error
    return {
        tensor.name.removesuffix(_QUANTIZED): numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if tensor.name.endswith(_QUANTIZED) and tensor.data_type == onnx.TensorProto.INT8
    }


def _channels(steps: NDArray[np.float32]) -> list[dict[str, Any]]:
    """Return what makes ONNX Runtime take these steps for a weight's output channels."""
    return [{"axis": 0, "quant_type": QuantType.QInt8, "scale": step, "zero_point": np.int8(0)} for step in steps]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantizer's chatter away from progress lines, and numpy's warnings about empty histograms from everybody."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), np.errstate(all="ignore"):
            yield
    finally:
        logging.disable(disabled)
