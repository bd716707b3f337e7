"""The models of a station: the one in charge, the one to fall back to, and the one on trial."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent.decide.smaller import smaller_artefacts
from agent.decide.thresholds import decide
from agent.decide.trial import TrialTally
from agent.loading import Load, Loading, Model, PrepareFor, load_model
from agent.ports.clock import Clock
from agent.ports.log import Log
from agent.ports.slots import BundleSwitch, InstalledBundle, Trial, TrialOutcome
from agent.ports.source import Frame
from contract.decode import Prediction
from contract.errors import BadImage, BadModel, PlumblineError
from contract.manifest import Artefact
from contract.messages import ShadowNote

FAILURES_BEFORE_FALLBACK = 5


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
        shadow_allowed: Callable[[], bool] = lambda: True,
        smaller_wanted: Callable[[], bool] = lambda: False,
        prepare_for: PrepareFor = lambda _spec: None,
    ) -> None:
        """`shadow_allowed` and `smaller_wanted` say what a degraded station gives up."""
        self._shadow_allowed = shadow_allowed
        self._smaller_wanted = smaller_wanted
        self._prepare_for = prepare_for
        self._held_s: float | None = None
        # The artefact that the bundle in charge runs when nothing is given up; None while it runs.
        self._full: Artefact | None = None
        self._tried_smaller: str | None = None
        self._load = load
        self._switch = switch
        self._clock = clock
        self._log = log
        self._deadline_ms = deadline_ms
        self._previous = previous
        self._failures = 0
        self._loading: Loading | None = None
        self._rescue: Loading | None = None
        # What is still being loaded though nobody wants it any more: freed once it is there.
        self._abandoned: list[Loading] = []
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
        if self._abandoned:
            self._free_abandoned()
        self._hold_trial()
        self._fit_artefact()
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
        if candidate is None or not self._shadow_allowed():
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

    def decided(self, prediction: Prediction | None, latency_ms: float, shadow: Shadow | None) -> None:
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
        agreed = None
        if prediction is not None and self.in_charge is not None:
            mine = decide(shadow.prediction, self._candidate.bundle.manifest.thresholds)
            theirs = decide(prediction, self.in_charge.bundle.manifest.thresholds)
            agreed = mine.verdict is theirs.verdict and shadow.prediction.label.name == prediction.label.name
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

    def hung(self, *, on_trial: bool) -> None:
        """Give up the model that hangs in native code, the candidate or the one in charge. It cannot be freed: a thread is
        still inside it, and no other may enter it.
        """
        if on_trial and self._candidate is not None:
            self._conclude(kept=False, reason="it hung on its trial", free=False)
            return
        hung, self.in_charge = self.in_charge, None
        if hung is None:
            return
        self._log.say(f"bundle {hung.bundle.digest[:12]} hangs: it is given up")
        again: InstalledBundle | None = hung.bundle
        if self._tally is not None and self._candidate is not None:
            self._conclude(kept=False, reason="the bundle in charge hung beside it")
        elif self._tally is not None:
            self._conclude(kept=False, reason="it hung on its trial")
            again = None  # what was turned down is not loaded again
        fallback = self._previous or again
        if fallback is not None:
            self._fall_back(fallback)

    def _fall_back(self, bundle: InstalledBundle) -> None:
        """Load `bundle` beside the line, and put it in charge once it is loaded."""
        if bundle is self._previous:
            self._previous = None
        self._full = None
        self._log.say(f"falling back to {bundle.digest[:12]}")
        self._failures = 0
        self._abandon_rescue()
        self._rescue = Loading(lambda: self._load_model(bundle))

    def close(self) -> None:
        """Free every model."""
        for model in (self.in_charge, self._candidate):
            if model is not None:
                model.close()
        self.in_charge = self._candidate = None

    def _take_up(self) -> None:
        trial = self._switch.next_trial()
        if trial is None:
            return
        self._trial = trial
        # Loading takes up to seconds; the model in charge keeps deciding meanwhile.
        self._loading = Loading(lambda: self._load_model(trial.bundle))
        self._log.say(f"bundle {trial.bundle.digest[:12]} is on trial for {trial.probation.frames} frames")

    def _finish_loading(self, trial: Trial, loading: Loading) -> None:
        if not loading.done() or self._rescue is not None:
            return  # whatever is about to take charge does so first: the trial must know beside whom it runs
        self._loading = None
        if loading.model is None:
            self._conclude(kept=False, reason=f"it does not load: {loading.error}")
            return
        if self._may_pass_less(loading.model):
            loading.model.close()
            self._conclude(
                kept=False,
                reason=f"of its artefacts only '{loading.model.artefact.file}' loads here, of which nothing may pass by itself",
            )
            return
        self._tally = TrialTally(trial.probation, started_s=self._clock.monotonic(), deadline_ms=self._deadline_ms)
        if self.in_charge is None:
            self._put_in_charge(loading.model)
        else:
            self._candidate = loading.model

    def _may_pass_less(self, candidate: Model) -> bool:
        """Return whether nothing `candidate` passes may stand, where the one in charge is guaranteed but for the pressure."""
        mine = self.in_charge
        if mine is None or candidate.guaranteed:
            return False
        return mine.guaranteed or (self._full is not None and mine.bundle.manifest.guarantees(self._full))

    def _hold_trial(self) -> None:
        """Stop a trial's clock while its candidate may not run."""
        now_s = self._clock.monotonic()
        if self._tally is not None and self._candidate is not None and not self._shadow_allowed():
            if self._held_s is not None:
                self._tally.hold(now_s - self._held_s)
            self._held_s = now_s
        else:
            self._held_s = None

    def _fit_artefact(self) -> None:
        """Under pressure load the bundle's smaller artefact beside the line, and the full one again when it has gone."""
        model = self.in_charge
        if model is None or self._rescue is not None or self._trial is not None:
            return
        if not self._smaller_wanted():
            self._tried_smaller = None
            if self._full is not None:
                self._full = None
                # The first that loads, as ever: what was left under pressure may have been no better than what was taken.
                if not model.guaranteed:
                    self._log.say(f"going back from the artefact '{model.artefact.file}'")
                    self._rescue = Loading(lambda: self._load_model(model.bundle))
            return
        if self._full is not None or self._tried_smaller == model.bundle.digest:
            return
        self._tried_smaller = model.bundle.digest
        smaller = smaller_artefacts(model.bundle.manifest, model.artefact)
        if not smaller:
            return
        self._full = model.artefact
        self._log.say(f"taking a smaller artefact than '{model.artefact.file}'")
        self._rescue = Loading(lambda: load_model(self._load, model.bundle, smaller, prepare_for=self._prepare_for))

    def _finish_rescue(self, rescue: Loading) -> None:
        self._rescue = None
        if rescue.model is None:
            self._full = None
            self._log.say(f"what was to take over does not load: {rescue.error}")
        else:
            self._put_in_charge(rescue.model)

    def _abandon_rescue(self) -> None:
        if self._rescue is not None:
            self._abandoned.append(self._rescue)
            self._rescue = None

    def _free_abandoned(self) -> None:
        for loading in [each for each in self._abandoned if each.done()]:
            self._abandoned.remove(loading)
            if loading.model is not None:
                loading.model.close()

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
            self._full = None
            # What was to take over from the one that failed must not take over from its successor.
            self._abandon_rescue()
            self._put_in_charge(candidate)
        elif not kept:
            if candidate is not None:
                if free:
                    candidate.close()
            elif self.in_charge is not None and self.in_charge.bundle.digest == trial.bundle.digest:
                self.in_charge.close()
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
            old.close()

    def _load_model(self, bundle: InstalledBundle) -> Model:
        return load_model(self._load, bundle, prepare_for=self._prepare_for)


def _note(trial: Trial, tally: TrialTally) -> ShadowNote:
    return ShadowNote(trial.bundle.digest, trial.deployment, tally.compared, tally.agreed)
