"""fp32 ONNX to int8 ONNX: static QDQ, weights per channel, in one of two schemes (cloud.quantize.scheme)."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.quant_utils import load_model_with_shape_infer
from onnxruntime.quantization.shape_inference import quant_pre_process

from cloud.quantize.float_parts import float_parts
from cloud.quantize.quiet import quiet
from cloud.quantize.ranges import Calibration, measure_ranges, op_types_of
from cloud.quantize.scheme import RULES, Scheme
from cloud.quantize.temperature import load_model, remove_temperature
from cloud.quantize.weight_rounding import round_convolutions
from cloud.retrain.run_folder import publish
from contract.errors import BadModel

# What ONNX Runtime appends to the name of a weight whose codes it stores.
_QUANTIZED = "_quantized"
# Weights with a scale a channel need it.
_LEAST_OPSET = 13


@dataclass(frozen=True, slots=True)
class Prepared:
    """A full-precision graph ready to be quantized: simplified, without its temperature, every node named.

    `plain`: with the weights as trained; `rounded`: with convolutions rounded for `scheme`; `steps`: those of the channels that
    were rounded beside a parent's; `floats`: nodes that stay in floating point whatever is asked for.
    """

    scheme: Scheme
    plain: onnx.ModelProto
    rounded: onnx.ModelProto
    steps: dict[str, NDArray[np.float32]]
    floats: tuple[str, ...]


def prepare(fp32: Path, scheme: Scheme = Scheme.U8S8, *, parent: Path | None = None) -> Prepared:
    """Return `fp32` prepared for quantization.

    Args:
        parent: an int8 model of the same scheme, made of the model this one was trained from. Weights keep its codes where they
            can, so that a delta is small; a model that shares no weights with it changes nothing.
    Raises:
        BadModel: a file cannot be read, a weight is NaN or infinite, or the opset is older than 13.
    """
    model = load_model(fp32)
    remove_temperature(model)
    _check(model, fp32)
    with tempfile.TemporaryDirectory() as scratch, quiet():
        bare, simple = Path(scratch) / "bare.onnx", Path(scratch) / "simple.onnx"
        onnx.save(model, str(bare))
        try:
            _simplify(bare, simple)
        except (ValueError, RuntimeError, onnx.checker.ValidationError) as error:
            raise BadModel(f"{fp32.name} cannot be simplified: {error}", hint="export it again") from error
        plain = load_model_with_shape_infer(simple)
    for number, node in enumerate(plain.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
    floats = float_parts(plain, stem=scheme is Scheme.U8S8)
    plain = onnx.shape_inference.infer_shapes(plain)
    rounded = onnx.ModelProto()
    rounded.CopyFrom(plain)
    steps = round_convolutions(rounded, RULES[scheme].weight_steps, _codes_of(parent) if parent else None)
    return Prepared(scheme, plain, rounded, steps, floats)


def quantize(prepared: Prepared, ranges: TensorsData, exclude: Collection[str] = ()) -> onnx.ModelProto:
    """Return the int8 model, at temperature 1.

    Args:
        ranges: of `prepared.rounded`, as `measure_ranges` gives them.
        exclude: nodes that stay in full precision, with their weights as trained; so do `prepared.floats`.
    Raises:
        BadModel: a node to exclude is not there, or the quantizer gave up.
    """
    model = onnx.ModelProto()
    model.CopyFrom(prepared.rounded)
    named = {node.name: node for node in model.graph.node}
    unknown = sorted(set(exclude) - set(named))
    if unknown:
        raise BadModel(
            f"the model has no node '{unknown[0]}' to exclude", hint="quantize --debug lists the nodes by their names"
        )
    exclude = {*exclude, *prepared.floats}
    _restore(model, prepared.plain, {name for node in exclude for name in named[node].input})
    rules = RULES[prepared.scheme]
    steps = {name: _channels(each) for name, each in prepared.steps.items() if _is_used(model, name, exclude)}
    with quiet():
        try:
            quantizer = QDQQuantizer(
                model,
                True,
                rules.reduce_range,
                QuantType.QInt8,
                rules.activation,
                ranges,
                [],
                sorted(exclude),
                op_types_of(prepared.scheme),
                {**rules.options, "TensorQuantOverrides": steps},
            )
            quantizer.quantize_model()
            quantizer.model.topological_sort()
        except (ValueError, RuntimeError, IndexError, ArithmeticError, onnx.checker.ValidationError) as error:
            raise BadModel(f"the model cannot be quantized as {prepared.scheme.value}: {error}") from error
    return quantizer.model.model


def quantize_int8(
    fp32: Path,
    int8: Path,
    tensors: Sequence[NDArray[Any]],
    method: Calibration,
    *,
    parent: Path | None = None,
    scheme: Scheme = Scheme.U8S8,
    exclude: Collection[str] = (),
) -> None:
    """Write the int8 version of `fp32` as `int8`.

    Args:
        tensors: calibration inputs, f32[1,C,h,w] each.
        parent, exclude: as `prepare` and `quantize` take them.
    Raises:
        BadModel: the model cannot be quantized this way; the message says why (Percentile gives up with "Too many bins" on
            tensors that hardly vary).
    """
    prepared = prepare(fp32, scheme, parent=parent)
    save_model(quantize(prepared, measure_ranges(prepared.rounded, tensors, method, scheme), exclude), int8)


def save_model(model: onnx.ModelProto, file: Path) -> None:
    """Write a model whole or not at all."""
    temporary = file.with_name(f".{file.name}.tmp")
    onnx.save(model, str(temporary))
    publish(temporary, file)


def _simplify(file: Path, simple: Path) -> None:
    try:
        quant_pre_process(str(file), str(simple))
    except (AttributeError, TypeError, ValueError, AssertionError, RuntimeError, KeyError, IndexError):
        # Its symbolic shapes stumble, and say nothing of it, on reductions whose axes are an input, as opset 18 has
        # them; ONNX's own shape inference, which follows anyway, is enough for all but transformers.
        quant_pre_process(str(file), str(simple), skip_symbolic_shape=True)


def _check(model: onnx.ModelProto, file: Path) -> None:
    opset = max((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), default=0)
    if opset < _LEAST_OPSET:
        raise BadModel(f"{file.name} is of opset {opset}; quantizing needs {_LEAST_OPSET}", hint="export it again")
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and not np.isfinite(numpy_helper.to_array(tensor)).all():
            raise BadModel(
                f"'{tensor.name}' of {file.name} holds NaN or infinite weights",
                hint="training diverged; train again with a smaller --learning-rate",
            )


def _restore(model: onnx.ModelProto, plain: onnx.ModelProto, names: set[str]) -> None:
    """Put back the weights as trained, where a node keeps full precision."""
    trained = {tensor.name: tensor for tensor in plain.graph.initializer}
    for tensor in model.graph.initializer:
        if tensor.name in names:
            tensor.CopyFrom(trained[tensor.name])


def _is_used(model: onnx.ModelProto, name: str, exclude: Collection[str]) -> bool:
    return any(name in node.input and node.name not in exclude for node in model.graph.node)


def _codes_of(int8: Path) -> dict[str, NDArray[np.int8]]:
    """Return the weights' codes in an int8 model, by the names that they have in the fp32 one."""
    try:
        model = load_model(int8)
    except BadModel as error:
        raise BadModel(f"the parent's {error.message}", hint="quantize the parent again") from error
    return {
        tensor.name.removesuffix(_QUANTIZED): numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if tensor.name.endswith(_QUANTIZED) and tensor.data_type == onnx.TensorProto.INT8
    }


def _channels(steps: NDArray[np.float32]) -> list[dict[str, Any]]:
    """Return what makes ONNX Runtime take these steps for a weight's output channels."""
    return [{"axis": 0, "quant_type": QuantType.QInt8, "scale": step, "zero_point": np.int8(0)} for step in steps]
