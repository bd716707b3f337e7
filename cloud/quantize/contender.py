"""An artefact that stands before the gate, from a run folder or from an unpacked bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cloud.gate.scorecard import Promise
from cloud.retrain.dataset import Sample
from cloud.retrain.run_folder import RunFolder
from cloud.retrain.run_output import output_of
from contract.decode import softmax
from contract.errors import BadBundle, BadModel, NotFound
from contract.manifest import MANIFEST_NAME, Label, LabelKind, OutputKind, RuntimeKind, Thresholds, decode_manifest
from contract.preprocess import PreprocessSpec

# As contract.decode: an independent label is seen from here.
_SEEN = 0.5


@dataclass(frozen=True, slots=True)
class Contender:
    """The file that ships and everything that gives its scores meaning. `golden`: (pixels, scores), or None. `tightened`: whether
    parts labelled since the calibration images made its threshold stricter; of a bundle that is not known."""

    file: Path
    labels: tuple[Label, ...]
    preprocess: PreprocessSpec
    output: OutputKind
    thresholds: Thresholds
    golden: tuple[NDArray[np.uint8], NDArray[np.float32]] | None
    golden_tolerance: float
    promise: Promise = field(default_factory=Promise)
    tightened: bool = False

    def names(self) -> list[str]:
        """Return the K labels' names."""
        return [label.name for label in self.labels]

    def probabilities(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return probabilities f32[N,K] of scores f32[N,K].

        Raises:
            BadModel: there are not K of them, or some are no numbers.
        """
        if scores.shape[1] != len(self.labels) or not np.isfinite(scores).all():
            raise BadModel(f"{self.file} does not give {len(self.labels)} finite scores an image")
        return softmax(scores) if self.output is OutputKind.LOGITS else scores

    def right(self, scores: NDArray[np.float32], samples: Sequence[Sample]) -> NDArray[np.bool_]:
        """Return bool[N]: which samples the scores name right, by name, so that label orders may differ.

        A part with several defects is named right by any of them.
        """
        named = self.named(scores)
        return np.array([name in labels_of(sample) for name, sample in zip(named, samples, strict=True)], np.bool_)

    def named(self, scores: NDArray[np.float32]) -> list[str]:
        """Return the N labels that lead in the scores."""
        return [self.labels[place].name for place in scores.argmax(1)]

    def finds(self, probabilities: NDArray[np.float32], label: int) -> NDArray[np.bool_]:
        """Return bool[N]: in which images label number `label` is found: it leads, or is seen beside the one that does."""
        leads = probabilities.argmax(1) == label
        if self.output is OutputKind.INDEPENDENT:
            return np.asarray(leads | (probabilities[:, label] >= _SEEN), np.bool_)
        return np.asarray(leads, np.bool_)

    def decisions(self, probabilities: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return (passed, rejected) bool[N], without a person, by the rule of contract.manifest.Thresholds."""
        good = np.array([label.kind is LabelKind.GOOD for label in self.labels])
        leads_good = good[probabilities.argmax(1)]
        if self.output is OutputKind.INDEPENDENT:
            share = 1 - probabilities[:, ~good].max(1, initial=0.0)
        else:
            share = probabilities[:, good].sum(1)
        passed = leads_good & (share >= self.thresholds.pass_at)
        rejected = ~leads_good & (probabilities.max(1) >= self.thresholds.reject_at)
        return np.asarray(passed, np.bool_), np.asarray(rejected, np.bool_)

    def shows_defect(self, samples: Sequence[Sample]) -> NDArray[np.bool_]:
        """Return bool[N]: which samples have a label that means a defect; labels not known here do."""
        good = {label.name for label in self.labels if label.kind is LabelKind.GOOD}
        return np.array([any(name not in good for name in labels_of(sample)) for sample in samples], np.bool_)


def labels_of(sample: Sample) -> tuple[str, ...]:
    """Return every label of a sample."""
    return (sample.entry.label, *sample.entry.also)


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
        report.thresholds,  # what a bundle of this run says for its first artefact
        run.load_golden(),
        report.golden_max_abs_error,
        report.promise,
        any(each.is_tightened() for each in report.artefacts if each.file == report.ships),
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
        manifest.thresholds_of(artefact),
        golden,
        manifest.golden.max_abs_error if manifest.golden else 0.0,
    )
