"""Counts what goes in at the line's start and comes out at its end, for /metrics and /healthz.

It stands around the source and the recorder, so it counts what happened and not what somebody meant to count. The line's
threads write plain integers and wait for nobody; readers copy. Counts begin with the process.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

from agent.decide.causes import Cause
from agent.ports.clock import Clock
from agent.ports.recorder import Recorder, Result, Sample
from agent.ports.source import Frame, FrameSource
from contract.messages import Summary

# Upper bounds in milliseconds; the last bin has none.
LATENCY_BOUNDS_MS = (1.0, 2.0, 5.0, 10.0, 20.0, 35.0, 50.0, 75.0, 100.0, 150.0, 200.0, 350.0, 500.0, 1000.0, 2500.0)
_CAMERA_FAULTS_IN_A_ROW = 5
_SMOOTH = 1 / 8
# Their results carry no latency: nothing was captured that one could be measured from.
_WITHOUT_LATENCY = (Cause.CAMERA_FAULT.value,)


@dataclass(slots=True)
class _Progress:
    """One camera's: what it gave (frames and faults), what came out of the line, and when it last moved."""

    turned_s: float
    source: object = None
    gave: int = 0
    came_out: int = 0
    waiting_since_s: float | None = None
    faults_in_a_row: int = 0


class LineMeter:
    """The counts of one line."""

    def __init__(self, clock: Clock, left_out: Callable[[str], int] = lambda _camera: 0) -> None:
        """`left_out`: how many of what a camera gave were dropped before anybody judged them."""
        self._clock = clock
        self._left_out = left_out
        self.decided: dict[tuple[str, str], int] = {}
        self.dropped: dict[str, int] = {}
        self.decided_of: dict[tuple[str, str, str], int] = {}
        """By (camera, verdict, cause): what `decided` adds up."""
        self.dropped_of: dict[tuple[str, str], int] = {}
        """By (camera, cause): what `dropped` adds up."""
        self.undecided = 0
        self.windows = 0
        self.asked_cloud = 0
        self.cloud_answers = 0
        self.latency_bins = [0] * (len(LATENCY_BOUNDS_MS) + 1)
        self.latency_sum_ms = 0.0
        self.recent_latency_ms = 0.0
        self._cameras: dict[str, _Progress] = {}

    @property
    def camera_faults(self) -> int:
        """Frames that were due and could not be captured."""
        return sum(n for (_, cause), n in self.decided.copy().items() if cause == Cause.CAMERA_FAULT.value)

    def source(self, source: FrameSource, camera: str = "") -> FrameSource:
        """Return `source`, watched, in place of the one that `camera` had until it is closed."""
        progress = self._of(camera)
        watched = _MeteredSource(source, self, camera, progress.source)
        progress.source = watched
        return watched

    def closed(self, source: object, camera: str, before: object) -> None:
        """Note that `source` is closed: one that was opened too late never took the place of the one `before` it."""
        progress = self._of(camera)
        if progress.source is source:
            progress.source = before

    def recorder(self, recorder: Recorder) -> Recorder:
        """Return `recorder`, watched."""
        return _MeteredRecorder(recorder, self)

    def why_stalled(self, within_s: float, camera: str | None = None) -> str:
        """Return "" while the line turns: it reads, and what it reads comes out decided; else what is wrong.

        Of every camera, or of the one that is named.
        """
        # One by one: a camera that works says nothing of another.
        reasons = (
            self._why(name, progress, within_s)
            for name, progress in self._cameras.copy().items()
            if camera in (None, name)
        )
        return "; ".join(filter(None, reasons))

    def idle_s(self) -> dict[str, float]:
        """Return for how long each camera has given nothing and nothing of it came out, by its name ("": the only or first)."""
        now_s = self._clock.monotonic()
        return {camera: now_s - progress.turned_s for camera, progress in sorted(self._cameras.copy().items())}

    def saw(self, camera: str) -> None:
        """Note that a camera gave a frame, whatever becomes of it: it works."""
        self._of(camera).faults_in_a_row = 0

    def _why(self, camera: str, progress: _Progress, within_s: float) -> str:
        now_s, waiting_s = self._clock.monotonic(), progress.waiting_since_s
        name = f"camera '{camera}'" if camera else "the camera"
        if waiting_s is not None and now_s - waiting_s > within_s:
            whose = f" of {name}" if camera else ""
            if progress.gave > progress.came_out + self._left_out(camera):
                return f"no frame{whose} has come out of the line for {now_s - waiting_s:.0f} s though one went in"
        if now_s - progress.turned_s > within_s:
            return f"{name} has not answered for {now_s - progress.turned_s:.0f} s"
        if progress.faults_in_a_row >= _CAMERA_FAULTS_IN_A_ROW:
            return f"{name} failed {progress.faults_in_a_row} times in a row"
        return ""

    def _of(self, camera: str) -> _Progress:
        progress = self._cameras.get(camera)
        if progress is None:
            progress = self._cameras[camera] = _Progress(self._clock.monotonic())
        return progress

    def read_returned(self, source: object, camera: str, *, gave: bool) -> None:
        """Note that a camera's source answered, and whether it `gave` something that must come out as a verdict."""
        progress = self._of(camera)
        if source is not progress.source:
            return  # it hung and another took its place: nobody awaits what it reads at last
        progress.turned_s = self._clock.monotonic()
        progress.gave += gave
        if gave and progress.waiting_since_s is None:
            progress.waiting_since_s = progress.turned_s

    def came_out(self, result: Result, *, recorded: bool) -> None:
        """Count one frame that has its verdict; `recorded` False: the recorder had no room for it."""
        progress = self._of(result.camera)
        progress.turned_s = self._clock.monotonic()
        progress.waiting_since_s = None
        progress.came_out += 1
        progress.faults_in_a_row = progress.faults_in_a_row + 1 if result.cause == Cause.CAMERA_FAULT.value else 0
        if recorded:
            key = (result.verdict, result.cause)
            self.decided[key] = self.decided.get(key, 0) + 1
            mine = (result.camera, *key)
            self.decided_of[mine] = self.decided_of.get(mine, 0) + 1
        else:
            self.undecided += 1
        self.asked_cloud += result.asked_cloud
        self.cloud_answers += result.cloud_answer
        if result.cause not in _WITHOUT_LATENCY:
            self.latency_bins[bisect_left(LATENCY_BOUNDS_MS, result.latency_ms)] += 1
            self.latency_sum_ms += result.latency_ms
            self.recent_latency_ms += _SMOOTH * (result.latency_ms - self.recent_latency_ms)

    def window_closed(self, summary: Summary) -> None:
        """Count one window's end, and the frames dropped in it: the line counts those by window."""
        self.windows += 1
        for cause, n in summary.accounting.dropped.items():
            self.dropped[cause] = self.dropped.get(cause, 0) + n
            mine = (summary.header.camera, cause)
            self.dropped_of[mine] = self.dropped_of.get(mine, 0) + n


