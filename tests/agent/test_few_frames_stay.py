"""A station that lets no image leave ships no sketch of so few frames that one of them could be seen in it (P8)."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.open_window import TOO_FEW
from agent.windows import LEAST_OF_NO_ONE
from contract.errors import BadImage
from contract.sketches.enrolment import DEFAULT_SEED
from contract.sketches.projection import THUMBNAIL_SIDE, project, projection_matrix
from tests.agent.test_frame_loop import Bench, bright
from tests.fakes.agent_line import bundle


def bench(frames: int = 8, least: int = LEAST_OF_NO_ONE) -> Bench:
    return Bench(installed=bundle("a"), window_frames=frames, enrol_frames=1000, least_sketched=least)


def test_a_window_waits_until_its_sketch_shows_no_single_frame() -> None:
    strict = bench()
    strict.feed(*bright(15))
    strict.clock.forward(70.0)
    strict.loop.step()
    assert strict.recorder.summaries == [], "8 frames and 60 s would have ended it"
    strict.feed(*bright(1, 100))
    strict.loop.step()
    ((_, summary),) = strict.recorder.summaries
    assert summary.window is not None and summary.window.frames == 16 and summary.note == ""
    open_one = bench(least=0)
    open_one.feed(*bright(8))
    open_one.loop.step()
    assert open_one.recorder.summaries[0][1].window is not None


def test_a_window_that_has_to_end_with_too_few_says_what_was_judged_and_shows_nothing() -> None:
    stopped = bench()
    stopped.feed(*bright(15))
    (summary,) = stopped.finish()
    assert summary.window is None and summary.note == TOO_FEW
    assert (summary.accounting.captured, summary.accounting.passed) == (15, 15)


def test_a_slow_line_is_not_silent_for_that() -> None:
    slow = bench(frames=256)
    slow.feed(*bright(3))
    slow.clock.forward(8 * 60.0 - 5.0)
    slow.loop.step()
    assert slow.recorder.summaries == []
    slow.clock.forward(6.0)
    slow.loop.step()
    ((_, summary),) = slow.recorder.summaries
    assert summary.window is None and summary.note == TOO_FEW and summary.accounting.captured == 3


def test_frames_that_were_never_sketched_hide_none_that_was() -> None:
    """Sixteen frames of which fifteen could not be decoded leave a sketch of one."""
    broken = bench()
    broken.feed(*[BadImage("torn") for _ in range(15)], *bright(1))
    broken.loop.step()
    (summary,) = [summary for _, summary in broken.recorder.summaries] or broken.finish()
    assert summary.accounting.captured == 16 and summary.accounting.passed == 1
    assert summary.window is None and summary.note == TOO_FEW


def smooth_pictures(count: int) -> NDArray[np.float64]:
    """Return thumbnails f64[count,1024] of pictures that are smooth as photographs are."""
    lower = np.linalg.cholesky(0.02 * nearness() + 1e-9 * np.eye(1024))
    return np.asarray(0.5 + np.random.default_rng(4).standard_normal((count, 1024)) @ lower.T)


def nearness() -> NDArray[np.float64]:
    place = np.stack(np.meshgrid(np.arange(32), np.arange(32), indexing="ij"), -1).reshape(-1, 2)
    return np.exp(-np.sqrt(((place[:, None] - place[None]) ** 2).sum(-1)) / 6.0)


@pytest.fixture(scope="module")
def seen_again() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How a thief's best picture of a frame correlates with it: from its own projections, and from the mean of 16 frames'."""
    assert THUMBNAIL_SIDE == 32
    pictures, prior = smooth_pictures(160), nearness()
    matrix = projection_matrix(DEFAULT_SEED).astype(np.float64)
    weights = prior @ matrix @ np.linalg.inv(matrix.T @ prior @ matrix)
    told = project(pictures.astype(np.float32), DEFAULT_SEED).astype(np.float64)
    means = np.repeat(told.reshape(10, 16, -1).mean(axis=1), 16, axis=0)

    def correlation(guess: NDArray[np.float64]) -> NDArray[np.float64]:
        pairs = zip(guess, pictures, strict=True)
        return np.array([np.corrcoef(each, picture)[0, 1] for each, picture in pairs])

    return correlation(told @ weights.T), correlation(means @ weights.T)


def test_the_sketch_of_one_frame_is_a_picture_of_it_and_that_of_sixteen_is_none(
    seen_again: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> None:
    alone, among_sixteen = seen_again
    assert alone.mean() > 0.7, "why there is a rule at all"
    assert among_sixteen.mean() < 0.3
