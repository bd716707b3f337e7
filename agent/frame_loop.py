"""The frame line (DESIGN 2): read, preprocess, run, decode, decide, ask, observe, roll, record.

Every captured frame gets exactly one verdict, and whatever goes wrong on the way the verdict is REVIEW with its cause, never
PASS (P6). A frame captured while no model is installed is REVIEW too (`no_model`): the trigger has fired, a part is there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from agent.decide.budget import Budget
from agent.decide.causes import Cause
from agent.decide.escalation import may_ask, settle
from agent.decide.frame_faults import FrameFaults
from agent.decide.sampling import Sampler
from agent.decide.thresholds import Decision, decide, review
from agent.enrolled import Enrolled
from agent.guarantee import Guarantee
from agent.open_window import OpenWindow
from agent.ports.clock import Clock
from agent.ports.fallback import Fallback
from agent.ports.log import Log
from agent.ports.recorder import Recorder, Result, Sample
from agent.ports.source import Frame, FrameSource
from agent.serving import Serving
from agent.sketch.frame_stats import FrameStats, frame_stats
from contract.decode import Prediction
from contract.errors import BadImage, BadModel, CameraFault
from contract.messages import SampleNote

_LEVELS = 255.0
_SPREAD = 1  # its place in FrameStats.values


@dataclass(frozen=True, slots=True)
class LineRules:
    """What the line asks of the station. `ask_least_s`: with less of the deadline left, the cloud is not asked."""

    station: str
    boot: str
    deadline_ms: float
    window_frames: int
    window_s: float
    ask_least_s: float = 0.02


@dataclass(slots=True)
class _Judged:
    """One frame on its way down the line. Reused from frame to frame."""

    decision: Decision
    local: Decision
    prediction: Prediction | None
    stats: FrameStats | None
    fault: str = ""
    asked: bool = False
    answered: bool = False


class FrameLoop:
    """Reads frames until told to stop, or the source is exhausted. Runs on one thread."""

    def __init__(
        self,
        source: FrameSource,
        serving: Serving,
        enrolled: Enrolled,
        sampler: Sampler,
        faults: FrameFaults,
        fallback: Fallback | None,
        budget: Budget,
        recorder: Recorder,
        clock: Clock,
        log: Log,
        rules: LineRules,
        *,
        next_window: int,
        clock_synced: Callable[[], bool],
        guarantee: Guarantee | None = None,
    ) -> None:
        self._source = source
        self._serving = serving
        self._enrolled = enrolled
        self._sampler = sampler
        self._faults = faults
        self._fallback = fallback
        self._budget = budget
        self._recorder = recorder
        self._clock = clock
        self._log = log
        self._rules = rules
        self._clock_synced = clock_synced
        self._guarantee = guarantee
        self._window = OpenWindow(next_window, serving.in_charge, enrolled.reference, clock)
        self.frames = 0
        self.faults = 0

    def run(self, stop: threading.Event) -> None:
        """Judge frames until `stop` is set or the source is exhausted; then close the open window."""
        while not stop.is_set() and not self._source.exhausted():
            try:
                self.step()
            except Exception as error:  # noqa: BLE001 - the station outlives its own faults; they are counted and said
                self.faults += 1
                self._log.fault("frame loop", f"between two frames: {type(error).__name__}: {error}")
                self._clock.sleep(0.1)
        self._close_window(patiently=True)
        self._serving.close()
        self._source.close()

    def step(self) -> None:
        """Judge at most one frame: the part between two frame boundaries."""
        self._at_frame_boundary()
        try:
            frame = self._source.read()
        except CameraFault as error:
            self._without_pixels(Cause.CAMERA_FAULT, error.one_line())
            self._clock.sleep(0.01)  # a dead camera must not spin a core
        except BadImage as error:
            self._without_pixels(Cause.BAD_IMAGE, error.one_line())
        except Exception as error:  # noqa: BLE001 - P6: whatever a camera driver throws is REVIEW, counted and said
            self._without_pixels(Cause.CAMERA_FAULT, f"{type(error).__name__}: {error}")
            self._clock.sleep(0.01)
        else:
            if frame is not None:
                self._guarded_line(frame)
        self._roll()

    def _at_frame_boundary(self) -> None:
        self._serving.at_frame_boundary()
        self._enrolled.at_frame_boundary()
        stale = self._window.model is not self._serving.in_charge or self._reference_changed()
        # Frames of two bundles, or of two references, never share a window: their sketches must not be merged.
        if stale and (self._window.frames == 0 or self._close_window()):
            self._open_window(self._window.number)

    def _guarded_line(self, frame: Frame) -> None:
        before = self.frames
        try:
            self._line(frame)
        except Exception as error:  # noqa: BLE001 - P6: a captured frame has its verdict even when we are the ones at fault
            self.faults += 1
            why = f"{type(error).__name__}: {error}"
            if self.frames == before:
                self._without_pixels(Cause.INTERNAL, why)
            else:
                self._log.fault("after the verdict", why)

    def _line(self, frame: Frame) -> None:
        judged = self._judge(frame)
        if judged.fault:
            self._log.fault(f"{judged.decision.why}", f"REVIEW: {judged.fault}")
        latency_ms = self._elapsed_ms(frame)
        if latency_ms > self._rules.deadline_ms:
            # The line did not wait for us: whatever we would have said, the part went by undecided.
            judged.decision = judged.local = review(Cause.LATE)
        elif judged.local.escalate and self._fallback is not None:
            self._ask(frame, judged, self._fallback)
            latency_ms = self._elapsed_ms(frame)
        if not self._recorder.healthy():
            judged.decision = review(Cause.BROKEN_DISK)
        if judged.stats is not None and self._window.model is not None:
            self._window.observe(judged.stats, judged.prediction, latency_ms * 1e3)
            if judged.local.why not in (Cause.BLANK_FRAME, Cause.FROZEN_FRAME):
                self._enrolled.add(judged.stats)
        self._record(frame, judged, latency_ms)
        if self._window.model is not None:
            self._serving.decided(frame, judged.prediction, self._by_thresholds(judged.prediction), latency_ms)

    def _judge(self, frame: Frame) -> _Judged:
        """Return the local answer; every failure on the way is REVIEW with its cause."""
        prediction: Prediction | None = None
        stats: FrameStats | None = None
        fault = ""
        try:
            stats = frame_stats(frame.pixels)
            seen = self._faults.look(float(stats.values[_SPREAD]) * _LEVELS, stats.frame_hash)
            if self._window.model is None:
                local = review(Cause.NO_MODEL)
            else:
                prediction = self._window.model.predict(frame)
                local = review(seen) if seen else decide(prediction, self._window.model.bundle.manifest.thresholds)
                local = self._guarantee.apply(local) if self._guarantee else local
        except BadImage as error:
            local, fault = review(Cause.BAD_IMAGE), error.one_line()
        except BadModel as error:
            local, fault = review(Cause.BROKEN_MODEL), error.one_line()
            self._serving.failed(fault)
        except Exception as error:  # noqa: BLE001 - P6: a fault of ours is REVIEW too, counted and said
            local, fault = review(Cause.INTERNAL), f"{type(error).__name__}: {error}"
            self._serving.failed(fault)
        return _Judged(local, local, prediction, stats, fault)

    def _ask(self, frame: Frame, judged: _Judged, fallback: Fallback) -> None:
        model = self._window.model
        left_s = self._rules.deadline_ms / 1e3 - self._elapsed_ms(frame) / 1e3
        judged.asked, self._budget = may_ask(
            judged.local,
            self._budget,
            now_s=self._clock.monotonic(),
            time_left_s=left_s,
            least_s=self._rules.ask_least_s,
        )
        if not judged.asked or model is None:
            return
        opinion = fallback.ask(frame, left_s)
        judged.answered = opinion is not None
        judged.decision = settle(judged.local, opinion, model.bundle.manifest.thresholds)
        if self._elapsed_ms(frame) > self._rules.deadline_ms:
            judged.decision = review(Cause.LATE)

    def _by_thresholds(self, prediction: Prediction | None) -> Decision | None:
        model = self._window.model
        return decide(prediction, model.bundle.manifest.thresholds) if model and prediction else None

    def _without_pixels(self, cause: Cause, why: str) -> None:
        self._log.fault(cause.value, f"REVIEW: {why}")
        self.frames += 1
        decision = review(cause)
        result = self._result(decision, None, self._clock.now(), "", 0.0)
        self._window.count(decision, recorded=self._recorder.record(result, None))

    def _record(self, frame: Frame, judged: _Judged, latency_ms: float) -> None:
        self.frames += 1
        result = self._result(
            judged.decision, judged.prediction, frame.captured_at, frame.part, latency_ms, judged.asked, judged.answered
        )
        recorded = self._recorder.record(result, self._sample(frame, judged))
        self._window.count(judged.decision, recorded=recorded, asked=judged.asked, answered=judged.answered)

    def _result(
        self,
        decision: Decision,
        prediction: Prediction | None,
        captured_at: float,
        part: str,
        latency_ms: float,
        asked: bool = False,
        answered: bool = False,
    ) -> Result:
        return Result(
            window=self._window.number,
            captured_at=captured_at,
            part=part,
            verdict=decision.verdict.value,
            cause=decision.why.value if decision.why else "",
            label=prediction.label.name if prediction else "",
            confidence=prediction.confidence if prediction else 0.0,
            latency_ms=latency_ms,
            bundle=self._window.bundle,
            asked_cloud=asked,
            cloud_answer=answered,
        )

    def _sample(self, frame: Frame, judged: _Judged) -> Sample | None:
        if judged.prediction is None:
            return None
        keep = self._sampler.draw(judged.local)
        if keep is None:
            return None
        note = SampleNote(
            sample=f"{self._rules.boot}-{self._window.number}-{self._window.frames}",
            captured_at=frame.captured_at,
            part=frame.part,
            label=judged.prediction.label.name,
            confidence=judged.prediction.confidence,
            verdict=judged.decision.verdict.value,
            reason=keep.reason.value,
            inclusion=keep.inclusion,
        )
        return Sample(note, frame.pixels)

    def _roll(self) -> None:
        if self._window.is_due(self._rules.window_frames, self._rules.window_s) and self._close_window():
            self._open_window(self._window.number)

    def _reference_changed(self) -> bool:
        return self._window.reference is not self._enrolled.reference

    def _close_window(self, *, patiently: bool = False) -> bool:
        """Queue the open window's end; False when the recorder has no room: the window stays open."""
        if self._window.frames == 0:
            return True
        if not self._recorder.has_room():
            if not patiently:
                return False
            for _ in range(50):
                if self._recorder.has_room():
                    break
                self._clock.sleep(0.1)
        summary = self._window.summary(
            self._rules.station,
            clock_synced=self._clock_synced(),
            shadow=self._serving.take_shadow(),
            simulated=self._source.simulated,
        )
        if self._guarantee is not None and self._guarantee.note:
            told = "; ".join(filter(None, (summary.note, self._guarantee.note)))
            summary = msgspec.structs.replace(summary, note=told)
        return self._recorder.close_window(self._window.number, summary)

    def _open_window(self, after: int) -> None:
        number = after + 1 if self._window.frames else after
        self._window = OpenWindow(number, self._serving.in_charge, self._enrolled.reference, self._clock)
        self._sampler.new_window()

    def _elapsed_ms(self, frame: Frame) -> float:
        return (self._clock.monotonic() - frame.captured_monotonic) * 1e3
