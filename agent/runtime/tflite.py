"""LiteRT (TensorFlow Lite): quantized inputs are filled, quantized outputs read back as float32 scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.errors import BadModel
from contract.preprocess import PreprocessSpec


class TfliteRuntime:
    """One `.tflite` artefact in a LiteRT interpreter, checked against its manifest and warmed by one run on zeros."""

    def __init__(self, path: Path, spec: PreprocessSpec, labels: int, *, threads: int = 1) -> None:
        """Load `path`.

        Raises:
            BadModel: no LiteRT is installed, the file is no model, or its input or output is not what the manifest says.
        """
        self._name = path.name
        make = _interpreter_class(path.name)
        try:
            self._interpreter: Any = make(model_path=str(path), num_threads=threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError, TypeError, OSError) as error:
            raise BadModel(
                f"'{path.name}' does not load: {' '.join(str(error).split())[:300]}", hint="export the model again"
            ) from error
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        if len(inputs) != 1:
            raise BadModel(f"'{path.name}' takes {len(inputs)} inputs, not one image")
        self._input, self._output = inputs[0], outputs[0]
        wanted = (1, spec.height, spec.width, spec.channels)
        shape = tuple(int(n) for n in self._input["shape"])
        if shape != wanted or spec.layout != "NHWC":
            raise BadModel(
                f"'{path.name}' takes {list(shape)} NHWC, the manifest prepares {list(wanted)} {spec.layout}"
            )
        self._dtype = np.dtype(self._input["dtype"])
        if self._dtype not in (np.float32, np.uint8, np.int8):
            raise BadModel(f"'{path.name}' takes {self._dtype}", hint="float32, uint8 and int8 inputs are understood")
        if self._dtype == np.float32 and spec.dtype != "float32":
            raise BadModel(f"'{path.name}' takes float32, the manifest prepares {spec.dtype}")
        scores = self.run(np.zeros(wanted, np.dtype(spec.dtype)))
        if scores.shape != (labels,):
            raise BadModel(
                f"'{path.name}' gives {scores.size} scores, the manifest has {labels} labels",
                hint="make the bundle with the labels the model was trained on",
            )

    def run(self, tensor: NDArray[Any]) -> NDArray[np.float32]:
        """Return scores f32[K] for one preprocessed frame: dequantized by the output's scale and zero point.

        Raises:
            BadModel: LiteRT failed on this input.
        """
        if self._interpreter is None:
            raise BadModel(f"'{self._name}' is closed")
        try:
            self._interpreter.set_tensor(self._input["index"], self._fill(tensor))
            self._interpreter.invoke()
            raw = self._interpreter.get_tensor(self._output["index"])
        except (ValueError, RuntimeError) as error:
            raise BadModel(f"'{self._name}' failed: {' '.join(str(error).split())[:300]}") from error
        scale, zero = self._output["quantization"]
        scores = np.asarray(raw, np.float32).reshape(-1)
        return np.asarray((scores - np.float32(zero)) * np.float32(scale), np.float32) if scale else scores

    def activation_map(self, index: int) -> NDArray[np.float32] | None:
        """Return None: TFLite models are exported without a map."""
        return None

    def close(self) -> None:
        """Free the model's memory."""
        self._interpreter = None

    def _fill(self, tensor: NDArray[Any]) -> NDArray[Any]:
        if tensor.dtype == self._dtype:
            return tensor
        if tensor.dtype == np.uint8:  # raw bytes into an int8 input: the same 256 steps, from -128
            return (tensor.astype(np.int16) - 128).astype(np.int8)
        scale, zero = self._input["quantization"]
        limits = np.iinfo(self._dtype)
        steps = np.rint(tensor / np.float32(scale or 1.0)) + zero
        filled: NDArray[Any] = np.clip(steps, limits.min, limits.max).astype(self._dtype)
        return filled


def _interpreter_class(name: str) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        # tflite-runtime 2.14 imports beside numpy 2 and then fails in its interpreter: only the older numpy will do.
        if int(np.__version__.split(".")[0]) < 2:
            try:
                from tflite_runtime.interpreter import Interpreter as Older
            except ImportError:
                pass
            else:
                return Older
        raise BadModel(
            f"'{name}' needs LiteRT, which is not installed", hint="pip install 'plumbline-edge[tflite]'"
        ) from None
    return Interpreter
