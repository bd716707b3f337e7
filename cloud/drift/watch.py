"""One station's watch: everything that changes its drift state lives here.

`step(state, observation)` is pure and is applied to windows in order; a state is a plain Struct that survives as msgpack.

    ENROLLING --(enough windows)--> QUIET --(evidence holds for 2 windows)--> RAISED --(24 quiet windows)--> QUIET
    any --(sensor fault for 2 windows)--> RAISED           any --(the device enrolled again)--> ENROLLING

A new model (another artefact) only enrols the outputs anew; what is seen stays judged by the old baseline. Windows from before
the device enrolled (reference "") and windows of fewer than `min_frames` frames (but not of 0: those are missing frames) are
left out and counted. Windows that show a sensor fault neither enrol nor feed the detector.
"""

from __future__ import annotations

import math
from enum import Enum

import msgspec
from msgspec.structs import replace

from cloud.drift.baseline import Baseline, InputBaseline, OutputBaseline, fit_inputs, fit_outputs
from cloud.drift.causes import Cause, Evidence, explain, fault_sentence, find_fault
from cloud.drift.e_detector import NO_WEALTH, Bank, is_quiet, log_average, new_bank, update
from cloud.drift.judge import judge_observation
from cloud.drift.observation import Observation
from cloud.drift.policy import MIN_ENROL_WINDOWS, DriftPolicy
from cloud.drift.scores import INPUT_FIGURES, OUTPUT_FIGURES


class Phase(str, Enum):
    """Where a station's watch stands. RAISED is its own evidence; whether it is an alarm the fleet decides."""

    ENROLLING = "enrolling"
    QUIET = "quiet"
    RAISED = "raised"


class Finding(msgspec.Struct, frozen=True):
    """Why a watch is raised, as it stood when the evidence was strongest. Times are the station's own."""

    cause: Cause
    sentence: str
    evidence: tuple[Evidence, ...]
    since: float


class WatchState(msgspec.Struct, frozen=True):
    """A station's watch after some window.

    `peak` is the log e-value that held for `latch_windows` windows, at its highest since the last quiet spell; `recent` are the
    latest log e-values. `fault` and `fault_run`: the sensor fault of the latest windows, for how many. `quiet` counts windows.
    """

    input_epoch: tuple[int, int, str] | None = None
    output_epoch: tuple[str, int] | None = None
    input_windows: tuple[Observation, ...] = ()
    output_windows: tuple[Observation, ...] = ()
    inputs: InputBaseline | None = None
    outputs: OutputBaseline | None = None
    input_bank: Bank | None = None
    output_bank: Bank | None = None
    recent: tuple[float, ...] = ()
    peak: float = NO_WEALTH
    finding: Finding | None = None
    fault: Cause = Cause.NONE
    fault_run: int = 0
    fault_since: float = 0.0
    quiet: int = 0
    judged: int = 0
    left_out: int = 0
    last_at: float = 0.0

    @property
    def phase(self) -> Phase:
        """Where the watch stands."""
        if self.finding is not None:
            return Phase.RAISED
        return Phase.ENROLLING if self.inputs is None else Phase.QUIET

    @property
    def is_fault(self) -> bool:
        """Whether it is raised for a sensor fault, which no fleet statistics need confirm."""
        return self.finding is not None and self.finding.cause not in (Cause.COVARIATE_SHIFT, Cause.LABEL_SHIFT)


def step(state: WatchState, seen: Observation, policy: DriftPolicy) -> WatchState:
    """Return the watch after the window behind `seen`."""
    fault = find_fault(seen, policy.min_frames)
    if seen.reference == "" or (fault is Cause.NONE and seen.frames < policy.min_frames):
        return replace(state, left_out=state.left_out + 1, last_at=seen.started_at)
    if fault is not Cause.MISSING:
        state = _follow_epochs(state, seen)
    state = replace(state, last_at=seen.started_at)
    if fault is not Cause.NONE:
        return _note_fault(state, seen, fault, policy)
    state = replace(state, fault=Cause.NONE, fault_run=0)
    if state.inputs is None:
        return _enrol(_settle(state, True, policy), seen, policy)
    return _watch(state, state.inputs, seen, policy)


