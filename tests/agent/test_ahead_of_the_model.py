"""What is worked out of a frame as it is captured is what whoever judges it would have found, or is not believed."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np
import pytest

from agent.camera_line import CameraLine
from agent.capture import Capture, Captures
from agent.clock import SystemClock
from agent.decide.familiar import Familiar
from agent.decide.frame_faults import FrameFaults
from agent.decide.sampling import Sampler
from agent.decide.unfamiliar import frames_needed
from agent.enrolled import Enrolled
from agent.guarantee import Guarantee
from agent.ports.frames import Ahead, Captured
from agent.ports.source import Frame
from contract.sketches.frame_stats import FrameStats, frame_stats
from tests.agent.test_frame_loop import Bench, bright
from tests.fakes.agent_line import DictMemory, ListLog, bundle, image

RATE = 0.1
ENROL, LEARN = 12, frames_needed(RATE)
STATS = [frame_stats(image(200, seed)) for seed in range(60)]


def camera() -> CameraLine:
    log, memory = ListLog(), DictMemory()
    enrolled = Enrolled(memory, log, frames_needed=ENROL, unfamiliar_rate=RATE)
    sampler = Sampler(np.random.default_rng(0), audit_rate=0.0, doubtful_per_window=0)
    return CameraLine("", enrolled, sampler, FrameFaults(), Guarantee(memory, log, ask=False))


def enrolled_camera() -> CameraLine:
    line = camera()
    for stats in STATS[:ENROL]:
        line.enrolled.add(stats)
    assert line.enrolled.familiar is not None and line.enrolled.reference is not None
    return line


class _ReadAhead:
    """Every frame there is is measured as soon as one is asked for: the last of them before the first is judged."""

    def __init__(self, bench: Bench, line: CameraLine) -> None:
        self._bench, self._straight, self._line = bench, bench.frames.take, line
        self._waiting: deque[tuple[FrameStats, Ahead]] = deque()
        self.measured: list[Ahead] = []

    def take(self, within_s: float) -> Captured | None:
        for pixels in list(self._bench.source.queue)[len(self._waiting) :]:
            assert isinstance(pixels, np.ndarray)
            stats = frame_stats(pixels)
            self.measured.append(self._line.look_ahead(stats))
            self._waiting.append((stats, self.measured[-1]))
        captured = self._straight(within_s)
        if captured is None:
            return None
        stats, ahead = self._waiting.popleft()
        return Captured(captured.camera, captured.frame, None, stats, ahead)


def test_a_line_that_is_read_ahead_of_its_enrolment_gives_the_same_answers_sketches_and_kept_frames() -> None:
    def told(*, read_ahead: bool) -> tuple[object, ...]:
        bench = Bench(
            installed=bundle("a"),
            enrol_frames=ENROL,
            unfamiliar_rate=RATE,
            window_frames=16,
            audit_rate=0.3,
            kept_per_window=8,
        )
        ahead = _ReadAhead(bench, bench.loop._cameras[""])
        if read_ahead:
            bench.frames.take = ahead.take  # type: ignore[method-assign]
        verdicts = []
        frames = [*bright(ENROL + LEARN + 20), *(image(128, seed) for seed in range(4)), *bright(30, 500)]
        # Batches that cross the end of the enrolment, that of the window it was in, and that of the limit's learning.
        for first in range(0, len(frames), 9):
            verdicts += bench.feed(*frames[first : first + 9])
        if read_ahead:
            assert any(each.familiar is None for each in ahead.measured), (
                "some frames were measured before the enrolment"
            )
            assert ahead.measured[-1].familiar is bench.enrolled.familiar and ahead.measured[-1].distance > 0.0
        notes = [sample.note for sample in bench.recorder.samples]
        assert any(note.novelty > 0.0 for note in notes)
        return verdicts, notes, bench.finish()

    assert told(read_ahead=True) == told(read_ahead=False)


def test_what_was_measured_against_another_enrolment_is_worked_out_anew() -> None:
    line, other = enrolled_camera(), enrolled_camera()
    stats = STATS[40]
    right, foreign = line.look_ahead(stats), other.look_ahead(stats)
    odd = Ahead(right.familiar, 123.0, right.reference, 7.0)
    assert line.enrolled.distance(stats, odd) == 123.0, "what was measured against this one is believed"
    assert line.novelty_of(stats, line.enrolled.reference, odd) == 7.0
    odd = Ahead(foreign.familiar, 123.0, foreign.reference, 7.0)
    assert line.enrolled.distance(stats, odd) == right.distance > 0.0
    assert line.novelty_of(stats, line.enrolled.reference, odd) == right.novelty > 0.0


def test_nothing_is_known_ahead_before_there_is_an_enrolment() -> None:
    line = camera()
    for stats in STATS[: ENROL - 1]:
        line.enrolled.add(stats)
    assert line.look_ahead(STATS[40]) == Ahead(None, 0.0, None, 0.0)


class _Once:
    """A camera of one frame."""

    simulated = False
    waits = False

    def __init__(self) -> None:
        self._left = [image(200, 1)]

    def read(self) -> Frame | None:
        return Frame(self._left.pop(), 1.0, 2.0, "p")

    def exhausted(self) -> bool:
        return not self._left

    def close(self) -> None:
        self._left.clear()


@pytest.mark.parametrize("fails", [False, True])
def test_a_frame_is_looked_at_as_it_is_captured_and_comes_through_where_that_fails(fails: bool) -> None:
    line, asked_on = enrolled_camera(), set[str]()

    def look_ahead(stats: FrameStats) -> Ahead:
        asked_on.add(threading.current_thread().name)
        if fails:
            raise ValueError("nobody foresaw this")
        return line.look_ahead(stats)

    stage = Capture("c", _Once(), _Once, SystemClock())
    stage.look_ahead = look_ahead
    queue = Captures([stage])
    queue.start()
    captured = None
    while captured is None and not queue.exhausted():
        captured = queue.take(0.2)
    queue.close()
    assert captured is not None and captured.frame is not None
    assert asked_on == {"capture c"}
    if fails:
        assert captured.stats is None and captured.ahead is None, "whoever judges it finds the same, and says it"
    else:
        assert captured.stats is not None and captured.ahead == line.look_ahead(captured.stats)


def test_two_threads_that_measure_at_once_each_find_what_one_alone_does() -> None:
    line = enrolled_camera()
    alone = [line.look_ahead(stats) for stats in STATS]
    found: list[list[bool]] = [[], []]
    together = threading.Barrier(2)

    def measure(which: int) -> None:
        together.wait()
        for _ in range(40):
            found[which] += [line.look_ahead(stats) == known for stats, known in zip(STATS, alone, strict=True)]

    threads = [threading.Thread(target=measure, args=(which,)) for which in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(each) for each in found] == [40 * len(STATS)] * 2 and all(map(all, found))


def test_an_enrolment_is_ready_only_when_distances_can_be_taken() -> None:
    familiar = Familiar(2)
    familiar.add(STATS[0].values)
    assert not familiar.ready and familiar.distance(STATS[1].values) == 0.0
    familiar.add(STATS[1].values)
    assert familiar.ready and familiar.distance(STATS[40].values) > 0.0
