"""What is counted at the line's ends, and when a line is called stalled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.api.exposition import Exposition
from agent.api.meter import LATENCY_BOUNDS_MS, LineMeter
from agent.ports.recorder import Result
from agent.ports.source import Frame
from contract.errors import CameraFault
from contract.messages import Accounting, Header, Summary
from tests.fakes.agent_clock import HandClock
from tests.fakes.agent_line import ListRecorder, QueueSource, image


def result(verdict: str = "PASS", cause: str = "", latency_ms: float = 5.0) -> Result:
    return Result(1, 0.0, "p", verdict, cause, "good", 1.0, latency_ms, "b")


def frame(clock: HandClock) -> Frame:
    return Frame(image(200), clock.now(), clock.monotonic())


def test_a_frame_that_went_in_and_never_came_out_is_a_stalled_line_though_the_camera_goes_on() -> None:
    clock = HandClock()
    meter = LineMeter(clock)
    source, recorder = QueueSource(clock), ListRecorder()
    metered, out = meter.source(source), meter.recorder(recorder)
    for _ in range(30):  # a wedged stage behind a camera that still delivers
        source.put(image(200))
        assert metered.read() is not None
        clock.forward(0.5)
    assert "no frame has come out of the line for 15 s" in meter.why_stalled(10.0)
    out.record(result(), None)
    assert meter.why_stalled(10.0) == ""


def test_a_line_that_has_no_part_to_judge_is_not_stalled_and_a_hung_camera_is() -> None:
    clock = HandClock()
    meter = LineMeter(clock)
    metered = meter.source(QueueSource(clock))
    for _ in range(100):
        clock.forward(1.0)
        assert metered.read() is None
    assert meter.why_stalled(10.0) == ""
    clock.forward(11.0)  # read() does not come back
    assert "camera has not answered for 11 s" in meter.why_stalled(10.0)


def test_camera_faults_in_a_row_are_no_progress() -> None:
    clock = HandClock()
    meter = LineMeter(clock)
    source, out = QueueSource(clock), meter.recorder(ListRecorder())
    source.put(CameraFault("gone"))
    with pytest.raises(CameraFault):
        meter.source(source).read()
    for _ in range(5):
        out.record(result("REVIEW", "camera_fault", 0.0), None)
    assert "camera failed 5 times in a row" in meter.why_stalled(10.0)
    assert (meter.camera_faults, sum(meter.latency_bins)) == (5, 0)
    out.record(result(), None)
    assert meter.why_stalled(10.0) == ""


def test_what_the_recorder_had_no_room_for_is_undecided_and_drops_come_with_their_window() -> None:
    recorder = ListRecorder()
    meter = LineMeter(HandClock())
    out = meter.recorder(recorder)
    out.record(result(), None)
    recorder.room = False
    out.record(result(), None)
    summary = Summary(Header("s1", "b", 1, 0.0, 1.0, 0.0, True, ""), Accounting(5, 1, dropped={"newest wins": 3}))
    assert out.close_window(1, summary) is False
    recorder.room = True
    assert out.close_window(1, summary) is True
    assert (meter.decided, meter.undecided, meter.windows) == ({("PASS", ""): 1}, 1, 1)
    assert meter.dropped == {"newest wins": 3}


@given(st.lists(st.floats(0, 1e5), max_size=60))
def test_the_histogram_holds_every_latency_once(latencies: list[float]) -> None:
    meter = LineMeter(HandClock())
    for each in latencies:
        meter.came_out(result(latency_ms=each), recorded=True)
    assert sum(meter.latency_bins) == len(latencies)
    so_far = 0
    for bound, n in zip(LATENCY_BOUNDS_MS, meter.latency_bins, strict=False):
        so_far += n
        assert so_far == sum(1 for each in latencies if each <= bound)


def test_label_values_are_escaped_and_numbers_are_read_back() -> None:
    out = Exposition()
    out.add("x_total", "counter", "a\nb\\c", 0.1, part='say "hi"\\\n')
    out.add_histogram("h", "h", [0.5, 1.0], [1, 0, 2], 3.5)
    lines = out.text().splitlines()
    assert lines[0] == "# HELP x_total a\\nb\\\\c"
    assert lines[2] == 'x_total{part="say \\"hi\\"\\\\\\n"} 0.1'
    assert lines[-5:] == [
        'h_bucket{le="0.5"} 1',
        'h_bucket{le="1"} 1',
        'h_bucket{le="+Inf"} 3',
        "h_sum 3.5",
        "h_count 3",
    ]
