"""Pacing on a clock that moves only by sleeping."""

from __future__ import annotations

from typing import Any

import pytest

from agent.sources.pace import MAX_WAIT_S, Pacer
from contract.errors import InvalidConfig


def let_through(pacer: Pacer, clock: Any, until: float) -> int:
    count = 0
    while clock.monotonic() < until:
        count += pacer.wait()
    return count


@pytest.mark.parametrize("fps", (0.5, 3, 10, 30))
def test_frames_come_at_the_rate_asked_for(clock: Any, fps: float) -> None:
    start = clock.monotonic()
    assert let_through(Pacer(clock, fps), clock, start + 60) == pytest.approx(60 * fps, abs=2.01)


def test_no_wait_is_longer_than_the_bound(clock: Any) -> None:
    pacer = Pacer(clock, 0.1)
    assert pacer.wait()
    waits = [pacer.wait() for _ in range(10)]
    assert max(clock.slept) <= MAX_WAIT_S
    assert not all(waits)


def test_a_slow_consumer_gets_no_burst_afterwards(clock: Any) -> None:
    pacer = Pacer(clock, 10)
    assert pacer.wait()
    clock.seconds += 5
    assert pacer.wait()
    before = len(clock.slept)
    assert pacer.wait()
    assert clock.slept[before:] == [pytest.approx(0.1)]


def test_a_late_frame_does_not_delay_the_next_ones(clock: Any) -> None:
    pacer = Pacer(clock, 10)
    assert pacer.wait()
    clock.seconds += 0.15
    assert pacer.wait()
    assert pacer.wait()
    assert clock.monotonic() == pytest.approx(100.2)


def test_without_a_rate_nothing_waits(clock: Any) -> None:
    pacer = Pacer(clock, None)
    assert all(pacer.wait() for _ in range(100))
    assert clock.slept == []


@pytest.mark.parametrize("fps", (0, -1, float("nan"), float("inf")))
def test_a_rate_that_is_none_is_refused(clock: Any, fps: float) -> None:
    with pytest.raises(InvalidConfig, match="fps"):
        Pacer(clock, fps)
