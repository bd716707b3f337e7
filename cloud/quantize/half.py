"""fp32 ONNX to fp16 ONNX: half the bytes, for GPUs; input and output stay f32."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16

from cloud.quantize.quiet import quiet
from cloud.quantize.temperature import load_model, remove_temperature
from contract.errors import BadModel


def to_half(fp32: Path) -> onnx.ModelProto:
    """Return `fp32` with weights and activations in 16 bits, at temperature 1.

    Raises:
        BadModel: it cannot be read, or has something that 16 bits do not hold.
    """
    model = load_model(fp32)
    remove_temperature(model)
    with quiet():
        try:
            half: onnx.ModelProto = convert_float_to_float16(model, keep_io_types=True)
        except (ValueError, RuntimeError, AttributeError, onnx.checker.ValidationError) as error:
            raise BadModel(f"{fp32.name} cannot be made fp16: {error}", hint="leave --fp16 out") from error
    return half
