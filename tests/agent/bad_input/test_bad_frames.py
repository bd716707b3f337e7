"""Arrays that are no frame, from a driver that lies: each is REVIEW with its cause, and the line goes on (P6)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.agent.test_frame_loop import PASS, Bench, review
from tests.fakes.agent_line import bundle, image

SIDE = 16
GREY = image(230)


@pytest.mark.parametrize(
    "pixels",
    [
        pytest.param(np.full((SIDE, SIDE), np.nan, np.float32), id="not a number"),
        pytest.param(np.full((SIDE, SIDE), np.inf, np.float64), id="infinite"),
        pytest.param(GREY.astype(np.float32) / 255, id="floats of 0 to 1"),
        pytest.param(GREY.astype(np.uint16) * 257, id="16 bits"),
        pytest.param(GREY > 128, id="booleans"),
        pytest.param(np.dstack([GREY, GREY]), id="two channels"),
        pytest.param(np.dstack([GREY] * 4), id="four channels"),
        pytest.param(np.stack([GREY] * 3), id="channels first"),
        pytest.param(GREY[None, None], id="four axes"),
        pytest.param(GREY.reshape(-1), id="one axis"),
        pytest.param(np.empty((0, SIDE), np.uint8), id="no rows"),
        pytest.param(np.empty((SIDE, 0, 3), np.uint8), id="no columns"),
        pytest.param(np.array(7, np.uint8), id="a number"),
    ],
)
def test_what_is_no_frame_is_review_and_the_next_one_is_judged(pixels: NDArray[Any]) -> None:
    bench = Bench(installed=bundle("a"))
    assert bench.feed(pixels, image(230, 1)) == [review("bad_image"), PASS]


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 1), (1, 1, 3), (3, 2)])
def test_a_frame_too_small_to_show_a_part_is_blank(shape: tuple[int, ...]) -> None:
    bench = Bench(installed=bundle("a"))
    assert bench.feed(np.full(shape, 230, np.uint8), image(230, 1)) == [review("blank_frame"), PASS]


@pytest.mark.parametrize("shape", [(1, 40_000_000), (40_000_000, 1), (5_000, 8_000)])
def test_forty_megapixels_of_any_shape_are_judged(shape: tuple[int, int]) -> None:
    pixels = np.full(shape, 230, np.uint8)
    pixels.reshape(-1)[: pixels.size // 2] = 210
    bench = Bench(installed=bundle("a"))
    ((verdict, cause),) = bench.feed(pixels)
    assert verdict == "PASS" or cause in ("late", "unsure"), "a verdict, and no fault of ours"
    assert bench.loop.faults == 0 and not any("Error" in line for line in bench.log.lines)
