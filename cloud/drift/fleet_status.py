"""What a fleet's drift watch says: how a station stands, and what changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from cloud.drift.causes import Cause, Evidence, fault_sentence
from cloud.drift.policy import DriftPolicy
from cloud.drift.watch_state import WatchState


class StationPhase(str, Enum):
    """What the fleet says of a station."""

    ENROLLING = "enrolling"
    QUIET = "quiet"
    ALARMED = "alarmed"


@dataclass(frozen=True, slots=True)
class StationDrift:
    """A station's drift, for a page or a report.

    `enrolled` of `enrol_windows` windows make its baseline. While alarmed: `since` by the station's clock, `cause`, one
    `sentence` and its `evidence`; `shared_by` names the cohorts that share the cause. `log10_e`: the evidence held, as a power
    of ten. `judged`, `left_out` (too small, or before the device enrolled) and `late` count windows.
    """

    station: str
    phase: StationPhase
    enrolled: int
    enrol_windows: int
    outputs_enrolled: bool
    since: float | None
    cause: Cause
    sentence: str
    evidence: tuple[Evidence, ...]
    log10_e: float
    shared_by: tuple[str, ...]
    judged: int
    left_out: int
    late: int
    settled: bool = False
    doubts: tuple[str, ...] = ()

    @property
    def e_value(self) -> float:
        """The evidence held, at most 1e300."""
        return float(10.0 ** min(self.log10_e, 300.0))


class EventKind(str, Enum):
    """How a status changed."""

    ENROLLED = "enrolled"
    ALARM_RAISED = "alarm_raised"
    ALARM_CLEARED = "alarm_cleared"
    SHARED_ALARM_RAISED = "shared_alarm_raised"
    SHARED_ALARM_CLEARED = "shared_alarm_cleared"


@dataclass(frozen=True, slots=True)
class DriftEvent:
    """A change of a station's status, or of a cohort's for shared alarms (`subject`); `at` is the end of the window that did it."""

    kind: EventKind
    subject: str
    at: float
    cause: Cause
    sentence: str
    evidence: tuple[Evidence, ...]
    log10_e: float


def sentence_of_state(state: WatchState, alarmed: bool, policy: DriftPolicy) -> str:
    """Return how a station stands, in one sentence."""
    if alarmed and state.shown is not None:
        if state.fault is state.shown.cause and state.fault is not Cause.NONE:
            return fault_sentence(state.fault, state.fault_run)
        return state.shown.sentence
    if state.inputs is None:
        return f"enrolling: {len(state.input_windows)} of {policy.first_baseline} windows{_why_not(state, policy)}"
    if state.inputs.doubts:
        return f"within the enrolled range; {doubtful(state.inputs.doubts)}"
    return "within the enrolled range"


def _why_not(state: WatchState, policy: DriftPolicy) -> str:
    """Return why a station that sends windows does not enrol, or ""."""
    if state.left_out <= len(state.input_windows):
        return ""
    return f"; {state.left_out} left out: under {policy.min_frames} frames, or the device itself has not enrolled yet"


def doubtful(doubts: Sequence[str]) -> str:
    """Return what to do about a baseline with `doubts`."""
    return f"the baseline is doubtful ({'; '.join(doubts)}): look at the station, then re-enrol it"
