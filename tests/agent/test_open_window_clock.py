"""A window's times under a wall clock that is set while it is open."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.open_window import OpenWindow
from contract.codec import decode_summary, encode_summary
from tests.fakes.agent_clock import HandClock

NOW = 1_795_200_000.0


@given(
    st.floats(0.0, 2 * NOW),
    st.lists(st.tuples(st.floats(0.0, 600.0), st.one_of(st.just(0.0), st.floats(-2 * NOW, 2 * NOW))), max_size=5),
)
def test_whatever_the_clock_does_a_window_lasts_as_long_as_it_lasted_and_says_whether_to_believe_it(
    began: float, story: list[tuple[float, float]]
) -> None:
    clock = HandClock(began)
    window = OpenWindow(1, None, None, clock)
    for seconds, set_by in story:
        clock.forward(seconds)
        clock.wall = max(0.0, clock.wall + set_by)
    lasted = sum(seconds for seconds, _ in story)
    moved = clock.wall - began - lasted
    header = window.summary("s1", clock_synced=True, shadow=None, simulated=False).header
    assert abs(header.ended_at - header.started_at - lasted) <= 1.0 + 1e-5
    assert header.started_at >= 0.0
    if abs(moved) > 1.001:
        assert header.clock_synced is False
    elif abs(moved) < 0.999:
        assert header.clock_synced is True
        assert (header.started_at, header.ended_at) == (began, clock.wall)
    decode_summary(encode_summary(window.summary("s1", clock_synced=True, shadow=None, simulated=False)))


def test_of_1970_and_now_now_is_believed() -> None:
    for first, then in ((0.0, NOW), (NOW, 0.0)):
        clock = HandClock(first)
        window = OpenWindow(1, None, None, clock)
        clock.forward(30.0)
        clock.wall = then
        header = window.summary("s1", clock_synced=True, shadow=None, simulated=False).header
        assert (header.ended_at - header.started_at, header.clock_synced) == (30.0, False)
        assert abs(header.ended_at - NOW) <= 30.0
