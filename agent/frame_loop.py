"""The frame line (DESIGN 2): take, judge, decide, ask, observe, roll, record. The second stage of the pipeline.

Every captured frame gets exactly one verdict or is counted as dropped by its cause, and whatever goes wrong on the way the
verdict is REVIEW with its cause, never PASS (P6). A frame captured while no model is installed is REVIEW too (`no_model`): the
trigger has fired, a part is there. Nothing here waits for disk or network: cameras are read ahead of it (`agent.capture`), the
cloud answers beside it (`agent.asking`), the recorder commits after it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from agent.asking import Asking
from agent.beside import BesideModels
from agent.camera_line import CameraLine
from agent.decide.causes import Cause
from agent.decide.thresholds import review
from agent.judging import Judged, TurnOver, judge
from agent.loading import Model
from agent.ports.clock import Clock
from agent.ports.frames import Captured, FrameQueue
from agent.ports.log import Log
from agent.ports.recorder import Recorder
from agent.ports.source import Frame
from agent.ports.tracing import BeginSpan
from agent.recording import Recording, elapsed_ms
from agent.serving import Serving
from agent.windows import WindowRules, Windows
from contract.errors import BadImage

_WAIT_S = 0.05
_DRAIN_S = 2.0
_MOST_LEFT = 256


@dataclass(frozen=True, slots=True)
class LineRules:
    """What the line asks of the station. `boot` returns the boot in force: kept frames are named by it."""

    boot: Callable[[], str]
    deadline_ms: float
    windows: WindowRules


@dataclass(frozen=True, slots=True)
class _InHand:
    """A frame that a model is looking at, and since when (monotonic).

    It is the one in charge; or `beside`, a model beside that; or, where the frame is `decided`, the candidate on trial.
    """

    camera: str
    frame: Frame
    since_s: float
    decided: bool = False
    beside: Model | None = None


class FrameLoop:
    """Judges frames until told to stop, or until no frame will ever come again. `run` is one thread.

    A model may hang in native code, where no thread can be ended. `replace` then takes the loop away from that thread, which
    finds, should it ever come back, that its turn is over. So everything but the models' own work happens under `_lock`.
    """

    def __init__(
        self,
        frames: FrameQueue,
        cameras: Sequence[CameraLine],
        serving: Serving,
        asking: Asking,
        recorder: Recorder,
        clock: Clock,
        log: Log,
        rules: LineRules,
        *,
        beside: BesideModels | None = None,
        begin_span: BeginSpan = lambda _frame, _camera: None,
        on_model: Callable[[], None] = lambda: None,
        last_call: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_model`: another model is in charge, or none. `last_call`: no frame is taken any more, and drops are counted last."""
        self._begin_span, self._on_model, self._last_call = begin_span, on_model, last_call
        self._model = serving.in_charge
        self._queue = frames
        self._cameras = {camera.name: camera for camera in cameras}
        self._serving = serving
        self._asking = asking
        self._recorder = recorder
        self._recording = Recording(recorder, clock, self._cameras, rules.boot)
        self._clock = clock
        self._log = log
        self._rules = rules
        self._beside = beside
        self._windows = {
            camera.name: Windows(camera, serving.in_charge, recorder, clock, rules.windows) for camera in cameras
        }
        self._told_dropped: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()
        self._turn = 0
        self._in_hand: _InHand | None = None
        self._turned_s = clock.monotonic()
        self.frames = 0
        self.faults = 0
        self.done = threading.Event()
        """Set when the line has ended and its last window is with the recorder."""

    def run(self, stop: threading.Event, *, drain: bool = True) -> None:
        """Judge frames until `stop` is set or none will come any more; then judge what waits and close every window.

        Without `drain` what waits at the stop is REVIEW (`late`) and no model is entered any more: one hung at the stop already.
        """
        mine = self._turn
        while not stop.is_set() and not self._over():
            if not self._guarded_step(mine, _WAIT_S):
                return
        # What was captured before the stop has a right to its verdict; there are few of them.
        until_s = self._clock.monotonic() + _DRAIN_S
        while drain and not self._queue.exhausted() and self._clock.monotonic() < until_s:
            if not self._guarded_step(mine, _WAIT_S):
                return
        with self._lock:
            if mine == self._turn:
                self._finish()

    def step(self, within_s: float = 0.0) -> None:
        """Judge at most one frame: the part between two frame boundaries."""
        self._step(self._turn, within_s)

    def why_stalled(self, within_s: float) -> str:
        """Return "" while the loop turns, else what it hangs in."""
        in_hand, now_s = self._in_hand, self._clock.monotonic()
        if in_hand is not None and now_s - in_hand.since_s > within_s:
            return f"the model has not answered for {now_s - in_hand.since_s:.0f} s"
        if now_s - self._turned_s > within_s and not self.done.is_set():
            return f"the frame loop has not turned for {now_s - self._turned_s:.0f} s"
        return ""

    def replace(self, within_s: float = 1.0) -> bool:
        """Take the loop away from a thread that hangs in a model; return whether that could be done: then `run` it anew.

        The frame in hand is REVIEW (`late`), as the line saw it; the model that hangs is given up, and no other. A loop that
        has ended is nobody's any more.
        """
        if not self._lock.acquire(timeout=within_s):
            return False
        try:
            if self.done.is_set():
                return False
            self._turn += 1
            in_hand, self._in_hand = self._in_hand, None
            self._turned_s = self._clock.monotonic()
            if in_hand is None:
                return True
            if in_hand.beside is not None and self._beside is not None:
                self._beside.hung(in_hand.beside)
            else:
                self._serving.hung(on_trial=in_hand.decided)
            if not in_hand.decided:
                self._without_answer(in_hand.camera, Cause.LATE, "the model hangs", in_hand.frame)
        finally:
            self._lock.release()
        return True

    def _guarded_step(self, mine: int, within_s: float) -> bool:
        """Return whether this thread's turn goes on."""
        try:
            return self._step(mine, within_s)
        except Exception as error:  # noqa: BLE001 - the station outlives its own faults; they are counted and said
            self.faults += 1
            self._log.fault("frame loop", f"between two frames: {type(error).__name__}: {error}")
            self._clock.sleep(0.1)
            return mine == self._turn

    def _step(self, mine: int, within_s: float) -> bool:
        captured = self._queue.take(self._patience_s(within_s))
        with self._lock:
            if mine != self._turn:
                self._taken_too_late(captured)
                return False
            self._turned_s = self._clock.monotonic()
            self._at_frame_boundary()
            if captured is None:
                return True
            if captured.frame is None:
                self._take_fault(captured)
                return True
            camera, frame = self._cameras[captured.camera], captured.frame
            window = self._windows[camera.name].open
            in_hand = self._in_hand = _InHand(camera.name, frame, self._turned_s)
        beside = self._beside.of(camera.name) if self._beside else ()
        began_s = self._clock.monotonic()
        try:
            judged = judge(
                frame,
                camera,
                window,
                beside,
                captured.stats,
                lambda each: self._enter(mine, in_hand, each),
                ahead=captured.ahead,
            )
        except TurnOver:
            return False
        with self._lock:
            if mine != self._turn:
                return False
            took_ms = (self._clock.monotonic() - began_s) * 1e3
            self._in_hand = _InHand(camera.name, frame, self._clock.monotonic(), decided=True)
            before = self.frames
            try:
                self._decide(judged, camera)
            except Exception as error:  # noqa: BLE001 - P6: a captured frame has its verdict even when we are the ones at fault
                self._own_fault(error, camera.name, frame, decided=self.frames > before)
        shadowed = self._serving.shadow(frame) if window.model is not None else None
        with self._lock:
            if mine != self._turn:
                return False
            self._in_hand = None
            try:
                if window.model is not None:
                    self._serving.decided(judged.prediction, took_ms, shadowed)
            except Exception as error:  # noqa: BLE001 - the frame has its verdict; what else was to be done with it is said
                self._own_fault(error, camera.name, frame, decided=True)
        return True

    def _enter(self, mine: int, in_hand: _InHand, model: Model) -> None:
        with self._lock:
            if mine != self._turn:
                raise TurnOver
            self._in_hand = replace(in_hand, since_s=self._clock.monotonic(), beside=model)

    def _taken_too_late(self, captured: Captured | None) -> None:
        if captured is not None and not self.done.is_set():
            self._without_answer(captured.camera, Cause.LATE, "its thread was left behind", captured.frame)

    def _over(self) -> bool:
        return self._queue.exhausted() and self._asking.next_due_s() is None

    def _patience_s(self, within_s: float) -> float:
        due_s = self._asking.next_due_s()
        return within_s if due_s is None else min(within_s, max(0.0, due_s - self._clock.monotonic()))

    def _at_frame_boundary(self) -> None:
        self._settle()
        self._serving.at_frame_boundary()
        if self._serving.in_charge is not self._model:
            self._model = self._serving.in_charge
            self._on_model()
        if self._beside is not None:
            self._beside.at_frame_boundary()
        for name, camera in self._cameras.items():
            camera.enrolled.at_frame_boundary()
            self._windows[name].at_frame_boundary(self._serving.in_charge)
            self._count_dropped(name)

    def _count_dropped(self, camera: str) -> None:
        for cause, total in self._queue.dropped(camera).items():
            told = self._told_dropped.get((camera, cause), 0)
            if total > told:
                window = self._windows[camera].open
                window.drop(cause, total - told)
                self._recorder.dropped(camera, window.number, cause, total - told, self._clock.now())
                self._told_dropped[camera, cause] = total

    def _take_fault(self, captured: Captured) -> None:
        fault = captured.fault
        cause = Cause.BAD_IMAGE if isinstance(fault, BadImage) else Cause.CAMERA_FAULT
        said = getattr(fault, "one_line", None)
        self._without_answer(captured.camera, cause, said() if said else f"{type(fault).__name__}: {fault}")

    def _decide(self, judged: Judged, camera: CameraLine) -> None:
        if judged.fault:
            self._log.fault(f"{judged.decision.why}", f"REVIEW: {judged.fault}")
        if judged.model_failed:
            self._serving.failed(judged.fault)
        latency_ms = elapsed_ms(judged.frame, self._clock)
        if judged.stats is not None and judged.window.model is not None:
            judged.window.observe(judged.stats, judged.prediction, latency_ms * 1e3)
            # While a drift alarm is open no frame is an example of what this camera's frames are like, unless it enrols anew.
            learns = camera.enrolled.reference is None or not camera.guarantee.is_void
            if learns and judged.shows_a_part:
                camera.enrolled.add(judged.stats, judged.distance)
        if (span := self._begin_span(judged.frame, camera.name)) is not None:
            judged.span, judged.frame = span, replace(judged.frame, trace=span.traceparent)
        if latency_ms > self._rules.deadline_ms:
            # The line did not wait for us: whatever we would have said, the part went by undecided.
            judged.decision = judged.local = review(Cause.LATE)
        elif self._asking.ask(judged):
            judged.window.parked += 1
            return
        self._record(judged)

    def _settle(self) -> None:
        self._give(self._asking.settled())

    def _give(self, due: list[Judged]) -> None:
        """Give frames that were set aside their verdict: one that cannot be recorded keeps no other from it."""
        for judged in due:
            judged.window.parked -= 1
            try:
                self._record(judged)
            except Exception as error:  # noqa: BLE001 - counted as undecided by now
                self._own_fault(error, judged.window.camera, judged.frame, decided=True)

    def _own_fault(self, error: Exception, camera: str, frame: Frame, *, decided: bool) -> None:
        self.faults += 1
        why = f"{type(error).__name__}: {error}"
        if decided:
            self._log.fault("after the verdict", why)
        else:
            self._without_answer(camera, Cause.INTERNAL, why, frame)

    def _without_answer(self, camera: str, cause: Cause, why: str, frame: Frame | None = None) -> None:
        """Record REVIEW for a frame that has no pixels, or that no model answered."""
        self._log.fault(cause.value, f"REVIEW: {why}")
        self.frames += 1
        self._recording.write_unanswered(self._windows[camera].open, cause, frame)

    def _record(self, judged: Judged) -> None:
        self.frames += 1
        self._recording.write(judged)

    def _finish(self) -> None:
        self._give(self._asking.abandon())
        # Time is out for what still waits, and its part went by: said of each, and forgotten of none.
        for _ in range(_MOST_LEFT):
            left = self._queue.take(0.0)
            if left is None:
                break
            self._without_answer(left.camera, Cause.LATE, "the station stops", left.frame)
        self._last_call()
        for name, windows in self._windows.items():
            self._count_dropped(name)
            windows.close(patiently=True)
        self._serving.close()
        if self._beside is not None:
            self._beside.close()
        self.done.set()
