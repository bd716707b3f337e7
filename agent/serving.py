"""The models of a station: the one in charge, the one to fall back to, and the one on trial."""

from __future__ import annotations

from collections.abc import Callable

from agent.decide.smaller import smaller_artefacts
from agent.decide.trial import TrialStep
from agent.loading import Load, Loading, Model, PrepareFor, load_model, passes_less
from agent.ports.clock import Clock
from agent.ports.log import Log
from agent.ports.process_memory import ProcessMemory
from agent.ports.slots import BundleSwitch, InstalledBundle
from agent.ports.source import Frame
from agent.shadowing import Shadow
from agent.takeover import Takeover
from agent.trying import TrialRules, Trying
from contract.decode import Prediction
from contract.errors import PlumblineError
from contract.manifest import Artefact
from contract.messages import ShadowNote

FAILURES_BEFORE_FALLBACK = 5


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
        roll: Callable[[], float] = lambda: 0.0,
        memory_mib: ProcessMemory = lambda: 0.0,
        short_of_memory: Callable[[], str] = lambda: "",
    ) -> None:
        """`shadow_allowed` and `smaller_wanted` say what a degraded station gives up; `roll` and `memory_mib` as TrialRules.

        `short_of_memory`: why no candidate is to be held beside the model in charge, "" while one may be.
        """
        self._smaller_wanted = smaller_wanted
        self._short_of_memory = short_of_memory
        self._prepare_for = prepare_for
        # The artefact that the bundle in charge runs when nothing is given up; None while it runs. And the incumbent's.
        self._full: Artefact | None = None
        self._incumbent_full: Artefact | None = None
        self._tried_smaller: str | None = None
        self._load = load
        self._switch = switch
        self._clock = clock
        self._log = log
        self._previous = previous
        self._failures = 0
        self._takeover = Takeover()
        # Whether what is in charge is on its way out, and must not stay when its successor does not load.
        self._leaving = False
        # Whom the candidate in charge took over from, to be loaded again should it be there no more.
        self._incumbent: InstalledBundle | None = None
        rules = TrialRules(deadline_ms, shadow_allowed, roll, memory_mib)
        self._trying = Trying(self._load_model, switch, clock, log, rules)
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
        """Return what two bundles made of the same frames (`Trying.take_note`)."""
        return self._trying.take_note()

    def why_unsound(self) -> str:
        """Return "" or why the process should end. Any thread may ask."""
        return self._trying.why_unsound()

    @property
    def loading(self) -> bool:
        """Whether a candidate, or a bundle to fall back to, is being loaded right now."""
        return self._trying.loading or self._takeover.loading

    def at_frame_boundary(self) -> None:
        """Take up a trial that was offered, or a candidate whose loading ended; do what its trial has come to."""
        loaded = self._takeover.take()
        if loaded is not None:
            self._take_over(loaded)
        self._heed_withdrawn()
        self._heed_recalled()
        if not self._takeover.under_way:
            self._switch.judged_by(self.in_charge.bundle.digest if self.in_charge else "")
        self._fit_artefact()
        self._give_up_candidate()
        if not self._trying.under_way:
            refused = self._trying.take_up()
            if refused:
                self._turn_down(refused)
        elif not self._takeover.under_way:
            # Whatever is about to take charge does so first: the trial must know beside whom it runs.
            self._finish_loading()
        while (ruling := self._trying.judge()) is not None:
            if ruling.step is TrialStep.PUT_IN_CHARGE:
                self._try_in_charge()
            elif ruling.step is TrialStep.KEEP:
                self._keep()
            elif ruling.step is TrialStep.PUT_AWAY:
                self._put_away()
            else:
                self._turn_down(ruling.reason)

    def shadow(self, frame: Frame) -> Shadow | None:
        """Return what the second model of a trial makes of `frame`; None without one. Changes nothing, and may take its time."""
        return self._trying.shadow(frame)

    def decided(self, prediction: Prediction | None, took_ms: float, shadow: Shadow | None) -> None:
        """Tell the trial what the model in charge made of a frame in `took_ms` (None: it failed), and what the second did."""
        self._failures = 0 if prediction is not None else self._failures
        if self.in_charge is not None:
            self._trying.decided(self.in_charge, prediction, took_ms, shadow)

    def failed(self, why: str) -> None:
        """Note that the model in charge failed on a frame; after a few in a row, fall back to the previous bundle."""
        self._trying.failed(why)
        self._failures += 1
        if self._failures < FAILURES_BEFORE_FALLBACK or self._previous is None or self.in_charge is None:
            return
        self._log.say(f"bundle {self.in_charge.bundle.digest[:12]} failed {self._failures} times in a row")
        self._fall_back(self._previous)

    def hung(self, *, on_trial: bool) -> None:
        """Give up the model that hangs in native code: the second one (`on_trial`) or the one in charge. It cannot be freed: a
        thread is still inside it, and no other may enter it.
        """
        trying = self._trying
        if on_trial and trying.second is not None:
            trying.lose_second()
            if trying.in_charge:
                self._log.say("the incumbent hangs beside its successor: it is given up")
            else:
                self._turn_down("it hung on its trial")
            return
        hung, self.in_charge = self.in_charge, None
        if hung is None:
            return
        self._log.say(f"bundle {hung.bundle.digest[:12]} hangs: it is given up")
        if trying.in_charge:
            # What was turned down is not loaded again.
            self._turn_down("it hung in charge")
            if self.in_charge is None and not self._takeover.under_way and self._previous is not None:
                self._fall_back(self._previous)
            return
        if trying.second is not None:
            self._turn_down("the bundle in charge hung beside it")
        self._fall_back(self._previous or hung.bundle)

    def _fall_back(self, bundle: InstalledBundle) -> None:
        """Load `bundle` beside the line, and put it in charge once it is loaded."""
        if bundle is self._previous:
            self._previous = None
        self._full = None
        self._log.say(f"falling back to {bundle.digest[:12]}")
        self._failures = 0
        self._takeover.begin(lambda: self._load_model(bundle))

    def close(self) -> None:
        """Free every model."""
        for model in (self.in_charge, self._trying.second):
            if model is not None:
                model.close()
        self.in_charge = None
        self._trying.lose_second()

    def _give_up_candidate(self) -> None:
        """End the trial of a candidate that is not in charge when memory is short: the kernel would end the whole station."""
        if not self._trying.under_way or self._trying.in_charge or self.in_charge is None:
            return
        short = self._short_of_memory()
        if short:
            self._turn_down(short)

    def _finish_loading(self) -> None:
        candidate, why_not = self._trying.look_at_loading()
        if candidate is None:
            if why_not:
                self._turn_down(why_not)
        elif passes_less(candidate, self.in_charge, self._full):
            candidate.close()
            self._turn_down(
                f"of its artefacts only '{candidate.artefact.file}' loads here, of which nothing may pass by itself"
            )
        elif self.in_charge is None and self._trying.shadow_only:
            candidate.close()
            self._turn_down("no bundle is in charge beside which it could decide unseen")
        else:
            self._trying.begin(candidate, alone=self.in_charge is None)
            if self.in_charge is None:
                self._put_in_charge(candidate)

    def _try_in_charge(self) -> None:
        """Put the candidate in charge, with the incumbent beside it."""
        candidate, incumbent = self._trying.second, self.in_charge
        assert candidate is not None
        # What was to take over from the one that failed must not take over from its successor.
        self._takeover.abandon()
        self._incumbent = incumbent.bundle if incumbent else None
        self._incumbent_full, self._full = self._full, None
        self._failures = 0
        self.in_charge = candidate
        self._log.say(f"bundle {candidate.bundle.digest[:12]} is in charge, on probation")
        self._trying.put_in_charge(incumbent)

    def _keep(self) -> None:
        second = self._trying.end(kept=True, reason="")
        if second is not None:
            second.close()
        if self._incumbent is not None:
            self._previous = self._incumbent
        self._incumbent = self._incumbent_full = None

    def _put_away(self) -> None:
        second = self._trying.end(kept=False, reason="", shadowed=True)
        if second is not None:
            second.close()

    def _turn_down(self, reason: str) -> None:
        """End the trial; a candidate that was in charge is so no more, and the incumbent takes over at once."""
        was_in_charge = self._trying.in_charge
        second = self._trying.end(kept=False, reason=reason)
        ended = second
        if was_in_charge:
            ended, self.in_charge = self.in_charge, second
        if ended is not None:
            ended.close()
        if not was_in_charge:
            return
        incumbent, self._incumbent = self._incumbent, None
        self._full, self._incumbent_full = self._incumbent_full, None
        self._failures = 0
        if second is not None:
            self._log.say(f"bundle {second.bundle.digest[:12]} is in charge again")
        elif incumbent is not None:
            self._fall_back(incumbent)

    def _heed_withdrawn(self) -> None:
        withdrawn = self._switch.next_withdrawn()
        if withdrawn is None:
            return
        if self._trying.is_of(*withdrawn):
            self._turn_down("it was withdrawn")
        elif self.in_charge is not None and self.in_charge.bundle.digest == withdrawn[1]:
            # It was kept here, and then could not be committed.
            self._leave(self._previous)

    def _heed_recalled(self) -> None:
        recalled = self._switch.next_recall()
        if recalled is None:
            return
        (bundle,) = recalled
        if self._trying.under_way:
            self._turn_down("something else was ordered")
        self._previous = None  # whoever was there before was left on purpose
        self._takeover.abandon()
        if bundle is None or self.in_charge is None or self.in_charge.bundle.digest != bundle.digest:
            self._leave(bundle)

    def _leave(self, bundle: InstalledBundle | None) -> None:
        """Put `bundle` in charge; None, or one that does not load, leaves none: what is left must not go on judging."""
        if bundle is not None:
            self._fall_back(bundle)
            self._leaving = True
            return
        self._full = None
        self._put_in_charge(None)
        self._log.say("no bundle is in charge: every frame is REVIEW until another order")

    def _fit_artefact(self) -> None:
        """Under pressure load the bundle's smaller artefact beside the line, and the full one again when it has gone."""
        model = self.in_charge
        if model is None or self._takeover.under_way or self._trying.under_way:
            return
        if not self._smaller_wanted():
            self._tried_smaller = None
            if self._full is not None:
                self._full = None
                # The first that loads, as ever: what was left under pressure may have been no better than what was taken.
                if not model.guaranteed:
                    self._log.say(f"going back from the artefact '{model.artefact.file}'")
                    self._takeover.begin(lambda: self._load_model(model.bundle))
            return
        if self._full is not None or self._tried_smaller == model.bundle.digest:
            return
        self._tried_smaller = model.bundle.digest
        smaller = smaller_artefacts(model.bundle.manifest, model.artefact)
        if not smaller:
            return
        self._full = model.artefact
        self._log.say(f"taking a smaller artefact than '{model.artefact.file}'")
        self._takeover.begin(lambda: load_model(self._load, model.bundle, smaller, prepare_for=self._prepare_for))

    def _take_over(self, loaded: Loading) -> None:
        leaving, self._leaving = self._leaving, False
        if loaded.model is None:
            self._full = None
            self._log.say(f"what was to take over does not load: {loaded.error}")
            if leaving:
                self._leave(None)
        else:
            self._put_in_charge(loaded.model)

    def _put_in_charge(self, model: Model | None) -> None:
        old, self.in_charge = self.in_charge, model
        if old is not None:
            old.close()

    def _load_model(self, bundle: InstalledBundle) -> Model:
        return load_model(self._load, bundle, prepare_for=self._prepare_for)
