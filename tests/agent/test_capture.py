"""The first stage: cameras are read ahead of the model, a line does not wait, and every frame that gives way is counted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.capture import Capture, Captures
from agent.clock import SystemClock
from agent.ports.frames import Captured
from agent.ports.source import Frame, FrameSource
from contract.errors import BadImage, CameraFault

CLOCK = SystemClock()
PIXELS = np.zeros((2, 2), np.uint8)


class Numbered:
    """A source of numbered frames: `script` gives, for each reading, a frame's fields, a fault to raise, or None."""

    simulated = False

    def __init__(self, script: list[object], *, waits: bool = False) -> None:
        self.script = script
        self.waits = waits
        self.at = 0
        self.closed = threading.Event()

    def read(self) -> Frame | None:
        item = self.script[self.at]
        self.at += 1
        if callable(item):
            item = item()
        if isinstance(item, BaseException):
            raise item
        if item is None:
            return None
        assert isinstance(item, dict)
        return Frame(PIXELS, CLOCK.now(), CLOCK.monotonic(), part=str(self.at - 1), **item)

    def exhausted(self) -> bool:
        return self.at >= len(self.script)

    def close(self) -> None:
        self.closed.set()


def captures(*sources: FrameSource, room: int = 2, one_in: Callable[[], int] = lambda: 1) -> Captures:
    def unwanted() -> FrameSource:
        raise AssertionError("nothing is to be opened again")

    stages = [
        Capture("" if at == 0 else f"cam{at}", source, unwanted, CLOCK, room=room, judge_one_in=one_in)
        for at, source in enumerate(sources)
    ]
    return Captures(stages)


def everything(queue: Captures) -> list[Captured]:
    """Take until nothing will come any more."""
    taken: list[Captured] = []
    until = time.monotonic() + 60
    while not queue.exhausted():
        assert time.monotonic() < until
        item = queue.take(0.05)
        taken += [item] if item is not None else []
    return taken


def when_all_is_read(*sources: Numbered) -> None:
    until = time.monotonic() + 60
    while not all(source.exhausted() for source in sources):
        assert time.monotonic() < until
        time.sleep(0.002)
    time.sleep(0.02)


def parts(items: list[Captured]) -> list[str]:
    return [item.frame.part for item in items if item.frame is not None]


def test_a_camera_does_not_wait_the_newest_frames_win_and_the_others_are_counted() -> None:
    source = Numbered([{}] * 10)
    queue = captures(source)
    queue.start()
    when_all_is_read(source)
    assert parts(everything(queue)) == ["8", "9"]
    assert queue.dropped("") == {"backlog": 8}


def test_a_folder_waits_and_loses_nothing() -> None:
    source = Numbered([{}] * 50, waits=True)
    queue = captures(source)
    queue.start()
    time.sleep(0.05)
    assert source.at <= 3, "it reads no further ahead than there is room"
    assert parts(everything(queue)) == [str(n) for n in range(50)]
    assert queue.dropped("") == {}


def test_a_frame_that_could_wait_is_not_made_late_by_waiting() -> None:
    queue = captures(Numbered([{}] * 3, waits=True))
    queue.start()
    time.sleep(0.3)
    asked_s = CLOCK.monotonic()
    item = queue.take(60.0)
    assert item is not None and item.frame is not None
    assert item.frame.captured_monotonic >= asked_s


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.builds(lambda n: {"skipped": n}, st.integers(0, 3)),
            st.just(CameraFault("unplugged")),
            st.just(BadImage("torn")),
            st.none(),
        ),
        max_size=12,
    ),
    st.integers(1, 4),
)
def test_what_was_read_is_taken_or_dropped_and_nothing_else(script: list[object], room: int) -> None:
    source = Numbered(script)
    queue = captures(source, room=room)
    queue.start()
    taken = everything(queue)
    read = sum(item is not None for item in script)
    skipped = sum(item["skipped"] for item in script if isinstance(item, dict))
    dropped = queue.dropped("")
    assert len(taken) + dropped.get("backlog", 0) == read
    assert dropped.get("superseded", 0) == skipped
    assert parts(taken) == sorted(parts(taken), key=int)


