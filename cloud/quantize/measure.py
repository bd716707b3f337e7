"""Figures of an artefact: accuracy, agreement, latency."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from cloud.ports.clock import Clock
from cloud.quantize.artefact_runner import ArtefactRunner, open_session
from contract.preprocess import preprocess

_MAX_RUNS = 100
_MAX_SECONDS = 2.0
_WARM_UP = 5

Transform = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


def accuracy_under(
    runner: ArtefactRunner,
    images: Sequence[NDArray[np.uint8]],
    labels: Sequence[int] | NDArray[np.int64],
    transform: Transform | None = None,
) -> float:
    """Return the share of images that the artefact names right after `transform`.

    Args:
        images: u8[H,W] or u8[H,W,C] each.
        labels: the place of each image's label in the model's output.
        transform: what happens to an image first, e.g. `lambda image: mean_blur(image, 3)`; None for nothing.
    """
    seen = images if transform is None else [transform(image) for image in images]
    return share_equal(runner.scores(seen).argmax(1), np.asarray(labels))


def share_equal(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    """Return the share of places where both are equal; 0 for none."""
    return float((first == second).mean()) if len(first) else 0.0


def median_latency_ms(runner: ArtefactRunner, image: NDArray[np.uint8], clock: Clock) -> float:
    """Return the median wall time of one inference in ms: one thread, batch 1, without preprocessing."""
    session = open_session(runner.file, threads=1)
    feed = {session.get_inputs()[0].name: preprocess(image, runner.spec)}
    for _ in range(_WARM_UP):
        session.run(None, feed)
    times: list[float] = []
    end = clock.monotonic() + _MAX_SECONDS
    while len(times) < _MAX_RUNS:
        before = clock.monotonic()
        session.run(None, feed)
        after = clock.monotonic()
        times.append(after - before)
        if after > end:
            break
    return round(float(np.median(times)) * 1000, 4)
