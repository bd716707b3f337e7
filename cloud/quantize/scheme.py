"""How an int8 artefact holds its numbers: which types, how many steps, where the rounding steps stand."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from onnxruntime.quantization import QuantType


class Scheme(str, Enum):
    """U8S8: unsigned activations, weights of 7 bits, for CPUs. S8S8: symmetric, all 8 bits, for TensorRT."""

    U8S8 = "u8s8"
    S8S8 = "s8s8"


@dataclass(frozen=True, slots=True)
class SchemeRules:
    """What ONNX Runtime's quantizer is told for a scheme.

    `weight_steps`: the largest code of a weight. `op_types`: what is quantized, () for all that can be.
    `precision`: what the agent's provider choice knows it by.
    """

    file: str
    weight_steps: int
    activation: QuantType
    reduce_range: bool
    op_types: tuple[str, ...]
    precision: str
    options: dict[str, Any]
    note: str


RULES = {
    # S8S8 on a CPU can be slower than fp32 (PITFALLS). Weights use 7 of their 8 bits: without VNNI, x86 adds two u8*s8 products in
    # 16 bits, and full-range weights saturate there, so the same bundle would answer differently on different stations.
    Scheme.U8S8: SchemeRules(
        "int8.onnx",
        64,
        QuantType.QUInt8,
        True,
        (),
        "int8",
        {},
        "static QDQ, U8S8, weights per channel in 7 bits",
    ),
    # TensorRT takes zero points of 0 and symmetric ranges only, wants what goes *into* a weighted layer quantized and not what
    # comes out of it (or its ReLU no longer fuses), and refuses an int32 bias behind a DequantizeLinear (onnx-tensorrt#850).
    # Weights stored as int8 need a DequantizeLinear alone. Source: TensorRT, "Explicit Quantization", Q/DQ placement.
    Scheme.S8S8: SchemeRules(
        "int8.s8s8.onnx",
        127,
        QuantType.QInt8,
        False,
        ("Conv", "ConvTranspose", "Gemm", "MatMul"),
        "int8-symmetric",
        {
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "CalibTensorRangeSymmetric": True,
            "QuantizeBias": False,
            "OpTypesToExcludeOutputQuantization": ["Conv", "ConvTranspose", "Gemm", "MatMul"],
        },
        "static QDQ, S8S8 symmetric, weights per channel in 8 bits, for TensorRT",
    ),
}
