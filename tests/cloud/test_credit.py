"""Credit follows the load, and never ends."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloud.credit import GOOD_S, MOST, credit, smooth

SECONDS = st.floats(0.0, 1e6)


def test_an_idle_cloud_gives_all_of_it() -> None:
    assert credit(0, 2000, 0.0) == credit(0, 2000, GOOD_S) == MOST


@given(depth=st.integers(0, 10**6), capacity=st.integers(1, 10**6), commit_s=SECONDS)
def test_it_is_never_nothing_and_never_more_than_the_most(depth: int, capacity: int, commit_s: float) -> None:
    assert 1 <= credit(depth, capacity, commit_s) <= MOST


@given(depths=st.tuples(st.integers(0, 2000), st.integers(0, 2000)), times=st.tuples(SECONDS, SECONDS))
def test_a_fuller_queue_and_a_slower_database_never_raise_it(
    depths: tuple[int, int], times: tuple[float, float]
) -> None:
    assert credit(max(depths), 2000, max(times)) <= credit(min(depths), 2000, min(times))


def test_a_full_queue_and_a_database_that_stands_still_bring_it_down() -> None:
    assert credit(1000, 2000, 0.0) == MOST / 2
    assert credit(2000, 2000, 0.0) == credit(9999, 2000, 0.0) == 1
    assert credit(0, 2000, 2 * GOOD_S) == MOST / 2 and credit(0, 2000, 5.0) == MOST * GOOD_S / 5.0


@given(slow=st.lists(st.floats(-1e9, 1e9), max_size=30))
def test_it_is_whole_again_twenty_good_batches_after_whatever_was(slow: list[float]) -> None:
    average = 0.0
    for each in slow:
        average = smooth(average, each)
        assert 0.0 <= average <= 5.0
    for _ in range(20):
        average = smooth(average, 0.02)
    assert credit(0, 2000, average) == MOST
