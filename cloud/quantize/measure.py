"""Figures of an artefact: accuracy, agreement, latency."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloud.ports.clock import Clock
from cloud.quantize.artefact_runner import ArtefactRunner, open_session
from contract.preprocess import preprocess

_MAX_RUNS = 100
_MAX_SECONDS = 2.0
_TURN = 5

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


def share_equal(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Return the share of places where both are equal; 0 for none."""
    return float((first == second).mean()) if len(first) else 0.0


@dataclass(frozen=True, slots=True)
class Latency:
    """Wall time of one inference in ms: one thread, batch 1, without preprocessing.

    `unhindered_ms`: the shortest. On a busy machine medians of one file differ by half from one minute to the next, and this by a
    twentieth: nothing makes an inference faster than it is.
    """

    median_ms: float
    unhindered_ms: float


def median_latency_ms(runner: ArtefactRunner, image: NDArray[np.uint8], clock: Clock) -> float:
    """Return the median wall time of one inference in ms: one thread, batch 1, without preprocessing."""
    return latencies([runner], image, clock)[0].median_ms


def latencies(runners: Sequence[ArtefactRunner], image: NDArray[np.uint8], clock: Clock) -> tuple[Latency, ...]:
    """Return each artefact's latency.

    The artefacts take turns of a few inferences, so that what slows the machine for a while slows them alike, and each still
    finds its weights in the cache, as it does on a station that runs nothing else.
    """
    sessions = [open_session(runner.file, threads=1) for runner in runners]
    feeds = [
        {session.get_inputs()[0].name: preprocess(image, runner.spec)}
        for session, runner in zip(sessions, runners, strict=True)
    ]
    outputs = [[session.get_outputs()[0].name] for session in sessions]
    times: list[list[float]] = [[] for _ in sessions]
    end = clock.monotonic() + _MAX_SECONDS * len(sessions)
    for turn in range(_MAX_RUNS // _TURN + 1):
        for place, (session, feed, output) in enumerate(zip(sessions, feeds, outputs, strict=True)):
            for _ in range(_TURN):
                before = clock.monotonic()
                session.run(output, feed)
                if turn > 0:  # the first turn warms up
                    times[place].append(clock.monotonic() - before)
        if turn > 0 and clock.monotonic() > end:
            break
    return tuple(Latency(round(float(np.median(each)) * 1000, 4), round(min(each) * 1000, 4)) for each in times)
