"""The models of a station: the one in charge, the one to fall back to, and the one on trial."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent.decide.thresholds import Decision, decide
from agent.decide.trial import TrialTally
from agent.ports.clock import Clock
from agent.ports.log import Log
from agent.ports.runtime import Runtime
from agent.ports.slots import BundleSwitch, InstalledBundle, Trial, TrialOutcome
from agent.ports.source import Frame
from contract.decode import Prediction, decode
from contract.errors import BadImage, BadModel, PlumblineError
from contract.manifest import Artefact, Manifest
from contract.messages import ShadowNote
from contract.preprocess import preprocess

Load = Callable[[Path, Manifest], tuple[Runtime, Artefact]]

FAILURES_BEFORE_FALLBACK = 5


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded bundle. `artefact_sha256` names the file whose outputs are sketched."""

    bundle: InstalledBundle
    runtime: Runtime
    artefact: Artefact
    artefact_sha256: str

    def predict(self, frame: Frame) -> Prediction:
        """Return the prediction for one frame.

        Raises:
            BadModel: the runtime failed, or its scores are no numbers.
            BadImage: the frame's pixels are of no usable shape.
        """
        manifest = self.bundle.manifest
        scores = self.runtime.run(preprocess(frame.pixels, manifest.preprocess))
        return decode(scores, manifest.labels, self.artefact.output)


@dataclass(frozen=True, slots=True)
class Shadow:
    """What a candidate, `by`, made of a frame beside the model in charge; no `prediction`: the `failure` says why."""

    by: Model
    prediction: Prediction | None
    latency_ms: float
    failure: str = ""


