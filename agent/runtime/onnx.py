"""ONNX Runtime on the CPU, at a fixed number of threads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.errors import BadModel
from contract.preprocess import PreprocessSpec

_DTYPES = {"float32": "tensor(float)", "uint8": "tensor(uint8)"}
_FAULTS = (
    "Fail",
    "InvalidArgument",
    "NoSuchFile",
    "NoModel",
    "EngineError",
    "RuntimeException",
    "InvalidProtobuf",
    "ModelLoaded",
    "NotImplemented",
    "InvalidGraph",
    "EPFail",
)


class OnnxRuntime:
    """One ONNX artefact in an ONNX Runtime session, checked against its manifest and warmed by one run on zeros."""

    def __init__(self, path: Path, spec: PreprocessSpec, labels: int, *, threads: int = 1) -> None:
        """Load `path`.

        Raises:
            BadModel: ONNX Runtime is missing, the file is no model, or its input or output is not what the manifest says.
        """
        try:
            import onnxruntime
            from onnxruntime.capi import onnxruntime_pybind11_state as state
        except ImportError as error:
            raise BadModel(
                f"'{path.name}' needs ONNX Runtime, which does not import: {error}",
                hint="pip install 'plumbline-edge[agent]'",
            ) from error
        # ONNX Runtime's exceptions share no base but Exception.
        named = (getattr(state, name, None) for name in _FAULTS)
        self._faults: tuple[type[Exception], ...] = (RuntimeError, ValueError, *(f for f in named if f is not None))
        self._name = path.name
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        # A spinning pool burns a whole core between frames; a station has other work for it.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4
        try:
            self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except self._faults as error:
            raise BadModel(f"'{path.name}' does not load: {_brief(error)}", hint="export the model again") from error
        self._input, self._output = self._check_input(spec), self._session.get_outputs()[0].name
        shape = input_shape(spec)
        scores = self.run(np.zeros(shape, np.dtype(spec.dtype)))
        if scores.shape != (labels,):
            raise BadModel(
                f"'{path.name}' gives {scores.size} scores, the manifest has {labels} labels",
                hint="make the bundle with the labels the model was trained on",
            )

    def run(self, tensor: NDArray[Any]) -> NDArray[np.float32]:
        """Return scores f32[K] for one preprocessed frame.

        Raises:
            BadModel: ONNX Runtime failed on this input.
        """
        if self._session is None:
            raise BadModel(f"'{self._name}' is closed")
        try:
            (scores,) = self._session.run([self._output], {self._input: tensor})
        except self._faults as error:
            raise BadModel(f"'{self._name}' failed: {_brief(error)}") from error
        return np.asarray(scores, np.float32).reshape(-1)

    def close(self) -> None:
        """Free the model's memory."""
        self._session = None

    def _check_input(self, spec: PreprocessSpec) -> str:
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise BadModel(f"'{self._name}' takes {len(inputs)} inputs, not one image")
        given, wanted = inputs[0], input_shape(spec)
        if given.type != _DTYPES.get(spec.dtype):
            raise BadModel(f"'{self._name}' takes {given.type}, the manifest prepares {spec.dtype}")
        # A symbolic axis (a name, or None) takes any size.
        fits = len(given.shape) == 4 and all(
            not isinstance(g, int) or g == w for g, w in zip(given.shape, wanted, strict=True)
        )
        if not fits:
            raise BadModel(f"'{self._name}' takes {given.shape}, the manifest prepares {list(wanted)}")
        return str(given.name)


def input_shape(spec: PreprocessSpec) -> tuple[int, int, int, int]:
    """Return the shape of `preprocess`'s answer for `spec`."""
    if spec.layout == "NCHW":
        return (1, spec.channels, spec.height, spec.width)
    return (1, spec.height, spec.width, spec.channels)


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
