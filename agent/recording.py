"""What the line writes down of each frame: its result, the frame itself where it is kept, and its place in the window's account."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agent.camera_line import CameraLine
from agent.decide.causes import Cause
from agent.decide.thresholds import review
from agent.judging import Judged
from agent.open_window import OpenWindow
from agent.ports.clock import Clock
from agent.ports.recorder import Recorder, Result, Sample
from agent.ports.source import Frame
from contract.activation_map import summarise
from contract.ids import sample_name
from contract.messages import SampleNote


class Recording:
    """The frame loop's thread calls everything. `boot` returns the boot in force: kept frames are named by it."""

    def __init__(
        self, recorder: Recorder, clock: Clock, cameras: Mapping[str, CameraLine], boot: Callable[[], str]
    ) -> None:
        self._recorder, self._clock, self._cameras, self._boot = recorder, clock, cameras, boot

    def write(self, judged: Judged) -> None:
        """Record a judged frame; on a broken disk its verdict becomes REVIEW first (P6)."""
        if not self._recorder.healthy():
            judged.decision = review(Cause.BROKEN_DISK)
        frame, window, decision, seen = judged.frame, judged.window, judged.decision, judged.seen
        result = Result(
            window=window.number,
            captured_at=frame.captured_at,
            part=frame.part,
            verdict=decision.verdict.value,
            cause=decision.why.value if decision.why else "",
            label=seen.label.name if seen else "",
            confidence=seen.confidence if seen else 0.0,
            latency_ms=elapsed_ms(frame, self._clock),
            bundle=judged.by.bundle.digest if judged.by else window.bundle,
            asked_cloud=judged.asked,
            cloud_answer=judged.answered,
            camera=window.camera,
            asked=frame.asked,
        )
        recorded = False
        try:
            recorded = self._recorder.record(result, self._sample(judged))
        finally:
            window.count(decision, recorded=recorded, asked=judged.asked, answered=judged.answered)
            if judged.span is not None:
                judged.span.end(result)
                window.trace = frame.trace

    def write_unanswered(self, window: OpenWindow, cause: Cause, frame: Frame | None) -> None:
        """Record REVIEW for a frame that has no pixels (None), or that no model answered."""
        decision = review(cause)
        result = Result(
            window=window.number,
            captured_at=frame.captured_at if frame else self._clock.now(),
            part=frame.part if frame else "",
            verdict=decision.verdict.value,
            cause=cause.value,
            label="",
            confidence=0.0,
            latency_ms=elapsed_ms(frame, self._clock) if frame else 0.0,
            bundle=window.bundle,
            camera=window.camera,
            asked=frame.asked if frame else 0,
        )
        recorded = False
        try:
            recorded = self._recorder.record(result, None)
        finally:
            window.count(decision, recorded=recorded)

    def _sample(self, judged: Judged) -> Sample | None:
        frame, window = judged.frame, judged.window
        if judged.prediction is None:
            return None
        camera = self._cameras[window.camera]
        novelty = 0.0
        if judged.stats is not None and judged.shows_a_part:
            novelty = camera.novelty_of(judged.stats, window.reference, judged.ahead)
        keep = camera.sampler.draw(judged.local, novelty)
        if keep is None:
            return None
        note = SampleNote(
            sample=sample_name(self._boot(), window.camera, window.number, window.frames),
            captured_at=frame.captured_at,
            part=frame.part,
            label=judged.prediction.label.name,
            confidence=judged.prediction.confidence,
            verdict=judged.decision.verdict.value,
            reason=keep.reason.value,
            inclusion=keep.inclusion,
            novelty=round(novelty, 3),
        )
        looked = summarise(*judged.evidence) if judged.evidence is not None else None
        return Sample(note, frame.pixels, looked)


def elapsed_ms(frame: Frame, clock: Clock) -> float:
    """Return the milliseconds since `frame` was captured."""
    return (clock.monotonic() - frame.captured_monotonic) * 1e3