def test_a_gap_in_the_trigger_count_is_a_part_that_was_never_seen_and_a_reset_is_none() -> None:
    script = [{"trigger": n, "skipped": skipped} for n, skipped in ((7, 0), (8, 0), (11, 1), (2, 0), (3, 0))]
    queue = captures(Numbered(script, waits=True))
    queue.start()
    assert len(everything(queue)) == 5
    assert queue.dropped("") == {"missed_trigger": 1, "superseded": 1}


def test_a_degraded_station_judges_one_frame_in_so_many_and_counts_the_others() -> None:
    queue = captures(Numbered([{}] * 12, waits=True), one_in=lambda: 4)
    queue.start()
    assert parts(everything(queue)) == ["3", "7", "11"]
    assert queue.dropped("") == {"skipped": 9}


def test_cameras_are_taken_in_turn_so_that_none_starves() -> None:
    sources = [Numbered([{}] * 4), Numbered([{}] * 2), Numbered([{}] * 2)]
    queue = captures(*sources, room=4)
    queue.start()
    when_all_is_read(*sources)
    assert [item.camera for item in everything(queue)] == ["", "cam1", "cam2", "", "cam1", "cam2", "", ""]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_one_camera_that_hangs_or_dies_does_not_stall_the_others_and_is_opened_afresh() -> None:
    release = threading.Event()

    def hangs() -> None:
        release.wait(30)

    hung, dead = Numbered([hangs, {}]), Numbered([SystemExit("a driver that ends its thread")])
    fresh = iter([Numbered([{}] * 2, waits=True), Numbered([{}], waits=True)])
    good = Numbered([{}] * 30, waits=True)
    stages = [
        Capture("hung", hung, lambda: next(fresh), CLOCK),
        Capture("dead", dead, lambda: next(fresh), CLOCK),
        Capture("good", good, lambda: good, CLOCK),
    ]
    queue = Captures(stages)
    queue.start()
    seen = [item.camera for item in (queue.take(60.0) for _ in range(30)) if item is not None]
    assert seen == ["good"] * 30
    until = time.monotonic() + 60
    while not (stages[0].why_stalled(0.05) and stages[1].why_stalled(0.05)):
        assert time.monotonic() < until
        time.sleep(0.01)
    assert "has not answered" in stages[0].why_stalled(0.05)
    assert stages[1].why_stalled(60) == "its thread died"
    assert stages[2].why_stalled(0.0) == "", "it came to its end"
    stages[0].restart()
    stages[1].restart()
    assert sorted(item.camera for item in everything(queue)) == ["dead", "hung", "hung"]
    assert hung.closed.wait(60)
    release.set()
    time.sleep(0.05)
    assert queue.take(0.0) is None, "what the hung camera gives in the end is not wanted any more"


def test_stopping_keeps_what_was_captured_for_its_verdict() -> None:
    numbers = count()

    def slowly() -> dict[str, int]:
        next(numbers)
        time.sleep(0.005)
        return {}

    source = Numbered([slowly] * 10_000)
    queue = captures(source, room=3)
    queue.start()
    time.sleep(0.1)
    queue.stop()
    taken = len(everything(queue))
    assert taken >= 1
    assert taken + queue.dropped("").get("backlog", 0) == source.at == next(numbers)


def test_wake_lets_a_waiting_taker_go() -> None:
    held = threading.Event()
    queue = captures(Numbered([lambda: held.wait(60) and None]))
    queue.start()
    threading.Timer(0.05, queue.wake).start()
    began = time.monotonic()
    assert queue.take(50.0) is None
    assert time.monotonic() - began < 40.0
    held.set()
    queue.stop()


@pytest.mark.parametrize("fault", [ZeroDivisionError("driver"), CameraFault("unplugged")])
def test_a_camera_that_only_fails_does_not_spin(fault: Exception) -> None:
    source, began = Numbered([fault] * 100_000), time.monotonic()
    queue = captures(source)
    queue.start()
    until = time.monotonic() + 60
    while source.at < 2:
        assert time.monotonic() < until
        time.sleep(0.005)
    time.sleep(0.2)
    queue.close()
    # At least 10 ms for each.
    assert source.at <= (time.monotonic() - began) / 0.01 + 1
