"""The full-precision models behind released artefacts: what the cloud answers second opinions with."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from cloud.registry.bundle import open_bundle
from cloud.registry.release import Registry
from contract.decode import Prediction, decode
from contract.errors import BadModel, NotFound, PlumblineError
from contract.manifest import Manifest, OutputKind, RuntimeKind
from contract.preprocess import preprocess


class FullPrecisionModel:
    """`cloud.ports.registry.SecondModel` in ONNX Runtime, on the CPU and one thread. Thread-safe."""

    def __init__(self, session: Any, manifest: Manifest, version: str) -> None:
        self._session, self._labels = session, manifest.labels
        self._input = session.get_inputs()[0]
        spec = manifest.preprocess
        if manifest.artefacts[0].runtime is RuntimeKind.TFLITE:
            spec = msgspec.structs.replace(spec, layout="NCHW")  # the model behind a TFLite one is ONNX all the same
        self._spec = spec
        independent = manifest.artefacts[0].output is OutputKind.INDEPENDENT
        self._output = OutputKind.INDEPENDENT if independent else OutputKind.LOGITS
        self.version = version
        # Ours are exported with a free batch axis (`cloud.retrain.export`); an imported graph may have it fixed, at 1.
        shape = self._input.shape
        self.batches = bool(shape) and not isinstance(shape[0], int)

    def tensor(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """Return the model's input for one image, [1,...]."""
        return preprocess(pixels, self._spec)

    def blank(self) -> NDArray[Any]:
        """Return the input that a black image comes to."""
        return preprocess(np.zeros((self._spec.height, self._spec.width), np.uint8), self._spec)

    def predict(self, tensors: NDArray[Any]) -> list[Prediction | PlumblineError]:
        """Return what the model says of each of `tensors`, [N,...], or why it says nothing of one.

        Raises whatever the runtime does.
        """
        scores = np.asarray(self._session.run(None, {self._input.name: tensors})[0], np.float32)
        if len(scores) != len(tensors):
            raise BadModel(f"the model of {self.version} gave {len(scores)} answers to {len(tensors)} images")
        return [self._decoded(each) for each in scores]

    def _decoded(self, scores: NDArray[np.float32]) -> Prediction | PlumblineError:
        try:
            return decode(scores, self._labels, self._output)
        except BadModel as error:  # NaN for one image says nothing of those beside it
            return error


class FullPrecisionModels:
    """`cloud.ports.registry.FullPrecision` from the registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def load(self, bundle: str) -> FullPrecisionModel:
        """Load the full-precision model of the release that `bundle` belongs to.

        Raises:
            NotFound: no release has that bundle, or it has no full-precision model.
            BadModel: it does not load.
        """
        release = self._registry.catalog.by_digest(bundle)
        if release is None or not release.full_precision:
            hint = "release it with its fp32.onnx"
            raise NotFound(f"bundle '{bundle[:12]}' has no full-precision model here", hint=hint)
        manifest, _ = open_bundle(self._registry.blobs.path(bundle))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        try:
            path = self._registry.blobs.path(release.full_precision)
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise BadModel(f"the full-precision model of {release.version} does not load: {error}") from error
        return FullPrecisionModel(session, manifest, release.version)
