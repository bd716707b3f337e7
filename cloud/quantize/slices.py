"""A run's dataset by what each part of it decides in quantization."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cloud.quantize.calibration import stratified
from cloud.quantize.measure import share_equal
from cloud.quantize.new_look import LookScores, looks_of
from cloud.retrain.dataset import Dataset, Sample
from cloud.retrain.reviewed import is_reviewed
from cloud.retrain.run_records import Split
from contract.decode import softmax
from contract.errors import BadDataset
from contract.manifest import Label, LabelKind, OutputKind


class Slices:
    """`judging` chooses among artefacts, `measuring` is what figures are of, `drift` the drifted slice. The holdout chooses
    nothing."""

    def __init__(self, dataset: Dataset, output: OutputKind) -> None:
        """Divide a dataset whose models answer `output`.

        Raises:
            BadDataset: there are no training images.
        """
        self.output = output
        self.labels: tuple[Label, ...] = tuple(dataset.labels)
        self._index_of = dataset.index_of()
        self.train = dataset.of_split(Split.TRAIN)
        held = dataset.of_split(Split.CALIBRATION)
        # Without a calibration split the training images must do; the holdout never chooses anything.
        self.judging = held or self.train
        self.judged_on_training = not held
        self.measuring = dataset.of_split(Split.HOLDOUT) or self.judging
        self.drift = dataset.of_split(Split.DRIFT)
        self.looks = looks_of([s.entry for s in dataset.samples], self.drift)
        if not self.judging or not self.train:
            raise BadDataset("the run's dataset has no training images", hint="train again")
        self.judging_pixels = [s.pixels for s in self.judging]
        self.measuring_pixels = [s.pixels for s in self.measuring]

    def truth(self, samples: list[Sample]) -> NDArray[np.int64]:
        """Return the place of each sample's (first) label, i64[N]."""
        return np.array([self._index_of[s.entry.label] for s in samples], np.int64)

    def every(self, samples: list[Sample]) -> NDArray[np.float32]:
        """Return f32[N,K]: 1 where a sample has the label, be it as a further one."""
        marks = np.zeros((len(samples), len(self.labels)), np.float32)
        for row, sample in zip(marks, samples, strict=True):
            row[[self._index_of[name] for name in (sample.entry.label, *sample.entry.also)]] = 1.0
        return marks

    def right(self, scores: NDArray[np.float32], samples: list[Sample]) -> NDArray[np.bool_]:
        """Return bool[N]: whether the largest score is of a label that the sample has."""
        return np.asarray(self.every(samples)[np.arange(len(samples)), scores.argmax(1)] > 0, np.bool_)

    def accuracy(self, scores: NDArray[np.float32], samples: list[Sample]) -> float:
        """Return the share of samples that scores f32[N,K] name right."""
        return share_equal(self.right(scores, samples), np.ones(len(samples), np.bool_))

    def probabilities(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return probabilities f32[N,K] of scores."""
        return softmax(scores) if self.output is OutputKind.LOGITS else np.clip(scores, 0.0, 1.0)

    def good_mass(self, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return f32[N]: how sure a model is that a part is good, as contract.decode says it."""
        good = np.array([label.kind is LabelKind.GOOD for label in self.labels])
        if self.output is OutputKind.INDEPENDENT:
            worst = probabilities[:, ~good].max(axis=1, initial=0.0)
            return np.asarray(1.0 - worst if good.any() else np.zeros(len(worst)), np.float32)
        return np.asarray(probabilities[:, good].sum(1), np.float32)

    def look_scores(self, answer: Callable[[list[NDArray[np.uint8]]], NDArray[np.float32]]) -> list[LookScores]:
        """Return what a model says of each look that has parts. `answer`: its scores f32[N,K] of images."""
        good = np.array([label.kind is LabelKind.GOOD for label in self.labels])
        found = []
        for look in self.looks:
            if look.samples:
                probabilities = self.probabilities(answer([s.pixels for s in look.samples]))
                is_defect = np.asarray((self.every(list(look.samples))[:, ~good] > 0).any(1), np.bool_)
                could_pass = np.asarray(good[probabilities.argmax(1)], np.bool_)
                found.append(LookScores(could_pass, self.good_mass(probabilities), is_defect))
        return found

    def calibrating(self, count: int, seed: int) -> list[Sample]:
        """Return images for calibration; reviewed ones get half, since int8 ranges must cover the drifted frames too."""
        reviewed = [s for s in self.train if is_reviewed(s.entry)]
        base = [s for s in self.train if not is_reviewed(s.entry)]
        some = stratified(reviewed, count // 2, seed)
        return stratified(base, count - len(some), seed) + some