def _follow_epochs(state: WatchState, seen: Observation) -> WatchState:
    if state.input_epoch != seen.input_epoch:
        return WatchState(input_epoch=seen.input_epoch, output_epoch=seen.output_epoch, left_out=state.left_out)
    if state.output_epoch != seen.output_epoch:
        return replace(state, output_epoch=seen.output_epoch, output_windows=(), outputs=None, output_bank=None)
    return state


def _note_fault(state: WatchState, seen: Observation, fault: Cause, policy: DriftPolicy) -> WatchState:
    run = state.fault_run + 1 if fault is state.fault else 1
    since = state.fault_since if run > 1 else seen.started_at
    state = replace(state, fault=fault, fault_run=run, fault_since=since, quiet=0)
    if run < policy.latch_windows:
        return state
    return replace(state, finding=Finding(fault, fault_sentence(fault, run), (), since))


def _enrol(state: WatchState, seen: Observation, policy: DriftPolicy) -> WatchState:
    needed = max(policy.enrol_windows, MIN_ENROL_WINDOWS)
    windows = (*state.input_windows, seen)
    state = _enrol_outputs(state, seen, policy)
    if len(windows) < needed:
        return replace(state, input_windows=windows)
    return replace(state, input_windows=(), inputs=fit_inputs(windows), input_bank=new_bank(INPUT_FIGURES))


def _enrol_outputs(state: WatchState, seen: Observation, policy: DriftPolicy) -> WatchState:
    if state.outputs is not None or seen.answers < policy.min_frames:
        return state
    windows = (*state.output_windows, seen)
    if len(windows) < max(policy.enrol_windows, MIN_ENROL_WINDOWS):
        return replace(state, output_windows=windows)
    return replace(state, output_windows=(), outputs=fit_outputs(windows), output_bank=new_bank(OUTPUT_FIGURES))


def _watch(state: WatchState, inputs: InputBaseline, seen: Observation, policy: DriftPolicy) -> WatchState:
    verdict = judge_observation(Baseline(inputs, state.outputs), seen, policy)
    input_bank = update(state.input_bank or new_bank(INPUT_FIGURES), verdict.inputs, seen.started_at)
    output_bank = state.output_bank
    if verdict.outputs and output_bank is not None:
        output_bank = update(output_bank, verdict.outputs, seen.started_at)
    banks = (input_bank,) if output_bank is None else (input_bank, output_bank)
    recent = (*state.recent, log_average(banks))[-policy.latch_windows :]
    held = min(recent) if len(recent) == policy.latch_windows else NO_WEALTH
    state = replace(state, input_bank=input_bank, output_bank=output_bank, recent=recent, judged=state.judged + 1)
    threshold = -math.log(policy.alpha)
    if held > state.peak:
        state = replace(state, peak=held)
        if held >= threshold:
            state = replace(state, finding=_finding(state, input_bank, output_bank, threshold))
    state = _settle(state, all(map(is_quiet, banks)), policy)
    # After this window was judged, so that a new model's first answers are not compared with themselves.
    return _enrol_outputs(state, seen, policy)


def _finding(state: WatchState, inputs: Bank, outputs: Bank | None, threshold: float) -> Finding:
    cause, sentence, evidence = explain(inputs, outputs, threshold)
    since = min((item.since for item in evidence), default=state.last_at)
    if state.finding is not None:
        since = min(since, state.finding.since)
    return Finding(cause, sentence, evidence, since)


def _settle(state: WatchState, quiet: bool, policy: DriftPolicy) -> WatchState:
    """Count quiet windows while raised; enough of them end it and take all wealth with them."""
    if state.finding is None:
        return state
    counted = state.quiet + 1 if quiet else 0
    if counted < policy.clear_windows:
        return replace(state, quiet=counted)
    return replace(
        state,
        quiet=0,
        peak=NO_WEALTH,
        recent=(),
        finding=None,
        input_bank=None if state.input_bank is None else new_bank(INPUT_FIGURES),
        output_bank=None if state.output_bank is None else new_bank(OUTPUT_FIGURES),
    )
