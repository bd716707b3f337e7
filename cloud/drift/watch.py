"""One station's watch: everything that changes its drift state lives here.

`step(state, observation)` is pure and is applied to windows in order; a state is a plain Struct that survives as msgpack.

    ENROLLING --(enough windows)--> QUIET --(evidence holds for 2 windows)--> RAISED --(24 quiet windows)--> QUIET
    any --(sensor fault for 2 windows)--> RAISED           any --(the device enrolled again)--> ENROLLING

With a `period_s`, windows are first joined into periods, and a period is judged when the next one begins; sensor faults are
looked for in every window as it comes. The first baseline is learnt anew from twice as many windows, and again, as long as
nothing is wrong, until it has settled: a day's light is not known after three hours.

A new model (another artefact) only enrols the outputs anew; what is seen stays judged by the old baseline. Windows from before
the device enrolled (reference "") and windows of fewer than `min_frames` frames (but not of 0: those are missing frames) are
left out and counted. Windows that show a sensor fault neither enrol nor feed the detector.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from msgspec.structs import replace

from cloud.drift.baseline import OUTPUT_FIGURES, Baseline, InputBaseline, OutputBaseline, fit_inputs, fit_outputs
from cloud.drift.causes import SHOWN_BY_ANY_FRAME, Cause, explain, fault_sentence, find_fault
from cloud.drift.detectors.levels import Before
from cloud.drift.e_detector import NO_WEALTH, Bank, is_quiet, log_average, new_bank, stream_wealth, streams, update
from cloud.drift.judge import DriftVerdict, judge_observation
from cloud.drift.observation import Observation, answers_only, join, seen_only
from cloud.drift.policy import DriftPolicy
from cloud.drift.scores import Scores
from cloud.drift.vectors import Vector, from_bytes, to_bytes
from cloud.drift.watch_state import Finding, WatchState

B = TypeVar("B", InputBaseline, OutputBaseline)

# A baseline that still grows takes in windows this many windows later, and none while any figure has evidence this strong.
_CALM = math.log(20.0)
_QUARANTINE = 12
# An alarm does not end while its quiet windows lie this many sd off on average.
_STILL_OFF = 1.25
_MOST_LEVEL = 4.0


def step(state: WatchState, seen: Observation, policy: DriftPolicy) -> WatchState:
    """Return the watch after the window behind `seen`."""
    fault = find_fault(seen, policy.min_frames)
    state = replace(state, last_at=seen.started_at, clock=state.clock.after(seen, policy.clear_windows))
    state = _note_clock(state)
    small = fault is Cause.NONE and seen.frames < policy.min_frames
    if seen.reference == "" or (small and not policy.period_s):
        return replace(state, left_out=state.left_out + 1)
    if fault is not Cause.MISSING:
        state = _follow_epochs(state, seen, policy)
    if fault is not Cause.NONE:
        return _note_fault(state, seen, fault, policy)
    if not small or state.fault in SHOWN_BY_ANY_FRAME:
        state = replace(state, fault=Cause.NONE, fault_run=0)
    if not policy.period_s:
        return _take(state, seen, policy)
    pending = state.pending
    if pending is None:
        return replace(state, pending=seen)
    if pending.boot == seen.boot and _period(pending, policy) == _period(seen, policy):
        return replace(state, pending=join(pending, seen))
    return replace(_take(state, pending, policy), pending=seen)


def _period(seen: Observation, policy: DriftPolicy) -> float:
    return seen.started_at // policy.period_s


def _take(state: WatchState, seen: Observation, policy: DriftPolicy) -> WatchState:
    if seen.frames < policy.min_frames:
        return replace(state, left_out=state.left_out + 1)
    # What no window of few frames could show, all of the period's together may: the same frame again and again.
    if policy.period_s and (fault := find_fault(seen, policy.min_frames)) is not Cause.NONE:
        return _note_fault(state, seen, fault, policy)
    if policy.period_s and state.fault is Cause.FROZEN:
        state = replace(state, fault=Cause.NONE, fault_run=0)
    if state.inputs is None:
        state = _settle(state, True, policy)
        return _learn_outputs(_learn_inputs(state, seen, policy), seen, policy)
    return _watch(state, state.inputs, seen, policy)


def _follow_epochs(state: WatchState, seen: Observation, policy: DriftPolicy) -> WatchState:
    if state.pending is not None and (state.input_epoch, state.output_epoch) != (seen.input_epoch, seen.output_epoch):
        state = replace(_take(state, state.pending, policy), pending=None)
    if state.input_epoch != seen.input_epoch:
        return WatchState(
            input_epoch=seen.input_epoch,
            output_epoch=seen.output_epoch,
            clock=state.clock,
            left_out=state.left_out,
            last_at=state.last_at,
        )
    if state.output_epoch != seen.output_epoch:
        return replace(
            state,
            output_epoch=seen.output_epoch,
            waiting=(),
            output_windows=(),
            outputs=None,
            output_bank=None,
            output_before=b"",
        )
    return state


def _note_clock(state: WatchState) -> WatchState:
    """Raise a clock that jumps, unless the camera itself is broken; only windows without a jump are quiet."""
    if state.clock.jumps and state.clock.jumps[-1] == 0:
        state = replace(state, fault_quiet=0)
    standing = state.fault_finding
    if not state.clock.is_faulty or (standing is not None and standing.cause is not Cause.CLOCK):
        return state
    since = state.last_at if standing is None else standing.since
    return replace(state, fault_finding=Finding(Cause.CLOCK, state.clock.sentence(), (), since))


def _note_fault(state: WatchState, seen: Observation, fault: Cause, policy: DriftPolicy) -> WatchState:
    run = state.fault_run + 1 if fault is state.fault else 1
    since = state.fault_since if run > 1 else seen.started_at
    state = replace(state, fault=fault, fault_run=run, fault_since=since, quiet=0, spell=b"", fault_quiet=0)
    if run < policy.latch_windows:
        return state
    return replace(state, fault_finding=Finding(fault, fault_sentence(fault, run), (), since))


def _learn_inputs(state: WatchState, seen: Observation, policy: DriftPolicy) -> WatchState:
    windows, inputs = _grow(state.input_windows, seen_only(seen), state.inputs, fit_inputs, policy)
    bank = new_bank(inputs.figures) if inputs is not None and state.input_bank is None else state.input_bank
    return replace(state, input_windows=windows, inputs=inputs, input_bank=bank)


def _learn_outputs(state: WatchState, seen: Observation, policy: DriftPolicy) -> WatchState:
    if seen.answers < policy.min_frames:
        return state
    windows, outputs = _grow(state.output_windows, answers_only(seen), state.outputs, fit_outputs, policy)
    bank = new_bank(OUTPUT_FIGURES) if outputs is not None and state.output_bank is None else state.output_bank
    return replace(state, output_windows=windows, outputs=outputs, output_bank=bank)


def _grow(
    kept: tuple[Observation, ...],
    seen: Observation,
    baseline: B | None,
    fit: Callable[[Sequence[Observation]], B],
    policy: DriftPolicy,
) -> tuple[tuple[Observation, ...], B | None]:
    """Return (the windows to keep, the baseline) after one more window; a settled baseline keeps none and stays."""
    if baseline is not None and not kept:
        return kept, baseline
    kept = (*kept, seen)
    first, count = policy.first_baseline, len(kept)
    if count >= max(policy.settle_windows, first):
        return (), fit(kept)
    doubled = count >= first and count % first == 0 and (count // first).bit_count() == 1
    return kept, fit(kept) if doubled else baseline


def _watch(state: WatchState, inputs: InputBaseline, seen: Observation, policy: DriftPolicy) -> WatchState:
    gap_s = seen.started_at - state.before_at
    before = (_before(state.input_before, gap_s), _before(state.output_before, gap_s))
    verdict = judge_observation(Baseline(inputs, state.outputs), seen, policy, before)
    if verdict.inputs is None:
        # Joined from windows without a fault, and yet it shows one: it says nothing.
        return replace(state, left_out=state.left_out + 1)
    input_bank = update(state.input_bank or new_bank(inputs.figures), verdict.inputs, seen.started_at)
    output_bank = state.output_bank
    if verdict.outputs is not None and output_bank is not None:
        output_bank = update(output_bank, verdict.outputs, seen.started_at)
    banks = (input_bank,) if output_bank is None else (input_bank, output_bank)
    # The e-detector itself asks two windows to agree.
    recent = (*state.recent, log_average(banks))[-max(policy.latch_windows - 1, 1) :]
    state = replace(
        state,
        input_bank=input_bank,
        output_bank=output_bank,
        input_before=_remember(verdict.inputs, before[0]),
        output_before=_remember(verdict.outputs, before[1]),
        before_at=seen.started_at,
        recent=recent,
        judged=state.judged + 1,
        raised_for=0 if state.finding is None else state.raised_for + 1,
    )
    threshold = -math.log(policy.alpha)
    if state.held > state.peak and state.held >= threshold:
        state = replace(state, peak=state.held, finding=_finding(state, input_bank, output_bank, threshold))
    calm = state.finding is None and max(float(stream_wealth(bank).max()) for bank in banks) < _CALM
    state = _settle(state, all(map(is_quiet, banks)), policy, _signed_levels(verdict))
    # After this window was judged, so that a new model's first answers are not compared with themselves.
    if state.outputs is None:
        state = _learn_outputs(state, seen, policy)
    return _grow_older(state, seen, calm, policy)


def _grow_older(state: WatchState, seen: Observation, calm: bool, policy: DriftPolicy) -> WatchState:
    """Let a growing baseline learn the window of some time ago, now that nothing came after it; forget all since when something
    does: what builds up slowly must not be learnt before it is found."""
    if not state.input_windows and not state.output_windows:
        return replace(state, waiting=())
    if not calm:
        return replace(state, waiting=())
    waiting = (*state.waiting, seen)
    if len(waiting) <= _QUARANTINE:
        return replace(state, waiting=waiting)
    state = replace(state, waiting=waiting[1:])
    if state.input_windows:
        state = _learn_inputs(state, waiting[0], policy)
    if state.output_windows and state.outputs is not None and state.output_epoch == waiting[0].output_epoch:
        state = _learn_outputs(state, waiting[0], policy)
    return state


def _before(residuals: bytes, gap_s: float) -> Before | None:
    if not residuals:
        return None
    last, earlier = from_bytes(residuals).reshape(2, -1)
    return Before(last, gap_s, earlier)


def _remember(scores: Scores | None, before: Before | None) -> bytes:
    """Return the residuals of this window and of the one before it, one after the other."""
    if scores is None:
        return b""
    # Where nothing is remembered, what is remembered twice foretells the same.
    earlier = scores.residual if before is None else before.residual
    return to_bytes(np.concatenate((scores.residual, earlier)))


def _finding(state: WatchState, inputs: Bank, outputs: Bank | None, threshold: float) -> Finding:
    cause, sentence, evidence = explain(inputs, outputs, threshold)
    since = min((item.since for item in evidence), default=state.last_at)
    if state.finding is not None:
        since = min(since, state.finding.since)
    return Finding(cause, sentence, evidence, since)


def _settle(state: WatchState, quiet: bool, policy: DriftPolicy, levels: Vector | None = None) -> WatchState:
    """Count quiet windows while raised; enough of them end it. What ends a drift takes all wealth with it.

    `levels` f64[F] of the window: a spell whose windows are quiet one by one, and on average still off, is no end.
    """
    if state.fault_finding is not None:
        calm = state.fault_quiet + 1
        state = replace(state, fault_quiet=calm)
        if calm >= policy.clear_windows:
            state = replace(state, fault_quiet=0, fault_finding=None)
    if state.finding is None:
        return state
    if not quiet:
        return replace(state, quiet=0, spell=b"")
    counted = state.quiet + 1
    if levels is not None:
        sums = from_bytes(state.spell) if state.spell else np.zeros(levels.size)
        if sums.size == levels.size:
            levels = levels + sums
        state = replace(state, spell=to_bytes(levels))
    if counted < policy.clear_windows:
        return replace(state, quiet=counted)
    if levels is not None and float(levels.max()) / counted > _STILL_OFF:
        return replace(state, quiet=0, spell=b"")
    return replace(
        state,
        quiet=0,
        spell=b"",
        raised_for=0,
        peak=NO_WEALTH,
        recent=(),
        finding=None,
        input_bank=None if state.input_bank is None else new_bank(state.input_bank.figures),
        output_bank=None if state.output_bank is None else new_bank(OUTPUT_FIGURES),
    )


def _signed_levels(verdict: DriftVerdict) -> Vector:
    """Return the levels of a window in each direction in which its figures may change, f64[S], bounded."""
    both = []
    for scores in (verdict.inputs, verdict.outputs):
        if scores is not None:
            index, sign = streams(scores.figures)
            both.append(np.clip(sign * scores.level[index], -_MOST_LEVEL, _MOST_LEVEL))
    return np.concatenate(both)
