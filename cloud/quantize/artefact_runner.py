"""Runs an ONNX artefact over many images, with the preprocessing that the device uses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from contract.errors import BadModel
from contract.preprocess import PreprocessSpec, preprocess

_BATCH = 32


class ArtefactRunner:
    """An ONNX file and its preprocessing, ready to score images.

    Models with a fixed batch of 1 are run image by image.
    """

    def __init__(self, file: Path, spec: PreprocessSpec, *, threads: int = 2) -> None:
        """Load the artefact.

        Raises:
            BadModel: the file is missing or does not load.
        """
        self.file = file
        self.spec = spec
        self._session = open_session(file, threads=threads)
        first = self._session.get_inputs()[0]
        self._input = first.name
        # Further outputs (an embedding, an activation map) cost time and are nobody's here.
        self._output = self._session.get_outputs()[0].name
        self._batch = _BATCH if not isinstance(first.shape[0], int) else 1

    def scores(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return scores f32[N,K] of images u8[H,W] or u8[H,W,C].

        Raises:
            BadImage: an image that preprocessing refuses.
            BadModel: the model refuses its input, or answers something other than one row an image.
        """
        if len(images) == 0:
            raise BadModel(f"{self.file.name} was given no images to score")
        rows = []
        for start in range(0, len(images), self._batch):
            tensors = [preprocess(image, self.spec) for image in images[start : start + self._batch]]
            rows.append(self._run(np.concatenate(tensors)))
        return np.concatenate(rows)

    def _run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        try:
            scores = np.asarray(self._session.run([self._output], {self._input: batch})[0])
        except _ORT_ERRORS as error:
            raise BadModel(f"{self.file.name} refused its input: {error}", hint="check its preprocessing") from error
        if scores.ndim != 2 or len(scores) != len(batch):
            raise BadModel(f"{self.file.name} answered {list(scores.shape)} for {len(batch)} images")
        return np.asarray(scores, np.float32)


def open_session(file: Path, *, threads: int) -> onnxruntime.InferenceSession:
    """Return a CPU session that does not spin while it waits.

    Raises:
        BadModel: the file is missing or does not load.
    """
    if not file.exists():
        raise BadModel(f"{file} is not there", hint="train and quantize the run first")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning workers take a core from whoever shares this machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except _ORT_ERRORS as error:
        raise BadModel(f"{file} does not load: {error}", hint="export or quantize it again") from error


_state = onnxruntime.capi.onnxruntime_pybind11_state
_ORT_ERRORS = (
    _state.Fail,
    _state.InvalidArgument,
    _state.InvalidProtobuf,
    _state.InvalidGraph,
    _state.NotImplemented,
    RuntimeError,
)
