"""The line's two ends: a camera that is read when the controller asks, and a recorder whose verdicts the controller sees."""

from __future__ import annotations

from dataclasses import replace

from agent.decide.causes import Cause
from agent.line_io.desk import Desk
from agent.ports.clock import Clock
from agent.ports.recorder import Recorder, Result, Sample
from agent.ports.source import Frame, FrameSource
from contract.errors import BadImage
from contract.messages import Summary

_REST_S = 0.005


class TriggeredSource:
    """A `FrameSource` that hands on one frame a trigger: the first that is complete after it, with the trigger's part id.

    A camera that runs freely is read all the time and what nobody asked for is let go, uncounted: no part was there. One that has
    triggers of its own (`own_triggers`) hands on every frame, asked for or not. One that can wait (a folder) is read when asked.
    """

    def __init__(self, source: FrameSource, desk: Desk, clock: Clock, *, own_triggers: bool = False) -> None:
        self._source = source
        self._desk = desk
        self._clock = clock
        self._own_triggers = own_triggers
        self._handed = 0
        self.simulated = source.simulated
        self.waits = False

    def read(self) -> Frame | None:
        """Return the frame of the oldest trigger; None where there is no trigger or no frame yet. Raises as the camera's own."""
        if self._source.waits and not self._desk.wanting():
            with self._desk.news:
                self._desk.news.wait(_REST_S)
            return None
        try:
            frame = self._source.read()
        except Exception as fault:
            self._desk.take_fault(Cause.BAD_IMAGE if isinstance(fault, BadImage) else Cause.CAMERA_FAULT)
            raise
        if frame is None:
            return None
        captured_s = self._clock.monotonic() if self._source.waits else frame.captured_monotonic
        taken = self._desk.take(captured_s)
        if taken is None:
            return frame if self._own_triggers else None
        number, part = taken
        self._handed += 1
        # Where the camera counts none itself, a gap in this count is a part that was never seen (`agent.capture`).
        trigger = frame.trigger if self._own_triggers else self._handed + self._desk.missed
        return replace(frame, part=part or frame.part, asked=number, trigger=trigger, skipped=0)

    def exhausted(self) -> bool:
        """Return whether no frame will ever come again."""
        return self._source.exhausted()

    def close(self) -> None:
        """Let go of the device."""
        self._source.close()


class ShownRecorder:
    """A `Recorder` whose verdicts go to the line's controller, once they are in the recorder's queue."""

    def __init__(self, recorder: Recorder, desk: Desk) -> None:
        self._recorder = recorder
        self._desk = desk

    def record(self, result: Result, sample: Sample | None) -> bool:
        """Queue one result and its sample; see `Recorder`."""
        recorded = False
        try:
            recorded = self._recorder.record(result, sample)
        finally:
            self._desk.came_out(result, recorded=recorded)
        return recorded

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
