"""Golden vectors: a few small inputs, the answers a device must give to them, and how far off those may be.

They travel in every update, so they are few (one a label, at least eight), little larger than the model's input, and of sixteen
grey levels, which halves what they take again; any image will do whose answer is known. They are larger than the input so that
a device's resizing is tested too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cloud.quantize.artefact_runner import ArtefactRunner
from cloud.quantize.calibration import stratified
from cloud.retrain.dataset import Sample
from contract.preprocess import PreprocessSpec, resize, to_channels

MIN_INPUTS = 8
MAX_INPUTS = 64
_TRIED = 4  # times as many images are looked at as are taken
_ENLARGED = 1.25

# Shares of the scores' range. Measured on a steel model (ARCHITECTURE): int8 activations rounded by chance instead of to the
# nearest move a score by 1 % of the range, cut off instead of rounded (a wrong kernel) by 4 %, a weight scale 10 % off by 7 %.
_INT8_LEAST, _INT8_MOST = 0.02, 0.05
_FLOAT_SHARE = 0.01
_LEAST = 1e-3


def choose_golden(
    runner: ArtefactRunner,
    samples: Sequence[Sample],
    labels: Sequence[str],
    *,
    seed: int,
    parent: tuple[NDArray[np.uint8], NDArray[np.float32]] | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return (pixels u8[N,h,w] or u8[N,h,w,C], scores f32[N,K]): N is one a label, at least 8, at most 64, or all there are.

    Images that the artefact names right even when made small come first, so that every label it can tell is among its answers.

    Args:
        samples: images that the artefact was not trained on, as far as there are such.
        labels: in the order of the scores.
        parent: what this function returned for the model that the artefact was trained from, of the same preprocessing and
            labels. Its pixels are taken again, for a delta to copy, but for those that must make room for a label which the
            artefact names none of them.
    """
    if parent is None:
        return _choose(runner, samples, labels, seed)
    pixels, scores = parent[0].copy(), runner.scores(list(parent[0]))
    answers, before = scores.argmax(1), parent[1].argmax(1)
    missing = set(before.tolist()) - set(answers.tolist())
    if missing:
        fresh, told = _choose(runner, samples, labels, seed)
        if fresh.shape[1:] != pixels.shape[1:]:
            return fresh, told
        found = {int(answer): place for place, answer in enumerate(told.argmax(1)) if answer in missing}
        # Of each label that is missing one image at least is answered otherwise now: there is room.
        for room, place in zip(np.flatnonzero(answers != before), found.values(), strict=False):
            pixels[room], scores[room] = fresh[place], told[place]
    return pixels, scores


def _choose(
    runner: ArtefactRunner, samples: Sequence[Sample], labels: Sequence[str], seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    count = min(max(MIN_INPUTS, len(labels)), MAX_INPUTS)
    tried = stratified(samples, _TRIED * count, seed)
    pixels = _small([sample.pixels for sample in tried], runner.spec)
    scores = runner.scores(list(pixels))
    right = [labels[answer] == sample.entry.label for answer, sample in zip(scores.argmax(1), tried, strict=True)]
    by_label: dict[str, list[int]] = {}
    for place in sorted(range(len(tried)), key=lambda each: not right[each]):
        by_label.setdefault(tried[place].entry.label, []).append(place)
    # Round and round the labels, so that each has its share.
    turns = [(turn, label, place) for label, places in by_label.items() for turn, place in enumerate(places)]
    taken = [place for _, _, place in sorted(turns)[:count]]
    return pixels[taken], scores[taken]


def golden_tolerance(scores: NDArray[np.float32], reference: NDArray[np.float32] | None) -> float:
    """Return how far a device's scores may be from `scores`.

    Other CPUs' int8 kernels round some activations otherwise. All roundings together are what sets the artefact apart from the
    full-precision model it came from, so twice that distance, between 2 % and 5 % of the scores' range, is allowed.

    Args:
        scores: f32[N,K] of the artefact that ships.
        reference: f32[N,K] of the full-precision model on the same inputs; None when it is the one that ships.
    """
    spread = float(scores.max() - scores.min())
    share = _FLOAT_SHARE * spread
    if reference is not None:
        apart = 2 * float(np.abs(scores - reference).max())
        share = min(max(apart, _INT8_LEAST * spread), _INT8_MOST * spread)
    return round(max(_LEAST, share), 4)


def _small(images: Sequence[NDArray[np.uint8]], spec: PreprocessSpec) -> NDArray[np.uint8]:
    if len({image.shape[2:] for image in images}) > 1:
        images = [to_channels(image, spec.channels) for image in images]
    # One size for all, as an .npz holds one array; none is made larger than it was, but where another's size asks for it.
    height = min(images[0].shape[0], math.ceil(_ENLARGED * spec.height))
    width = min(images[0].shape[1], math.ceil(_ENLARGED * spec.width))
    small = [resize(image[:, :, 0] if image.shape[2:] == (1,) else image, height, width) for image in images]
    return np.asarray((np.stack(small) & 0xF0) | 0x08, np.uint8)
