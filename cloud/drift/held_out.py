"""How a released artefact did on images it never learnt from: what label-based estimates are calibrated on.

Written by the gate as validation.json, shipped in the bundle, read back by the bundle's digest. Older releases and imported
models have none. It belongs to one model file: the sketches of another one must not be judged by it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from contract.errors import BadDataset
from contract.ids import is_digest
from contract.sketches.label_counts import CONFIDENCE_BINS, confidence_bin, confidence_rows
from contract.sketches.window import MAX_LABELS

HELD_OUT_NAME = "validation.json"
HELD_OUT_VERSION = 1
MAX_HELD_OUT_BYTES = 4 << 20
# Counts beyond this are no one's test set, and would leave the range of a double.
_MOST_IMAGES = 1 << 31


class HeldOut(msgspec.Struct, frozen=True):
    """An artefact's answers to the held-out images.

    `artefact` is the model file's SHA-256. `cells` are the confusion counts that are not zero, each (true label, answer, count)
    by place in `labels`. `confidences` counts logit-confidence bins per answered label, as a window does, i64[min(K,16)][64].
    """

    artefact: str
    labels: tuple[str, ...]
    cells: tuple[tuple[int, int, int], ...]
    confidences: tuple[tuple[int, ...], ...]
    held_out_version: int = HELD_OUT_VERSION

    @property
    def images(self) -> int:
        """How many images were held out."""
        return sum(count for _, _, count in self.cells)

    @property
    def accuracy(self) -> float:
        """The share of them that was answered right."""
        return sum(count for truth, answer, count in self.cells if truth == answer) / self.images

    def confusion(self) -> NDArray[np.int64]:
        """Return the confusion counts, i64[K,K]: row is the true label, column the answer."""
        counts = np.zeros((len(self.labels), len(self.labels)), np.int64)
        for truth, answer, count in self.cells:
            counts[truth, answer] = count
        return counts

    def confidence_counts(self) -> NDArray[np.int64]:
        """Return the logit-confidence counts over all answers, i64[64]."""
        return np.asarray(np.array(self.confidences, np.int64).sum(axis=0), np.int64)


def held_out(
    artefact: str, labels: Sequence[str], truth: NDArray[np.int64], probabilities: NDArray[np.float32]
) -> HeldOut | None:
    """Return the record of an artefact's answers; None when none of the images has a label the artefact knows.

    Args:
        artefact: the model file's SHA-256.
        labels: the K labels.
        truth: i64[N], each image's place among the labels; -1 for a label the artefact does not know: left out, for such an
            image can be answered in no way that is right.
        probabilities: f32[N,K].
    """
    known = truth >= 0
    truth, probabilities = truth[known], probabilities[known]
    if len(truth) == 0:
        return None
    answers = probabilities.argmax(1)
    pairs, counts = np.unique(np.stack([truth, answers], axis=1), axis=0, return_counts=True)
    rows = confidence_rows(len(labels))
    confidences = np.zeros((rows, CONFIDENCE_BINS), np.int64)
    for answer, confidence in zip(answers.tolist(), probabilities.max(1).tolist(), strict=True):
        confidences[min(answer, rows - 1), confidence_bin(confidence)] += 1
    cells = tuple((int(t), int(a), int(n)) for (t, a), n in zip(pairs, counts, strict=True))
    return HeldOut(artefact, tuple(labels), cells, tuple(tuple(row) for row in confidences.tolist()))


def encode_held_out(record: HeldOut) -> bytes:
    """Return the record as JSON."""
    return msgspec.json.encode(record)


def decode_held_out(payload: bytes) -> HeldOut:
    """Return the record in `payload`, checked for what the estimates rely on.

    Raises:
        BadDataset: it is none, is of another version, or contradicts itself.
    """
    try:
        record = msgspec.json.decode(payload, type=HeldOut)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadDataset(f"no held-out record: {error}", hint="gate and release the run again") from error
    if record.held_out_version != HELD_OUT_VERSION:
        raise BadDataset(
            f"held-out record version {record.held_out_version} is not {HELD_OUT_VERSION}", hint="update the cloud"
        )
    if (trouble := _trouble(record)) is not None:
        raise BadDataset(f"a held-out record {trouble}", hint="gate and release the run again")
    return record


def _trouble(record: HeldOut) -> str | None:
    labels = len(record.labels)
    places = [(truth, answer) for truth, answer, _ in record.cells]
    if not is_digest(record.artefact):
        return "names no model file"
    if not 1 <= labels <= MAX_LABELS or len(set(record.labels)) != labels:
        return "has no labels, too many, or one twice"
    if not all(0 <= truth < labels and 0 <= answer < labels for truth, answer in places):
        return "counts labels it does not name"
    if len(set(places)) != len(places) or not all(count > 0 for _, _, count in record.cells):
        return "counts a cell twice or not at all"
    if not 1 <= record.images <= _MOST_IMAGES:
        return f"is of {record.images} images"
    if [len(row) for row in record.confidences] != [CONFIDENCE_BINS] * confidence_rows(labels):
        return "has other confidence bins than a window"
    if any(count < 0 for row in record.confidences for count in row):
        return "has negative counts"
    if sum(sum(row) for row in record.confidences) != record.images:
        return "has another number of confidences than of answers"
    return None
