"""A camera that is lost comes back, and one whose driver hangs holds nobody up.

The cameras here are fakes: what is tested is the loop around them. Real ones: test_rtsp_source.py, test_gstreamer_source.py.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from agent.ports.source import Frame
from agent.sources.live import HANG_S, RETRY_CAP_S, LiveSource
from contract.errors import BadImage, CameraFault, InvalidConfig

FRAME = Frame(np.zeros((2, 2), np.uint8), 1.0, 1.0)


class FakeCamera:
    """Plays a list: a Frame or None is returned, an error raised."""

    def __init__(self, *script: Frame | Exception | None, close: Callable[[], object] = bool) -> None:
        self.script: Iterator[Frame | Exception | None] = iter(script)
        self.closed = threading.Event()
        self._close = close

    def grab(self, within_s: float) -> Frame | None:
        step = next(self.script, None)
        if isinstance(step, Exception):
            raise step
        return step

    def close(self) -> None:
        self._close()
        self.closed.set()


def live(clock: Any, *cameras: FakeCamera | Exception, stall_s: float = 0.0, roll: float = 1.0) -> LiveSource:
    waiting = iter(cameras)

    def open_camera() -> FakeCamera:
        camera = next(waiting)
        if isinstance(camera, Exception):
            raise camera
        return camera

    return LiveSource("the fake", open_camera, clock, lambda: roll, stall_s=stall_s)


def read_until_something(source: LiveSource, limit: int = 100) -> Frame | CameraFault:
    for _ in range(limit):
        try:
            frame = source.read()
        except CameraFault as fault:
            return fault
        if frame is not None:
            return frame
    raise AssertionError("nothing came")


def test_a_lost_camera_is_one_fault_and_then_opened_again(clock: Any) -> None:
    first, second = FakeCamera(FRAME, CameraFault("pulled out")), FakeCamera(FRAME)
    source = live(clock, first, second)
    assert source.read() is FRAME
    with pytest.raises(CameraFault, match="pulled out"):
        source.read()
    assert source.read() is FRAME
    assert first.closed.is_set()


def test_attempts_come_ever_less_often_up_to_a_cap_and_each_is_one_fault(clock: Any) -> None:
    source = live(clock, *(CameraFault("no answer") for _ in range(9)), FakeCamera(FRAME))
    at = []
    while isinstance(read_until_something(source), CameraFault):
        at.append(clock.seconds)
    waits = [round(after - before, 3) for before, after in pairwise(at)]
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, RETRY_CAP_S, RETRY_CAP_S, RETRY_CAP_S]


def test_only_a_frame_ends_an_outage(clock: Any) -> None:
    # A server that lets everybody in and then dies is no reason to hurry.
    doors = [FakeCamera(CameraFault("died")) for _ in range(4)]
    source = live(clock, *doors, FakeCamera(FRAME, CameraFault("again")), FakeCamera(FRAME))
    at = []
    while isinstance(read_until_something(source), CameraFault):
        at.append(clock.seconds)
    assert at[3] - at[2] == pytest.approx(2.0)
    with pytest.raises(CameraFault, match="again"):
        source.read()
    before = clock.seconds
    assert read_until_something(source) is FRAME
    assert clock.seconds - before == pytest.approx(0.5)


def test_a_silent_camera_is_lost_after_stall_s(clock: Any) -> None:
    first = FakeCamera(FRAME)
    source = live(clock, first, FakeCamera(FRAME), stall_s=3.0)
    source.read()
    clock.seconds += 2.9
    assert source.read() is None
    clock.seconds += 0.2
    with pytest.raises(CameraFault, match="no frame for 3 s"):
        source.read()
    assert read_until_something(source) is FRAME
    assert first.closed.is_set()


def test_silence_is_no_fault_where_a_trigger_makes_the_frames(clock: Any) -> None:
    source = live(clock, FakeCamera(FRAME, None, None, FRAME), stall_s=0.0)
    source.read()
    clock.seconds += 10_000
    assert source.read() is None
    assert source.read() is None
    assert source.read() is FRAME


def test_a_torn_frame_does_not_cost_the_connection(clock: Any) -> None:
    source = live(clock, FakeCamera(BadImage("torn"), FRAME), stall_s=1.0)
    with pytest.raises(BadImage):
        source.read()
    assert source.read() is FRAME


def test_whatever_a_driver_throws_the_camera_is_opened_afresh(clock: Any) -> None:
    source = live(clock, FakeCamera(ZeroDivisionError()), RuntimeError("driver"), FakeCamera(FRAME))
    with pytest.raises(ZeroDivisionError):
        source.read()
    fault = read_until_something(source)
    assert isinstance(fault, CameraFault)
    assert "RuntimeError: driver" in fault.message
    assert read_until_something(source) is FRAME


def test_what_would_refuse_a_start_is_a_fault_while_running(clock: Any) -> None:
    source = live(clock, InvalidConfig("wrong password", hint="mend it"), FakeCamera(FRAME))
    with pytest.raises(CameraFault, match="wrong password") as caught:
        source.read()
    assert caught.value.hint == "mend it"
    assert read_until_something(source) is FRAME


def test_an_open_that_hangs_holds_up_neither_read_nor_close_and_is_closed_when_it_comes_back(clock: Any) -> None:
    let_go = threading.Event()
    camera = FakeCamera(FRAME)

    def open_camera() -> FakeCamera:
        assert let_go.wait(120)
        return camera

    source = LiveSource("the fake", open_camera, clock, lambda: 1.0, stall_s=0.0)
    began = time.monotonic()
    assert source.read() is None
    clock.seconds += HANG_S
    with pytest.raises(CameraFault, match="does not answer"):
        source.read()
    assert source.read() is None
    source.close()
    assert time.monotonic() - began < 60
    let_go.set()
    assert camera.closed.wait(60)


def test_a_close_that_hangs_is_waited_for_before_the_device_is_opened_again(clock: Any) -> None:
    let_go = threading.Event()
    first = FakeCamera(CameraFault("lost"), close=lambda: bool(let_go.wait(120)))
    source = live(clock, first, FakeCamera(FRAME))
    began = time.monotonic()
    with pytest.raises(CameraFault, match="lost"):
        source.read()
    assert source.read() is None
    clock.seconds += HANG_S
    with pytest.raises(CameraFault, match="does not close"):
        source.read()
    assert time.monotonic() - began < 60
    let_go.set()
    assert read_until_something(source) is FRAME
    source.close()


def test_closing_is_bounded_even_when_the_driver_hangs(clock: Any) -> None:
    let_go = threading.Event()
    source = live(clock, FakeCamera(FRAME, close=lambda: bool(let_go.wait(120))))
    source.read()
    began = time.monotonic()
    source.close()
    assert time.monotonic() - began < 60
    assert source.exhausted()
    assert source.read() is None
    source.close()
    let_go.set()


def test_no_camera_package_is_loaded_before_a_camera_is_opened() -> None:
    # A station that reads a folder pays nothing for the [camera] extra, and needs none of it.
    code = (
        "import sys, agent.wiring, agent.sources.rtsp, agent.sources.v4l2, agent.sources.gstreamer;"
        "sys.exit(bool({'av', 'linuxpy', 'gi'} & set(sys.modules)))"
    )
    assert subprocess.run((sys.executable, "-c", code), timeout=60).returncode == 0
