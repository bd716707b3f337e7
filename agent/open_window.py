"""The window that is open: its counts and, where a model answers, its sketches."""

from __future__ import annotations

from agent.decide.accounting import Tally
from agent.decide.thresholds import Decision
from agent.loading import Model
from agent.ports.clock import Clock
from contract.decode import Prediction
from contract.errors import SketchMismatch
from contract.messages import Header, ShadowNote, Summary
from contract.sketches.enrolment import DEFAULT_SEED
from contract.sketches.frame_stats import FrameStats
from contract.sketches.reference import Reference
from contract.sketches.rolling import RollingSketch
from contract.sketches.window import FEATURES_VERSION, SketchIdentity
from contract.sketches.wire import to_wire

NO_MODEL = "no model was installed"
_WAITS_TIMES = 8
# A clock that differs by more from the time that passed was set, or the machine slept.
_SET_S = 1.0
HANDED_OVER = "no sketches: several models judged in this window, for the disk was away"
SKETCHES_OFF = "no sketches: windows.sketch is false"
TOO_FEW = "no sketches: of so few frames they would show what one looked like (images_leave = 'never')"


class OpenWindow:
    """Frames of one bundle and one reference, from the first until `summary`. One thread's."""

    def __init__(
        self,
        number: int,
        model: Model | None,
        reference: Reference | None,
        clock: Clock,
        camera: str = "",
        *,
        sketch: bool = True,
        least_sketched: int = 0,
    ) -> None:
        """`least_sketched`: sketches of fewer frames are not shipped."""
        self._least_sketched = least_sketched
        self._sketched = 0
        self.number = number
        self.camera = camera
        self.model = model
        self.reference = reference
        self.started_at = clock.now()
        self.started_s = clock.monotonic()
        self.parked = 0
        """Frames of it that wait for the cloud's opinion: it cannot close before they have their verdict."""
        self.trace = ""
        """What carries on the trace of its newest frame that is traced."""
        self.told: Summary | None = None
        """Its summary, once made: sketches close once."""
        self._clock = clock
        self._ended: tuple[float, float] | None = None
        self._tally = Tally()
        self._note = NO_MODEL if model is None else "" if sketch else SKETCHES_OFF
        self._sketch = self._make_sketch(model, reference) if sketch else None

    @property
    def frames(self) -> int:
        """Frames captured in this window."""
        return self._tally.captured

    @property
    def bundle(self) -> str:
        """The digest of the bundle in charge, "" for none."""
        return self.model.bundle.digest if self.model else ""

    def observe(self, stats: FrameStats, local: Prediction | None, latency_us: float) -> None:
        """Sketch one frame with its LOCAL prediction, never the cloud's: drift is judged on what this model sees."""
        if self._sketch is not None:
            index, confidence = (local.index, local.confidence) if local else (-1, 0.0)
            self._sketch.observe(stats, index, confidence, latency_us)
            self._sketched += 1

    def count(self, decision: Decision, *, recorded: bool, asked: bool = False, answered: bool = False) -> None:
        """Count one frame by what became of it."""
        if recorded:
            self._tally.count(decision, asked=asked, answered=answered)
        else:
            self._tally.count_unrecorded(asked=asked, answered=answered)

    def drop(self, cause: str, count: int) -> None:
        """Count frames that were captured and dropped before anybody looked at them."""
        self._tally.count_dropped(cause, count)

    def hand_over(self, model: Model | None) -> None:
        """Go on with another model, where no other window can be opened: counted as ever, and sketched no more."""
        self.model = model
        self._sketch = None
        self._note = HANDED_OVER

    def end(self) -> None:
        """Note that no frame will join it any more."""
        self._ended = (self._clock.now(), self._clock.monotonic())

    def is_due(self, max_frames: int, max_s: float) -> bool:
        """Return whether it holds enough frames, or is old enough and not empty."""
        if self.frames >= max(max_frames, self._least_sketched):
            return True
        # One with too few to ship waits for more, but a slow line is not silent for that.
        waits = self._sketch is not None and self._sketched < self._least_sketched
        return self.frames > 0 and self._clock.monotonic() - self.started_s >= max_s * (_WAITS_TIMES if waits else 1)

    def summary(self, station: str, *, clock_synced: bool, shadow: ShadowNote | None, simulated: bool) -> Summary:
        """Return what is shipped of this window; call it once. The outbox fills in `boot`, `seq` and `samples`."""
        started_at = self.started_at
        ended_at, monotonic_s = self._ended or (self._clock.now(), self._clock.monotonic())
        lasted_s = monotonic_s - self.started_s
        set_by_s = ended_at - started_at - lasted_s
        if abs(set_by_s) > _SET_S:
            # The window lasted as long as it lasted; of two clocks the later is believed, as a dead battery means 1970.
            clock_synced = False
            started_at = max(started_at, ended_at - lasted_s)
            ended_at = started_at + lasted_s
        header = Header(
            station=station,
            boot="",
            seq=0,
            started_at=started_at,
            ended_at=ended_at,
            monotonic_s=monotonic_s,
            clock_synced=clock_synced,
            bundle=self.bundle,
            camera=self.camera,
        )
        if self._sketch is not None and self._sketched < self._least_sketched:
            self._sketch, self._note = None, TOO_FEW
        return Summary(
            header=header,
            accounting=self._tally.close(),
            window=to_wire(self._sketch.close()) if self._sketch is not None else None,
            shadow=shadow,
            simulated=simulated,
            note=self._note,
            trace=self.trace,
        )

    def _make_sketch(self, model: Model | None, reference: Reference | None) -> RollingSketch | None:
        if model is None:
            return None
        identity = SketchIdentity(
            features=FEATURES_VERSION,
            seed=reference.seed if reference else DEFAULT_SEED,
            reference=reference.digest() if reference else "",
            artefact=model.artefact_sha256,
            labels=len(model.bundle.manifest.labels),
        )
        try:
            return RollingSketch(identity, reference)
        except SketchMismatch as error:
            # A model with thousands of labels is judged and counted all the same; its drift is not watched, and we say so.
            self._note = f"no sketches: {error.message}"
            return None
