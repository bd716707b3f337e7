"""An artefact that stands before the gate, from a run folder or from an unpacked bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cloud.retrain.dataset import Sample
from cloud.retrain.run_folder import RunFolder
from cloud.retrain.run_output import output_of
from contract.decode import softmax
from contract.errors import BadBundle, BadModel, NotFound
from contract.manifest import MANIFEST_NAME, Label, OutputKind, RuntimeKind, Thresholds, decode_manifest
from contract.preprocess import PreprocessSpec


@dataclass(frozen=True, slots=True)
class Contender:
    """The file that ships and everything that gives its scores meaning. `golden`: (pixels, scores), or None."""

    file: Path
    labels: tuple[Label, ...]
    preprocess: PreprocessSpec
    output: OutputKind
    thresholds: Thresholds
    golden: tuple[NDArray[np.uint8], NDArray[np.float32]] | None
    golden_tolerance: float

    def probabilities(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return probabilities f32[N,K] of scores f32[N,K].

        Raises:
            BadModel: there are not K of them, or some are no numbers.
        """
        if scores.shape[1] != len(self.labels) or not np.isfinite(scores).all():
            raise BadModel(f"{self.file} does not give {len(self.labels)} finite scores an image")
        return softmax(scores) if self.output is OutputKind.LOGITS else scores

    def right(self, scores: NDArray[np.float32], samples: Sequence[Sample]) -> NDArray[np.bool_]:
        """Return bool[N]: which samples the scores name right, by name, so that label orders may differ."""
        names = np.array([label.name for label in self.labels])
        return np.asarray(names[scores.argmax(1)] == np.array([s.entry.label for s in samples]), np.bool_)


def load_contender(folder: Path) -> Contender:
    """Return the artefact that ships from a quantized run or an unpacked bundle.

    Raises:
        NotFound: the folder is neither.
        BadBundle, BadDataset: it is damaged.
    """
    if (folder / MANIFEST_NAME).exists():
        return _from_bundle(folder)
    run = RunFolder(folder)
    info, report = run.info(), run.quantize_report()
    return Contender(
        folder / report.ships,
        info.labels,
        info.preprocess,
        output_of(info),
        report.thresholds,
        run.load_golden(),
        report.golden_max_abs_error,
    )


def _from_bundle(folder: Path) -> Contender:
    try:
        manifest = decode_manifest((folder / MANIFEST_NAME).read_bytes())
    except OSError as error:
        raise NotFound(
            f"cannot read {folder / MANIFEST_NAME}: {error.strerror}", hint="unpack the bundle again"
        ) from error
    artefact = manifest.artefacts[0]
    if artefact.runtime is not RuntimeKind.ONNX:
        raise BadModel(
            f"the incumbent's artefact {artefact.file} is {artefact.runtime.value}, which the gate does not run",
            hint="gate against a run or a bundle with an ONNX artefact",
        )
    golden = None
    if manifest.golden is not None:
        try:
            with np.load(folder / manifest.golden.file, allow_pickle=False) as arrays:
                golden = np.asarray(arrays["pixels"], np.uint8), np.asarray(arrays["scores"], np.float32)
        except (OSError, ValueError, KeyError) as error:
            raise BadBundle(f"{folder / manifest.golden.file} is damaged: {error}", hint="unpack it again") from error
    return Contender(
        folder / artefact.file,
        manifest.labels,
        manifest.preprocess,
        artefact.output,
        manifest.thresholds,
        golden,
        manifest.golden.max_abs_error if manifest.golden else 0.0,
    )