class Serving:
    """Which model decides. The frame loop's thread calls everything; only loading happens elsewhere.

    Fallback chain: the bundle in charge -> the previous one -> none, and every frame is REVIEW (DESIGN 3).
    """

    def __init__(
        self,
        load: Load,
        switch: BundleSwitch,
        clock: Clock,
        log: Log,
        *,
        deadline_ms: float,
        previous: InstalledBundle | None,
    ) -> None:
        self._load = load
        self._switch = switch
        self._clock = clock
        self._log = log
        self._deadline_ms = deadline_ms
        self._previous = previous
        self._failures = 0
        self._loading: _Loading | None = None
        self._rescue: _Loading | None = None
        self._trial: Trial | None = None
        self._tally: TrialTally | None = None
        self._candidate: Model | None = None
        self._ended_shadow: ShadowNote | None = None
        self.in_charge: Model | None = None

    def begin(self, bundle: InstalledBundle) -> None:
        """Load `bundle` and put it in charge, or else the previous one, or none."""
        for choice in (bundle, self._previous):
            if choice is None:
                continue
            try:
                self.in_charge = self._load_model(choice)
            except PlumblineError as error:
                self._log.say(f"bundle {choice.digest[:12]} does not load: {error.one_line()}")
                continue
            if choice is self._previous:
                self._previous = None
            self._log.say(
                f"bundle {choice.digest[:12]} ({choice.manifest.name} {choice.manifest.version}) is in charge"
            )
            return
        self._log.say("no bundle loads: every frame is REVIEW until one is installed")

    def take_shadow(self) -> ShadowNote | None:
        """Return what the candidate did beside the one in charge: of the trial under way, else of one that ended, once."""
        if self._trial is not None and self._tally is not None and self._tally.compared:
            return _note(self._trial, self._tally)
        ended, self._ended_shadow = self._ended_shadow, None
        return ended

    @property
    def loading(self) -> bool:
        """Whether a candidate, or a bundle to fall back to, is being loaded right now."""
        return any(each is not None and not each.done() for each in (self._loading, self._rescue))

    def at_frame_boundary(self) -> None:
        """Take up a trial that was offered, or a candidate whose loading ended; end a trial that is over."""
        if self._rescue is not None and self._rescue.done():
            self._finish_rescue(self._rescue)
        if self._trial is None:
            self._take_up()
        elif self._loading is not None:
            self._finish_loading(self._trial, self._loading)
        if self._tally is not None:
            verdict = self._tally.judge(self._clock.monotonic())
            if verdict is not None:
                self._conclude(kept=verdict.kept, reason=verdict.reason)

    def shadow(self, frame: Frame) -> Shadow | None:
        """Return what the candidate on trial makes of `frame`; None without one. Changes nothing, and may take its time."""
        candidate = self._candidate
        if candidate is None:
            return None
        started_s, prediction, failure = self._clock.monotonic(), None, ""
        try:
            prediction = candidate.predict(frame)
        except BadImage:
            return None  # an unusable image says nothing about the candidate
        except BadModel as error:
            failure = error.one_line()
        except Exception as error:  # noqa: BLE001 - whatever a candidate throws ends its trial, not the station
            failure = f"{type(error).__name__}: {error}"
        return Shadow(candidate, prediction, (self._clock.monotonic() - started_s) * 1e3, failure)

    def decided(
        self, prediction: Prediction | None, decision: Decision | None, latency_ms: float, shadow: Shadow | None
    ) -> None:
        """Tell the trial what the model in charge made of a frame (None: it failed), and what the candidate did."""
        self._failures = 0 if prediction is not None else self._failures
        if self._tally is None:
            return
        if self._candidate is None:
            # The first bundle ever: it is in charge and on probation at once.
            if prediction is not None:
                self._tally.saw(latency_ms, agreed=None)
            return
        if shadow is None or shadow.by is not self._candidate:
            return
        if shadow.prediction is None:
            self._tally.failed(shadow.failure)
            return
        mine = decide(shadow.prediction, self._candidate.bundle.manifest.thresholds)
        agreed = None
        if prediction is not None and decision is not None:
            agreed = mine.verdict is decision.verdict and shadow.prediction.label.name == prediction.label.name
        self._tally.saw(shadow.latency_ms, agreed=agreed)

    def failed(self, why: str) -> None:
        """Note that the model in charge failed on a frame; after a few in a row, fall back to the previous bundle."""
        if self._tally is not None and self._candidate is None:
            self._tally.failed(why)
        self._failures += 1
        if self._failures < FAILURES_BEFORE_FALLBACK or self._previous is None or self.in_charge is None:
            return
        self._log.say(f"bundle {self.in_charge.bundle.digest[:12]} failed {self._failures} times in a row")
        self._fall_back(self._previous)

    def hung(self) -> None:
        """Give up the model that hangs in native code. It cannot be freed: a thread is still inside it."""
        if self._candidate is not None and self._tally is not None:
            # It may be the incumbent's fault; then the next hang finds it alone.
            self._tally.failed("a model hung while it was on trial")
            self._conclude(kept=False, reason="a model hung while it was on trial", free=False)
            return
        if self._tally is not None:
            self._tally.failed("it hung")
        hung, self.in_charge = self.in_charge, None
        if hung is None:
            return
        self._log.say(f"bundle {hung.bundle.digest[:12]} hangs: it is given up")
        self._fall_back(self._previous or hung.bundle)

    def _fall_back(self, bundle: InstalledBundle) -> None:
        """Load `bundle` beside the line, and put it in charge once it is loaded."""
        if bundle is self._previous:
            self._previous = None
        self._log.say(f"falling back to {bundle.digest[:12]}")
        self._failures = 0
        self._rescue = _Loading(lambda: self._load_model(bundle))

    def close(self) -> None:
        """Free every model."""
        for model in (self.in_charge, self._candidate):
            if model is not None:
                model.runtime.close()
        self.in_charge = self._candidate = None

    def _take_up(self) -> None:
        trial = self._switch.next_trial()
        if trial is None:
            return
        self._trial = trial
        # Loading takes up to seconds; the model in charge keeps deciding meanwhile.
        self._loading = _Loading(lambda: self._load_model(trial.bundle))
        self._log.say(f"bundle {trial.bundle.digest[:12]} is on trial for {trial.probation.frames} frames")

    def _finish_loading(self, trial: Trial, loading: _Loading) -> None:
        if not loading.done():
            return
        self._loading = None
        if loading.model is None:
            self._conclude(kept=False, reason=f"it does not load: {loading.error}")
            return
        self._tally = TrialTally(trial.probation, started_s=self._clock.monotonic(), deadline_ms=self._deadline_ms)
        if self.in_charge is None:
            self._put_in_charge(loading.model)
        else:
            self._candidate = loading.model

    def _finish_rescue(self, rescue: _Loading) -> None:
        self._rescue = None
        if rescue.model is None:
            self._log.say(f"the bundle to fall back to does not load: {rescue.error}; every frame is REVIEW")
        else:
            self._put_in_charge(rescue.model)

    def _conclude(self, *, kept: bool, reason: str, free: bool = True) -> None:
        trial, tally, candidate = self._trial, self._tally, self._candidate
        if trial is None:
            return
        if tally is not None and tally.compared:
            # A trial may begin and end within one window: its summary must still tell of it.
            self._ended_shadow = _note(trial, tally)
        self._trial = self._tally = self._candidate = None
        if kept and candidate is not None:
            self._previous = self.in_charge.bundle if self.in_charge else None
            self._put_in_charge(candidate)
        elif not kept:
            if candidate is not None:
                if free:
                    candidate.runtime.close()
            elif self.in_charge is not None and self.in_charge.bundle.digest == trial.bundle.digest:
                self.in_charge.runtime.close()
                self.in_charge = None
        self._log.say(f"bundle {trial.bundle.digest[:12]} {'is in charge' if kept else f'was turned down: {reason}'}")
        self._switch.conclude(
            TrialOutcome(
                trial.deployment,
                trial.bundle.digest,
                kept,
                reason,
                tally.compared if tally else 0,
                tally.agreed if tally else 0,
            )
        )

    def _put_in_charge(self, model: Model) -> None:
        old, self.in_charge = self.in_charge, model
        if old is not None:
            old.runtime.close()

    def _load_model(self, bundle: InstalledBundle) -> Model:
        return load_model(self._load, bundle)


def load_model(load: Load, bundle: InstalledBundle) -> Model:
    """Return `bundle` loaded by `load`.

    Raises:
        BadModel: no artefact of it loads.
    """
    runtime, artefact = load(Path(bundle.folder), bundle.manifest)
    sha256 = next(entry.sha256 for entry in bundle.manifest.files if entry.name == artefact.file)
    return Model(bundle, runtime, artefact, sha256)


def _note(trial: Trial, tally: TrialTally) -> ShadowNote:
    return ShadowNote(trial.bundle.digest, trial.deployment, tally.compared, tally.agreed)


class _Loading:
    """A model being loaded on a thread of its own."""

    def __init__(self, load: Callable[[], Model]) -> None:
        self.model: Model | None = None
        self.error = ""
        self._load = load
        self._thread = threading.Thread(target=self._work, name="model-loader", daemon=True)
        self._thread.start()

    def done(self) -> bool:
        return not self._thread.is_alive()

    def _work(self) -> None:
        try:
            self.model = self._load()
        except PlumblineError as error:
            self.error = error.one_line()
        except Exception as error:  # noqa: BLE001 - a candidate that breaks its loader is turned down, with its words
            self.error = f"{type(error).__name__}: {error}"
