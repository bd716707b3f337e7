"""The full-precision models behind released artefacts: what the cloud answers second opinions with."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import msgspec
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from cloud.registry.bundle import open_bundle
from cloud.registry.release import Registry
from contract.decode import Prediction, decode
from contract.errors import BadModel, NotFound
from contract.manifest import Manifest, OutputKind, RuntimeKind
from contract.preprocess import preprocess

# Stations run the running version and, during a rollout, the one before; deferred second opinions may be about one older
# still, and must not push out what a line waits for.
_KEPT = 3


class FullPrecisionModels:
    """Loads the model of the release a station runs, and keeps the last three. Thread-safe."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._loaded: OrderedDict[str, tuple[Any, Manifest, str]] = OrderedDict()
        self._lock = threading.Lock()

    def predict(self, bundle: str, pixels: NDArray[np.uint8]) -> tuple[Prediction, str]:
        """Return (prediction, version) of the full-precision model of the release that `bundle` belongs to.

        Raises:
            NotFound: no release has that bundle, or it has no full-precision model.
            BadImage: the pixels do not fit.
            BadModel: the model failed.
        """
        session, manifest, version = self._load(bundle)
        spec = manifest.preprocess
        if manifest.artefacts[0].runtime is RuntimeKind.TFLITE:
            spec = msgspec.structs.replace(spec, layout="NCHW")  # the model behind a TFLite one is ONNX all the same
        tensor = preprocess(pixels, spec)
        scores = session.run(None, {session.get_inputs()[0].name: tensor})[0]
        independent = manifest.artefacts[0].output is OutputKind.INDEPENDENT
        output = OutputKind.INDEPENDENT if independent else OutputKind.LOGITS
        return decode(np.asarray(scores, np.float32)[0], manifest.labels, output), version

    def _load(self, bundle: str) -> tuple[Any, Manifest, str]:
        with self._lock:
            if bundle in self._loaded:
                self._loaded.move_to_end(bundle)
                return self._loaded[bundle]
            release = self._registry.catalog.by_digest(bundle)
            if release is None or not release.full_precision:
                raise NotFound(
                    f"bundle '{bundle[:12]}' has no full-precision model here", hint="release it with its fp32.onnx"
                )
            manifest, _ = open_bundle(self._registry.blobs.path(bundle))
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            try:
                path = self._registry.blobs.path(release.full_precision)
                session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            except Exception as error:
                raise BadModel(f"the full-precision model of {release.version} does not load: {error}") from error
            self._loaded[bundle] = (session, manifest, release.version)
            while len(self._loaded) > _KEPT:
                self._loaded.popitem(last=False)
            return self._loaded[bundle]
