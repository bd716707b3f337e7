"""What is remembered of one station's watch between two windows; `watch.step` is what changes it."""

from __future__ import annotations

from enum import Enum

import msgspec

from cloud.drift.baseline import InputBaseline, OutputBaseline
from cloud.drift.causes import Cause, Evidence
from cloud.drift.e_detector import NO_WEALTH, Bank, log10_of, log_average
from cloud.drift.observation import Observation
from cloud.drift.station_clock import StationClock
from cloud.drift.trace import TracePoint, trace_point
from cloud.drift.vectors import from_bytes

_LONG_RUN = 6.0


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

    `pending` are the windows of the period that has not ended. `input_windows` and `output_windows` are those behind baselines
    that are still growing, `waiting` those that will join them if nothing comes of them. `input_before` and `output_before`:
    the residuals of the window judged last, which began at `before_at`, and of the one before it, f64. `peak` is the log e-value
    that held, at its highest since the last quiet spell; `recent` are the latest log e-values. `fault` and `fault_run`: the
    sensor fault of the latest windows, for how many.
    `quiet` counts quiet windows while `finding` stands, `spell` sums their levels, f64; `fault_quiet` those without a fault
    while `fault_finding` stands; `raised_for` counts windows judged since the finding.
    """

    input_epoch: tuple[int, int, str] | None = None
    output_epoch: tuple[str, int] | None = None
    pending: Observation | None = None
    input_windows: tuple[Observation, ...] = ()
    output_windows: tuple[Observation, ...] = ()
    waiting: tuple[Observation, ...] = ()
    inputs: InputBaseline | None = None
    outputs: OutputBaseline | None = None
    input_bank: Bank | None = None
    output_bank: Bank | None = None
    input_before: bytes = b""
    output_before: bytes = b""
    before_at: float = 0.0
    recent: tuple[float, ...] = ()
    peak: float = NO_WEALTH
    finding: Finding | None = None
    fault_finding: Finding | None = None
    raised_for: int = 0
    fault: Cause = Cause.NONE
    fault_run: int = 0
    fault_since: float = 0.0
    clock: StationClock = StationClock()
    quiet: int = 0
    spell: bytes = b""
    fault_quiet: int = 0
    judged: int = 0
    left_out: int = 0
    last_at: float = 0.0

    @property
    def phase(self) -> Phase:
        """Where the watch stands."""
        if self.shown is not None:
            return Phase.RAISED
        return Phase.ENROLLING if self.inputs is None else Phase.QUIET

    @property
    def is_fault(self) -> bool:
        """Whether it is raised for a sensor fault, which no fleet statistics need confirm."""
        return self.fault_finding is not None

    @property
    def shown(self) -> Finding | None:
        """What a person should read: a sensor fault before any drift, which may stand behind it."""
        return self.fault_finding or self.finding

    @property
    def is_moving(self) -> bool:
        """Whether some figure has lain beyond its margin for so long, up to now, that chance is no explanation."""
        banks = [bank for bank in (self.input_bank, self.output_bank) if bank is not None]
        return any(float(from_bytes(bank.run).max()) >= _LONG_RUN for bank in banks)

    @property
    def log_e(self) -> float:
        """The evidence that a fleet weighs: what held of late, and while raised what held at most."""
        return self.peak if self.finding is not None else self.held

    @property
    def trace_point(self) -> TracePoint | None:
        """The evidence after the last window, for a chart; None while nothing is judged."""
        if self.input_bank is None or self.held == NO_WEALTH:
            return None
        outputs = None if self.output_bank is None else log10_of(log_average((self.output_bank,)))
        return trace_point(self.last_at, log10_of(self.held), log10_of(log_average((self.input_bank,))), outputs)

    @property
    def held(self) -> float:
        """The log e-value that held over the last windows."""
        return min(self.recent, default=NO_WEALTH)