class _MeteredSource:
    def __init__(self, source: FrameSource, meter: LineMeter, camera: str, before: object) -> None:
        self._before = before
        self._source = source
        self._meter = meter
        self._camera = camera
        self.simulated = source.simulated
        self.waits = source.waits

    def read(self) -> Frame | None:
        """Return the next frame; see `FrameSource`."""
        gave = True  # a fault comes out as a verdict too
        try:
            frame = self._source.read()
            gave = frame is not None
        finally:
            self._meter.read_returned(self, self._camera, gave=gave)
        return frame

    def exhausted(self) -> bool:
        """Return whether no frame will ever come again."""
        return self._source.exhausted()

    def close(self) -> None:
        """Let go of the device."""
        before, self._before = self._before, None
        self._meter.closed(self, self._camera, before)
        self._source.close()


class _MeteredRecorder:
    def __init__(self, recorder: Recorder, meter: LineMeter) -> None:
        self._recorder = recorder
        self._meter = meter

    def record(self, result: Result, sample: Sample | None) -> bool:
        """Queue one result and its sample; see `Recorder`."""
        recorded = self._recorder.record(result, sample)
        self._meter.came_out(result, recorded=recorded)
        return recorded

    def dropped(self, camera: str, window: int, cause: str, count: int, at: float) -> None:
        """Note drops; see `Recorder`."""
        self._recorder.dropped(camera, window, cause, count, at)

    def close_window(self, window: int, summary: Summary) -> bool:
        """Queue the end of `window`; see `Recorder`."""
        taken = self._recorder.close_window(window, summary)
        if taken:
            self._meter.window_closed(summary)
        return taken

    def has_room(self) -> bool:
        """Return whether the next item will be taken."""
        return self._recorder.has_room()

    def healthy(self) -> bool:
        """Return whether the last commit reached the disk."""
        return self._recorder.healthy()
