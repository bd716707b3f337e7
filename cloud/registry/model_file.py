"""A model file as its runtime describes it: .tflite or .onnx, loaded on the CPU, one image at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.errors import BadModel, InvalidConfig
from contract.manifest import RuntimeKind


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """`run` takes the preprocessed tensor and gives f32[K], in steps of `step` (0: fine). `shape` and `dtype` are the input's."""

    runtime: RuntimeKind
    precision: str
    shape: tuple[int, ...]
    layout: str
    dtype: str
    run: Callable[[NDArray[Any]], NDArray[np.float32]]
    step: float = 0.0


def load_model(model: Path) -> LoadedModel:
    """Load a model file, with one thread.

    Raises:
        BadModel: it does not load, or is no classifier of one image.
        InvalidConfig: its name says of no known runtime.
    """
    suffix = model.suffix.lower()
    if suffix == ".tflite":
        return load_as(model, RuntimeKind.TFLITE)
    if suffix == ".onnx":
        return load_as(model, RuntimeKind.ONNX)
    raise InvalidConfig(f"'{model.name}' is neither .tflite nor .onnx", hint="export the model to one of the two")


def load_as(model: Path, runtime: RuntimeKind) -> LoadedModel:
    """Load a model file of a known runtime, whatever its name. Raises: as `load_model`."""
    return _load_tflite(model) if runtime is RuntimeKind.TFLITE else _load_onnx(model)


def _load_tflite(model: Path) -> LoadedModel:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise BadModel(f"'{model.name}' needs LiteRT here", hint="pip install 'plumbline-edge[tflite]'") from error
    try:
        interpreter = Interpreter(model_path=str(model), num_threads=1)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError, TypeError, OSError) as error:
        raise BadModel(f"'{model.name}' does not load: {_brief(error)}", hint="export the model again") from error
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if len(inputs) != 1:
        raise BadModel(f"'{model.name}' takes {len(inputs)} inputs, not one image")
    taken = np.dtype(inputs[0]["dtype"])
    if taken not in (np.float32, np.uint8, np.int8):
        raise BadModel(f"'{model.name}' takes {taken}", hint="float32, uint8 and int8 inputs are understood")
    scale, zero = outputs[0]["quantization"]

    def run(tensor: NDArray[Any]) -> NDArray[np.float32]:
        # int8 inputs take the same 256 steps as uint8 ones, from -128.
        filled = (tensor.astype(np.int16) - 128).astype(np.int8) if taken == np.int8 else tensor
        interpreter.set_tensor(inputs[0]["index"], filled)
        interpreter.invoke()
        raw = np.asarray(interpreter.get_tensor(outputs[0]["index"]), np.float32).reshape(-1)
        return np.asarray((raw - np.float32(zero)) * np.float32(scale), np.float32) if scale else raw

    shape = tuple(int(each) for each in inputs[0]["shape"])
    dtype = "float32" if taken == np.float32 else "uint8"
    return LoadedModel(
        RuntimeKind.TFLITE, "fp32" if dtype == "float32" else "int8", shape, "NHWC", dtype, run, float(scale)
    )


def _load_onnx(model: Path) -> LoadedModel:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise BadModel(f"'{model.name}' does not load: {_brief(error)}", hint="export the model again") from error
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise BadModel(f"'{model.name}' takes {len(inputs)} inputs, not one image")
    dtypes = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}
    if inputs[0].type not in dtypes:
        raise BadModel(f"'{model.name}' takes {inputs[0].type}", hint="float32 and uint8 inputs are understood")
    # A batch axis that takes any size is taken as one; other axes must be fixed.
    shape = tuple(1 if i == 0 and not isinstance(n, int) else n for i, n in enumerate(inputs[0].shape))
    if not all(isinstance(each, int) for each in shape):
        raise BadModel(f"'{model.name}' takes {list(shape)}", hint="export it with a fixed height and width")
    layout = "NHWC" if len(shape) == 4 and shape[3] in (1, 3) and shape[1] not in (1, 3) else "NCHW"
    output, given = session.get_outputs()[0].name, inputs[0].name

    def run(tensor: NDArray[Any]) -> NDArray[np.float32]:
        return np.asarray(session.run([output], {given: tensor})[0], np.float32).reshape(-1)

    # Operators are named in the file; one that names no quantization is taken for full precision.
    quantized = b"QuantizeLinear" in model.read_bytes()
    return LoadedModel(RuntimeKind.ONNX, "int8" if quantized else "fp32", shape, layout, dtypes[inputs[0].type], run)


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
