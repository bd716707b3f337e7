"""The line's two ends: a camera that is read when the controller asks, and a recorder whose verdicts the controller sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from agent.decide.causes import Cause
from agent.line_io.desk import Desk
from agent.ports.clock import Clock
from agent.ports.recorder import Recorder, Result, Sample
from agent.ports.source import Frame, FrameSource
from contract.errors import BadImage
from contract.messages import Summary

_REST_S = 0.005
_LOOK_AGAIN_S = 1.0
_MOST_GONE = 100_000  # a larger jump of a camera's count is a counter that was reset


class TriggeredSource:
    """A `FrameSource` that hands on one frame a trigger: the first that is complete after it, with the trigger's part id.

    A camera that runs freely is read all the time and what nobody asked for is let go, uncounted: no part was there. One that has
    triggers of its own (`own_triggers`) hands on every frame, asked for or not; of what its count leaves out there is no frame, and
    the triggers that were for it are lost. One that can wait (a folder) is read when asked, and keeps what nobody took.
    """

    def __init__(
        self,
        source: FrameSource,
        desk: Desk,
        clock: Clock,
        *,
        own_triggers: bool = False,
        seen: Callable[[], None] = lambda: None,
    ) -> None:
        """`seen` is told of every frame that the camera gave, also of those that are let go."""
        self._source = source
        self._desk = desk
        self._clock = clock
        self._own_triggers = own_triggers
        self._seen = seen
        self._kept: Frame | None = None
        self._look_s = float("inf")
        self._counted: int | None = None
        self._closed = False
        self.simulated = source.simulated
        self.waits = False

    def read(self) -> Frame | None:
        """Return the frame of the oldest trigger; None where there is no trigger or no frame yet. Raises as the camera's own."""
        waits = self._source.waits
        # After a fault it is read unasked: a station whose camera failed is not ready, and nobody would ever ask.
        if waits and not self._desk.wanting() and self._clock.monotonic() < self._look_s:
            with self._desk.news:
                self._desk.news.wait(_REST_S)
            return None
        frame = self._kept or self._next()
        if frame is None or self._closed:
            return None  # closed: another camera took its place while this one hung, and has the triggers
        captured_s = self._clock.monotonic() if waits else frame.captured_monotonic
        own = self._own_triggers
        taken = self._desk.take(captured_s, in_order=waits or own, gone=self._gone(frame) if own else 0, own=own)
        self._kept = frame if waits and taken is None else None
        if self._own_triggers:
            self._counted = frame.trigger
            # The desk knows which parts were never seen.
            frame = replace(frame, trigger=None, skipped=0)
        if taken is None:
            return frame if self._own_triggers else None
        number, part = taken
        return replace(frame, part=part or frame.part, asked=number, skipped=0)

    def exhausted(self) -> bool:
        """Return whether no frame will ever come again."""
        return self._kept is None and self._source.exhausted()

    def close(self) -> None:
        """Let go of the device."""
        self._closed = True
        self._kept = None
        self._source.close()

    def _next(self) -> Frame | None:
        try:
            frame = self._source.read()
        except Exception as fault:
            self._look_s = self._clock.monotonic() + _LOOK_AGAIN_S
            torn = isinstance(fault, BadImage)
            # A camera that is opened anew counts anew.
            self._counted = self._counted + 1 if torn and self._counted is not None else None
            if not self._closed:
                cause = Cause.BAD_IMAGE if torn else Cause.CAMERA_FAULT
                self._desk.take_fault(cause, own=torn and self._own_triggers)
            raise
        if frame is not None:
            self._seen()
            if self._look_s < float("inf"):
                self._look_s = float("inf")
                self._desk.look_again()  # it works again
        return frame

    def _gone(self, frame: Frame) -> int:
        """Return for how many triggers the camera's count says that there is no frame, between the last frame and this one."""
        if self._counted is None or frame.trigger is None:
            return 0
        gone = frame.trigger - self._counted - 1
        return gone if 0 < gone < _MOST_GONE else 0


class ShownRecorder:
    """A `Recorder` whose verdicts go to the line's controller once they are in the recorder's queue, or on the disk.

    It is an `agent.ports.recorder.AwaitsStorage` too, for the latter.
    """

    def __init__(self, recorder: Recorder, desk: Desk, *, stored_first: bool = False) -> None:
        """`stored_first`: a verdict that could be queued is told by `stored`; until then its trigger waits, as for any other."""
        self._recorder = recorder
        self._desk = desk
        self._stored_first = stored_first

    def record(self, result: Result, sample: Sample | None) -> bool:
        """Queue one result and its sample; see `Recorder`."""
        recorded = False
        try:
            recorded = self._recorder.record(result, sample)
        finally:
            if not (recorded and self._stored_first):
                self._desk.came_out(result, recorded=recorded)
        return recorded

    def awaits(self, result: Result) -> bool:
        """Return whether the controller waits for it; see `AwaitsStorage`."""
        return result.camera == self._desk.rules.camera

    def stored(self, results: Sequence[Result]) -> None:
        """Give the controller its verdicts among `results`; see `AwaitsStorage`."""
        for result in results:
            self._desk.came_out(result, recorded=True)

    def dropped(self, camera: str, window: int, cause: str, count: int, at: float) -> None:
        """Note drops; see `Recorder`."""
        self._recorder.dropped(camera, window, cause, count, at)

    def close_window(self, window: int, summary: Summary) -> bool:
        """Queue the end of `window`; see `Recorder`."""
        return self._recorder.close_window(window, summary)

    def has_room(self) -> bool:
        """Return whether the next item will be taken."""
        return self._recorder.has_room()

    def healthy(self) -> bool:
        """Return whether the last commit reached the disk."""
        return self._recorder.healthy()
