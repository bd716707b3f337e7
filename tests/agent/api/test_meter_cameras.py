"""Health as /healthz tells it: a camera that works must not vouch for one that does not, and what was dropped waits no more."""

from __future__ import annotations

import pytest

from agent.api.meter import LineMeter
from agent.ports.recorder import Result
from contract.errors import CameraFault
from tests.fakes.agent_clock import HandClock
from tests.fakes.agent_line import ListRecorder, QueueSource, image


def result(camera: str, cause: str = "") -> Result:
    return Result(1, 0.0, "p", "REVIEW" if cause else "PASS", cause, "good", 1.0, 5.0, "b", camera=camera)


class Two:
    """Two cameras; "left" is the one that goes on whatever happens."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.left_out = 0
        self.meter = LineMeter(self.clock, lambda camera: 0 if camera else self.left_out)
        self.sources = {camera: QueueSource(self.clock) for camera in ("", "left")}
        self.read = {camera: self.meter.source(source, camera).read for camera, source in self.sources.items()}
        self.out = self.meter.recorder(ListRecorder())

    def part(self, camera: str, *, comes_out: bool = True) -> None:
        self.sources[camera].put(image(200))
        assert self.read[camera]() is not None
        if comes_out:
            self.out.record(result(camera), None)

    def go_on(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.forward(1.0)
            self.part("left")


def test_a_camera_that_hangs_is_seen_though_the_other_goes_on() -> None:
    two = Two()
    two.part("")
    two.go_on(12)
    assert "the camera has not answered for 12 s" in two.meter.why_stalled(10.0)
    two.part("")
    assert two.meter.why_stalled(10.0) == ""


def test_a_camera_that_fails_is_seen_though_the_other_goes_on() -> None:
    two = Two()
    for _ in range(6):
        two.sources[""].put(CameraFault("unplugged"))
        with pytest.raises(CameraFault):
            two.read[""]()
        two.out.record(result("", "camera_fault"), None)
        two.part("left")
    assert "the camera failed 6 times in a row" in two.meter.why_stalled(10.0)


def test_a_frame_stuck_in_the_line_is_seen_though_the_other_cameras_come_out() -> None:
    two = Two()
    two.part("", comes_out=False)
    for _ in range(12):
        two.go_on(1)
        assert two.read[""]() is None
    assert "no frame has come out of the line for 12 s" in two.meter.why_stalled(10.0)


def test_a_pause_of_the_line_after_a_frame_that_was_dropped_is_no_stall() -> None:
    two = Two()
    two.part("")
    two.part("", comes_out=False)
    two.left_out += 1  # a degraded station that judges one in two, and then the shift ends
    for _ in range(60):
        two.go_on(1)
        assert two.read[""]() is None
    assert two.meter.why_stalled(10.0) == ""


def test_what_a_camera_left_behind_reads_at_last_is_awaited_by_nobody() -> None:
    two = Two()
    late = two.read[""]
    two.read[""] = two.meter.source(two.sources[""], "").read  # it hung, and was opened afresh
    two.sources[""].put(image(200))
    assert late() is not None
    for _ in range(12):
        two.go_on(1)
        assert two.read[""]() is None
    assert two.meter.why_stalled(10.0) == ""
