"""Judging a candidate bundle on live frames, beside the incumbent and then in its place (DESIGN 6, probation).

Unseen, the candidate must show that it is well: nothing moves on before `frames` frames (and as many pairs as the mix needs)
are there, and what is not shown is not kept. Then it decides in charge, with the incumbent loaded beside it and asked the same
frames: what was shown is now held against it only when the opposite is shown, in a block of frames of its own. A mix in charge
is never compared with the mix of an earlier hour, for another lot of parts is no fault of a model.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

from agent.decide.mix import Mix, Pair, agreement_shown_below, frames_needed, not_shown_within, shown_beyond
from contract.messages import Probation

# A longer pause between two looks at the clock was not served: the process was stopped, or the loop hung.
_MOST_STEP_S = 5.0
_MOST_LATENCIES = 4096
# The 95th percentile of fewer frames is the slowest of them.
_LEAST_LATENCIES = 20


class TrialStep(Enum):
    """What is to be done with a candidate."""

    PUT_IN_CHARGE = "put in charge"
    PUT_AWAY = "put away"
    KEEP = "keep"
    TURN_DOWN = "turn down"


@dataclass(frozen=True, slots=True)
class Ruling:
    """What is to be done now; `reason` says in words for a person why a candidate is turned down."""

    step: TrialStep
    reason: str = ""


class TrialTally:
    """What a candidate did so far. One thread's.

    `pairs` are the frames that the incumbent decided too, over both phases. `alone`: there is no incumbent, so it is in charge
    from the start, is compared with nobody, and must still decide `frames` frames within `timeout_s`.
    """

    def __init__(self, probation: Probation, *, started_s: float, deadline_ms: float, alone: bool = False) -> None:
        self._probation = probation
        self._started_s = started_s
        self._deadline_ms = deadline_ms
        self._alone = alone
        self._latencies, self._recent = _Latencies(), _Compared()
        self._in_charge_s = self._looked_s = started_s
        self._served_s = 0.0
        self._unseen_ms = 0.0
        self._unseen = 0
        self.in_charge = alone
        self.frames = 0
        self._failed_on = 0
        self.failures = 0
        self.memory_mib = 0.0
        self.failure = ""
        self._all = _Compared()

    @property
    def pairs(self) -> Mix:
        """What both decided, over both phases."""
        return self._all.pairs

    @property
    def compared(self) -> int:
        """Frames that the incumbent decided too."""
        return self._all.pairs.frames

    @property
    def agreed(self) -> int:
        """Frames of those on which the two did not differ."""
        return self._all.agreed

    @property
    def mean_ms(self) -> float:
        """The mean of its own time on the frames it decided unseen; 0 for none."""
        return self._unseen_ms / self._unseen if self._unseen else 0.0

    def saw(self, latency_ms: float, *, pair: Pair | None) -> None:
        """Count a frame the candidate decided; `pair` is None where no incumbent decided it too."""
        self.frames += 1
        self._latencies.add(latency_ms, self._deadline_ms)
        if not self.in_charge:
            self._unseen += 1
            self._unseen_ms += latency_ms
        if pair is not None:
            self._all.add(pair)
            self._recent.add(pair)

    def failed(self, why: str) -> None:
        """Count a frame the candidate failed on (an exception, NaN scores): one is enough."""
        self.frames += 1
        self.failures += 1
        if not self.failure:
            self.failure, self._failed_on = why, self.frames

    def weigh(self, grown_mib: float) -> None:
        """Note what the process has grown by since before the candidate was loaded."""
        self.memory_mib = max(self.memory_mib, grown_mib)

    def hold(self, for_s: float) -> None:
        """Let a time pass in which the candidate saw nothing because the station is degraded: it is not its fault.

        In charge the clock runs on: there it decides, and must stand, whatever the station gives up.
        """
        if not self.in_charge:
            self._started_s += for_s

    def put_in_charge(self, now_s: float) -> None:
        """Begin the second phase."""
        self.in_charge = True
        self._in_charge_s = self._looked_s = now_s
        self._latencies, self._recent = _Latencies(), _Compared()

    def left_s(self, now_s: float) -> float:
        """Return how long the trial may still take, with all its frames coming."""
        unseen_s = max(self._probation.timeout_s - (now_s - self._started_s), 0.0)
        if not self.in_charge:
            return unseen_s + (0.0 if self._probation.shadow_only else self._probation.serve_s)
        served_s = max(self._probation.serve_s - self._served_s, 0.0)
        return max(served_s, unseen_s) if self._alone else served_s

    def judge(self, now_s: float) -> Ruling | None:
        """Return what is to be done, or None while the phase goes on.

        It is put in charge (or away, where it was to decide unseen only) after `frames` frames without a failure, agreeing
        on at least `min_agreement` of those compared, with every verdict's share shown to be within `max_mix_shift` of the
        incumbent's (`agent.decide.mix`), the 95th percentile of its latency within the line's deadline and the process grown
        by no more than `max_memory_mib`. It is kept after `serve_s` in charge, in which none of that was shown to be otherwise
        in any block of as many frames. An incumbent that decides no frame at all is nobody to be compared with.
        """
        if self.failure:
            where = f"after {now_s - self._in_charge_s:.0f} s in charge" if self._served() else "of its trial"
            return _turned_down(f"it failed on frame {self._failed_on} {where}: {self.failure}")
        most = self._probation.max_memory_mib
        if most > 0 and self.memory_mib > most:
            return _turned_down(f"the process grew by {self.memory_mib:.0f} MiB with it; {most:g} MiB are allowed")
        return self._judge_in_charge(now_s) if self.in_charge else self._judge_unseen(now_s)

    def _judge_unseen(self, now_s: float) -> Ruling | None:
        wanted, needed, late = self._probation.frames, self._pairs_needed(), self._latencies.late
        whole = max(wanted, needed)
        # A slow candidate holds up the frames after: it is turned down as soon as no other frame could save it.
        if late > whole - math.ceil(0.95 * whole) and late > 0.05 * self._latencies.frames:
            return _turned_down(self._latencies.too_slow(self._deadline_ms))
        if self.frames >= wanted and (self.compared >= needed or not self.compared):
            if why := self._why_not_shown():
                return _turned_down(why)
            return Ruling(TrialStep.PUT_AWAY if self._probation.shadow_only else TrialStep.PUT_IN_CHARGE)
        if now_s - self._started_s > self._probation.timeout_s:
            return _turned_down(self._too_few())
        return None

    def _judge_in_charge(self, now_s: float) -> Ruling | None:
        # Time in which nobody looked was not served: a process that was stopped for an hour showed nothing in it.
        self._served_s += min(now_s - self._looked_s, _MOST_STEP_S)
        self._looked_s = now_s
        whole = max(self._probation.frames, self._pairs_needed(), 1)
        complete = self._served_s >= self._probation.serve_s
        why = ""
        if self._latencies.frames >= whole or (complete and self._latencies.frames >= _LEAST_LATENCIES):
            why = self._latencies.too_slow(self._deadline_ms)
            self._latencies = _Latencies()
        if self._recent.pairs.frames >= whole or complete:
            why = why or self._why_shown_otherwise(self._recent)
            self._recent = _Compared()
        if why:
            return _turned_down(f"{why}, in charge")
        few = self._alone and self.frames < self._probation.frames
        if few and now_s - self._started_s > self._probation.timeout_s:
            return _turned_down(self._too_few())
        return Ruling(TrialStep.KEEP) if complete and not few else None

    def _why_not_shown(self) -> str:
        most = self._probation.max_mix_shift
        if self.compared and self.agreed / self.compared < self._probation.min_agreement:
            return self._disagrees(self._all)
        shift = not_shown_within(self.pairs, most) if self.compared else None
        if shift is not None:
            return f"it says {shift.in_words()}: that it is within {most:.1%} is not shown"
        return self._latencies.too_slow(self._deadline_ms)

    def _why_shown_otherwise(self, recent: _Compared) -> str:
        if agreement_shown_below(recent.agreed, recent.pairs.frames, self._probation.min_agreement):
            return self._disagrees(recent)
        shift = shown_beyond(recent.pairs, self._probation.max_mix_shift)
        return f"it says {shift.in_words()}; {self._probation.max_mix_shift:.1%} are allowed" if shift else ""

    def _disagrees(self, compared: _Compared) -> str:
        agreed, frames = compared.agreed, compared.pairs.frames
        other = "the one before it" if self.in_charge else "the bundle in charge"
        return (
            f"it decided {agreed} of {frames} frames as {other} does, {agreed / frames:.0%};"
            f" at least {self._probation.min_agreement:.0%} was asked for"
        )

    def _too_few(self) -> str:
        probation, pairs = self._probation, self._pairs_needed()
        few = f"only {self.frames} of {probation.frames} trial frames came within {probation.timeout_s:g} s"
        if self.frames < probation.frames or self._alone:
            return few
        return (
            f"the incumbent decided {self.compared} frames too within {probation.timeout_s:g} s: to show that no verdict"
            f" shifts by {probation.max_mix_shift:.1%} takes {pairs}"
        )

    def _pairs_needed(self) -> int:
        return 0 if self._alone else frames_needed(self._probation.max_mix_shift)

    def _served(self) -> bool:
        return self.in_charge and not self._alone


class _Compared:
    """Frames that both decided."""

    __slots__ = ("agreed", "pairs")

    def __init__(self) -> None:
        self.agreed = 0
        self.pairs = Mix()

    def add(self, pair: Pair) -> None:
        self.agreed += pair.agreed
        self.pairs.add(pair)


class _Latencies:
    """How long frames took; of very many, the last ones."""

    __slots__ = ("_ms", "frames", "late")

    def __init__(self) -> None:
        self.frames = self.late = 0
        self._ms: deque[float] = deque(maxlen=_MOST_LATENCIES)

    def add(self, latency_ms: float, deadline_ms: float) -> None:
        self.frames += 1
        self.late += latency_ms > deadline_ms
        self._ms.append(latency_ms)

    def too_slow(self, deadline_ms: float) -> str:
        p95_ms = percentile95(self._ms)
        if p95_ms <= deadline_ms:
            return ""
        return f"95 % of its frames took up to {p95_ms:.1f} ms; the line allows {deadline_ms:g} ms"


def _turned_down(reason: str) -> Ruling:
    return Ruling(TrialStep.TURN_DOWN, reason)


def percentile95(values: Collection[float]) -> float:
    """Return the nearest-rank 95th percentile, 0 for no values."""
    return sorted(values)[math.ceil(0.95 * len(values)) - 1] if values else 0.0
