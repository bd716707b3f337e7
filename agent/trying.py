"""The trial of a candidate on a station: loading it beside the line, asking both models the same frames, timing, weighing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent.decide.trial import Ruling, TrialTally
from agent.loading import Loading, Model
from agent.ports.clock import Clock
from agent.ports.log import Log
from agent.ports.process_memory import ProcessMemory
from agent.ports.slots import BundleSwitch, InstalledBundle, Trial, TrialNews, TrialOutcome, TrialPhase
from agent.ports.source import Frame
from agent.shadowing import Shadow, pair_of, shadow_of
from contract.decode import Prediction
from contract.messages import ShadowNote

MOST_LEFT_BEHIND = 2
"""Loaders that never return, each a thread and what it holds; with so many no other bundle is tried before a restart."""

_NEWS_EVERY_S = 10.0
_WEIGH_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class TrialRules:
    """What the station gives a trial.

    `shadow_allowed`: whether a degraded station runs a second model at all. `roll` draws uniformly from [0, 1): which frames
    the second model sees. `memory_mib` reads the process's memory.
    """

    deadline_ms: float
    shadow_allowed: Callable[[], bool] = lambda: True
    roll: Callable[[], float] = lambda: 0.0
    memory_mib: ProcessMemory = lambda: 0.0


@dataclass(frozen=True, slots=True)
class _LeftBehind:
    """A loader that was given up: what the process held before it, and by how much it may grow with it (0: not asked)."""

    loading: Loading
    before_mib: float
    most_mib: float


class Trying:
    """One trial at a time. The frame loop's thread calls everything; only loading happens elsewhere.

    Until it is put in charge the candidate is the second model; then the incumbent is, which stays loaded until the candidate
    is kept: it can take over again within one frame, and is asked the same frames, so that the comparison goes on in pairs.
    """

    def __init__(
        self,
        load: Callable[[InstalledBundle], Model],
        switch: BundleSwitch,
        clock: Clock,
        log: Log,
        rules: TrialRules,
    ) -> None:
        self._load = load
        self._switch = switch
        self._clock = clock
        self._log = log
        self._rules = rules
        self._trial: Trial | None = None
        self._tally: TrialTally | None = None
        self._loading: Loading | None = None
        # Loaders that nobody waits for any more: what they load is freed should they ever return.
        self._left_behind: list[_LeftBehind] = []
        self._taken_up_s = self._told_s = self._weighed_s = 0.0
        self._held_s: float | None = None
        self._memory_mib = self._grown_mib = 0.0
        self._ended_note: ShadowNote | None = None
        self.second: Model | None = None
        """The model that decides unseen: the candidate, or the incumbent while the candidate is in charge."""

    @property
    def under_way(self) -> bool:
        """Whether a trial has been taken up and not ended."""
        return self._trial is not None

    @property
    def in_charge(self) -> bool:
        """Whether the candidate decides."""
        return self._tally is not None and self._tally.in_charge

    @property
    def shadow_only(self) -> bool:
        """Whether the candidate of the trial under way must never be in charge."""
        return self._trial is not None and self._trial.probation.shadow_only

    @property
    def loading(self) -> bool:
        """Whether a candidate is being loaded right now."""
        return self._loading is not None and not self._loading.done()

    def why_unsound(self) -> str:
        """Return "" or why the process should end: a loader that was given up goes on taking memory. Any thread may ask."""
        for left in tuple(self._left_behind):
            grown_mib = self._rules.memory_mib() - left.before_mib
            if 0 < left.most_mib < grown_mib and not left.loading.done():
                return f"a bundle that was turned down holds {grown_mib:.0f} MiB and cannot be ended"
        return ""

    def is_of(self, deployment: str, bundle: str) -> bool:
        """Return whether the trial under way is this one."""
        trial = self._trial
        return trial is not None and (trial.deployment, trial.bundle.digest) == (deployment, bundle)

    def take_note(self) -> ShadowNote | None:
        """Return what the two made of the same frames: of the trial under way, else of one that ended, once."""
        note = self._note()
        if note is None:
            note, self._ended_note = self._ended_note, None
        return note

    def take_up(self) -> str:
        """Take up a trial that was offered, and begin to load its candidate; return why one cannot be, "" otherwise."""
        self._free_left_behind()
        trial = self._switch.next_trial()
        if trial is None:
            return ""
        self._trial = trial
        if len(self._left_behind) >= MOST_LEFT_BEHIND:
            return f"{len(self._left_behind)} bundles before it still hang in loading: restart the station first"
        now_s = self._clock.monotonic()
        self._taken_up_s = self._weighed_s = now_s
        self._told_s = float("-inf")
        self._memory_mib, self._grown_mib = self._rules.memory_mib(), 0.0
        # Loading takes up to seconds; the model in charge keeps deciding meanwhile.
        self._loading = Loading(lambda: self._load(trial.bundle))
        self._log.say(f"bundle {trial.bundle.digest[:12]} is on trial for {trial.probation.frames} frames")
        return ""

    def look_at_loading(self) -> tuple[Model | None, str]:
        """Return the candidate once it is loaded, or why it will not be; (None, "") while neither is so."""
        trial, loading = self._trial, self._loading
        if trial is None or loading is None:
            return None, ""
        if loading.done():
            self._loading = None
            return loading.model, "" if loading.model else f"it does not load: {loading.error}"
        waited_s, most = self._clock.monotonic() - self._taken_up_s, trial.probation.max_memory_mib
        if waited_s > trial.probation.timeout_s:
            return None, f"it hangs in loading, for {waited_s:.0f} s by now"
        if most > 0 and self._grown_mib > most:
            return None, f"the process grew by {self._grown_mib:.0f} MiB as it was loaded; {most:g} MiB are allowed"
        return None, ""

    def begin(self, candidate: Model, *, alone: bool) -> None:
        """Begin to count; `alone`: the candidate is in charge from the start, for nobody else is."""
        assert self._trial is not None
        self._tally = TrialTally(
            self._trial.probation, started_s=self._taken_up_s, deadline_ms=self._rules.deadline_ms, alone=alone
        )
        self.second = None if alone else candidate
        self._told_s = float("-inf")

    def put_in_charge(self, incumbent: Model | None) -> None:
        """Say that the candidate decides from here on, and `incumbent` beside it."""
        assert self._tally is not None
        now_s = self._clock.monotonic()
        self._tally.put_in_charge(now_s)
        self.second = incumbent
        # At once: an outcome may follow within this frame boundary.
        self._told_s = float("-inf")
        self._tell(now_s)

    def lose_second(self) -> None:
        """Forget the second model without freeing it: a thread hangs inside it."""
        self.second = None

    def judge(self) -> Ruling | None:
        """Return what is to be done with the candidate, or None. Call at every frame boundary."""
        if self._trial is None:
            return None
        now_s = self._clock.monotonic()
        self._weigh(now_s)
        self._hold(now_s)
        self._tell(now_s)
        return self._tally.judge(now_s) if self._tally is not None else None

    def shadow(self, frame: Frame) -> Shadow | None:
        """Return what the second model makes of `frame`; None without one, or where `frame` is not drawn. Changes nothing."""
        second, trial = self.second, self._trial
        if second is None or trial is None or not self._rules.shadow_allowed():
            return None
        if self._rules.roll() >= trial.probation.shadow_share:
            return None
        return shadow_of(second, frame, self._clock)

    def decided(self, in_charge: Model, prediction: Prediction | None, took_ms: float, shadow: Shadow | None) -> None:
        """Count a frame that `in_charge` decided in `took_ms` (None: it failed, or the image is none), and its shadow."""
        if self._tally is None:
            return
        if shadow is not None and shadow.by is not self.second:
            shadow = None
        pair = pair_of(in_charge, prediction, shadow, first_is_candidate=self._tally.in_charge)
        if self._tally.in_charge:
            # Its own failures are told by `failed`; the incumbent's beside it are no fault of its.
            if prediction is not None:
                self._tally.saw(took_ms, pair=pair)
        elif shadow is not None:
            if shadow.prediction is None:
                self._tally.failed(shadow.failure)
            else:
                self._tally.saw(shadow.latency_ms, pair=pair)

    def failed(self, why: str) -> None:
        """Note that the model in charge failed on a frame."""
        if self._tally is not None and self._tally.in_charge:
            self._tally.failed(why)

    def end(self, *, kept: bool, reason: str, shadowed: bool = False) -> Model | None:
        """Say how the trial ended (`TrialOutcome`), and return the second model: it is the caller's now."""
        trial, tally, second = self._trial, self._tally, self.second
        if trial is None:
            return None
        # A trial may begin and end within one window: its summary must still tell of it.
        self._ended_note = self._note() or self._ended_note
        self._trial = self._tally = self.second = self._held_s = None
        if self._loading is not None:
            self._left_behind.append(_LeftBehind(self._loading, self._memory_mib, 2 * trial.probation.max_memory_mib))
            self._loading = None
        if kept:
            self._log.say(f"bundle {trial.bundle.digest[:12]} is kept")
        elif shadowed:
            self._log.say(f"bundle {trial.bundle.digest[:12]} decided unseen as asked, and is put away")
        else:
            self._log.say(f"bundle {trial.bundle.digest[:12]} was turned down: {reason}")
        frames, agreed = (tally.compared, tally.agreed) if tally else (0, 0)
        self._switch.conclude(
            TrialOutcome(trial.deployment, trial.bundle.digest, kept, reason, frames, agreed, shadowed)
        )
        return second

    def _note(self) -> ShadowNote | None:
        trial, tally = self._trial, self._tally
        if trial is None or tally is None or not (tally.compared or (tally.failures and not tally.in_charge)):
            return None
        return ShadowNote(
            trial.bundle.digest,
            trial.deployment,
            tally.compared,
            tally.agreed,
            tally.pairs.counts(candidate=True),
            tally.pairs.counts(candidate=False),
            tally.failures,
            round(tally.mean_ms, 3),
            round(self._grown_mib, 1),
        )

    def _weigh(self, now_s: float) -> None:
        just_loaded = self._tally is not None and not self._tally.frames
        if just_loaded or now_s - self._weighed_s >= _WEIGH_EVERY_S:
            self._weighed_s = now_s
            self._grown_mib = max(self._grown_mib, self._rules.memory_mib() - self._memory_mib)
        if self._tally is not None:
            self._tally.weigh(self._grown_mib)

    def _hold(self, now_s: float) -> None:
        """Stop a trial's clock while its candidate may not run."""
        if self._tally is not None and self.second is not None and not self._rules.shadow_allowed():
            if self._held_s is not None:
                self._tally.hold(now_s - self._held_s)
            self._held_s = now_s
        else:
            self._held_s = None

    def _tell(self, now_s: float) -> None:
        trial, tally = self._trial, self._tally
        if trial is None or now_s - self._told_s < _NEWS_EVERY_S:
            return
        self._told_s = now_s
        if tally is None:
            serve_s = 0.0 if trial.probation.shadow_only else trial.probation.serve_s
            phase, left_s = TrialPhase.LOADING, trial.probation.timeout_s + serve_s
            left_s = max(left_s - (now_s - self._taken_up_s), 0.0)
        else:
            phase = TrialPhase.IN_CHARGE if tally.in_charge else TrialPhase.UNSEEN
            left_s = tally.left_s(now_s)
        frames, agreed = (tally.compared, tally.agreed) if tally else (0, 0)
        self._switch.tell(TrialNews(trial.deployment, trial.bundle.digest, phase, left_s, frames, agreed))

    def _free_left_behind(self) -> None:
        for left in [each for each in self._left_behind if each.loading.done()]:
            self._left_behind.remove(left)
            if left.loading.model is not None:
                left.loading.model.close()
