"""Judging a candidate bundle on live frames, beside the incumbent (DESIGN 6, probation)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from contract.messages import Probation


@dataclass(frozen=True, slots=True)
class TrialVerdict:
    """`kept`, or why not, in words for a person."""

    kept: bool
    reason: str = ""


class TrialTally:
    """What a candidate did so far. `compared` counts the frames that the incumbent decided too. One thread's."""

    def __init__(self, probation: Probation, *, started_s: float, deadline_ms: float) -> None:
        self._probation = probation
        self._started_s = started_s
        self._deadline_ms = deadline_ms
        self._latencies_ms: list[float] = []
        self.frames = 0
        self.compared = 0
        self.agreed = 0
        self.failure = ""

    def saw(self, latency_ms: float, *, agreed: bool | None) -> None:
        """Count a frame the candidate decided; `agreed` is None where no incumbent decided it."""
        self.frames += 1
        self._latencies_ms.append(latency_ms)
        if agreed is not None:
            self.compared += 1
            self.agreed += agreed

    def failed(self, why: str) -> None:
        """Count a frame the candidate failed on (an exception, NaN scores): one is enough."""
        self.frames += 1
        self.failure = self.failure or why

    def hold(self, for_s: float) -> None:
        """Let a time pass in which the candidate saw nothing because the station is degraded: it is not its fault."""
        self._started_s += for_s

    def judge(self, now_s: float) -> TrialVerdict | None:
        """Return the verdict, or None while the trial goes on.

        Kept after `frames` frames without a failure, agreeing on at least `min_agreement` of those compared, with the
        95th percentile of its latency within the line's deadline.
        """
        wanted = self._probation.frames
        if self.failure:
            return TrialVerdict(False, f"it failed on frame {self.frames} of its trial: {self.failure}")
        if self.frames >= wanted:
            return self._judge_complete()
        if now_s - self._started_s > self._probation.timeout_s:
            return TrialVerdict(
                False, f"only {self.frames} of {wanted} trial frames came within {self._probation.timeout_s:g} s"
            )
        return None

    def _judge_complete(self) -> TrialVerdict:
        least = self._probation.min_agreement
        if self.compared and self.agreed / self.compared < least:
            return TrialVerdict(
                False,
                f"it decided {self.agreed} of {self.compared} frames as the bundle in charge does,"
                f" {self.agreed / self.compared:.0%}; at least {least:.0%} was asked for",
            )
        p95_ms = percentile95(self._latencies_ms)
        if p95_ms > self._deadline_ms:
            return TrialVerdict(
                False, f"95 % of its frames took up to {p95_ms:.1f} ms; the line allows {self._deadline_ms:g} ms"
            )
        return TrialVerdict(True)


def percentile95(values: list[float]) -> float:
    """Return the nearest-rank 95th percentile, 0 for no values."""
    return sorted(values)[math.ceil(0.95 * len(values)) - 1] if values else 0.0
