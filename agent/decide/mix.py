"""Whether two models give each verdict as often as each other, judged on the same frames (DESIGN 6, probation).

Frames are paired, so only those on which the two differ say anything. Of n frames let b have a verdict from the candidate alone
and c from the incumbent alone: the shift of that verdict's share is d = (b - c) / n. Against a greatest shift m, Tango's score
statistic is  T(m) = (b - c - n m) / sqrt(n (2 q + m (1 - m))),  where q is the likeliest share of "incumbent alone" were the
shift exactly m, the larger root of  2n q^2 + (-b - c + (2n - b + c) m) q - c m (1 - m) = 0.

What is promised. `shows_within` asks each verdict for T <= -1.96 on both sides: of candidates that truly shift some verdict by
m or more, at most 5 % are let through, 2.9 % for m <= 0.2 (`tests/agent/decide/test_mix.py` adds up the exact probabilities,
whatever the two agree on). So a model that says PASS to everything is stopped where the incumbent says otherwise to more than
m of the frames. Nothing is let through on faith: on fewer than `frames_needed(m)` pairs not even full agreement is enough.
The frames are taken as independent. Parts of one lot are not quite; a larger share of frames, or a longer trial, helps there.

Source: T. Tango, "Equivalence test and confidence interval for the difference in proportions for the paired-sample design",
Statistics in Medicine 17 (1998), 891-908.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from contract.messages import Verdict

Z = 1.96
_LEAST_SHIFT = 1e-3
_LEAST_FRAMES = 16


@dataclass(frozen=True, slots=True)
class Pair:
    """What both models made of one frame."""

    incumbent: Verdict
    candidate: Verdict
    same_label: bool

    @property
    def agreed(self) -> bool:
        """Whether the line would have noticed no difference."""
        return self.same_label and self.incumbent is self.candidate


@dataclass(frozen=True, slots=True)
class MixShift:
    """How the share of one `verdict` differs over `frames`: `gained` are the candidate's alone, `lost` the incumbent's."""

    verdict: Verdict
    gained: int
    lost: int
    frames: int

    @property
    def share(self) -> float:
        """The shift, -1..1; 0 for no frames."""
        return (self.gained - self.lost) / self.frames if self.frames else 0.0

    def in_words(self) -> str:
        """Return e.g. "REJECT on 4.0 % fewer of 150 frames"."""
        more = "more" if self.share >= 0 else "fewer"
        return f"{self.verdict.value} on {abs(self.share):.1%} {more} of {self.frames} frames than the incumbent"


class Mix:
    """Counts pairs. One thread's."""

    __slots__ = ("_cells", "frames")

    def __init__(self) -> None:
        self.frames = 0
        self._cells: dict[tuple[Verdict, Verdict], int] = {}

    def add(self, pair: Pair) -> None:
        """Count one pair."""
        self.frames += 1
        cell = (pair.incumbent, pair.candidate)
        self._cells[cell] = self._cells.get(cell, 0) + 1

    def shifts(self) -> tuple[MixShift, ...]:
        """Return the shift of every verdict."""
        return tuple(
            MixShift(
                verdict,
                sum(n for (theirs, mine), n in self._cells.items() if mine is verdict and theirs is not verdict),
                sum(n for (theirs, mine), n in self._cells.items() if theirs is verdict and mine is not verdict),
                self.frames,
            )
            for verdict in Verdict
        )

    def counts(self, *, candidate: bool) -> dict[str, int]:
        """Return how often the candidate, or else the incumbent, gave each verdict."""
        counts: dict[str, int] = {}
        for (theirs, mine), n in self._cells.items():
            verdict = (mine if candidate else theirs).value
            counts[verdict] = counts.get(verdict, 0) + n
        return counts


def frames_needed(most: float) -> int:
    """Return the least pairs on which two models that always agree are shown to be within a shift of `most`; 0 for 1."""
    if most >= 1.0:
        return 0
    most = max(most, _LEAST_SHIFT)
    return max(_LEAST_FRAMES, math.ceil(Z * Z * (1.0 - most) / most))


def not_shown_within(mix: Mix, most: float) -> MixShift | None:
    """Return the verdict that shifts furthest among those not shown to be within `most`; None when all are, or 1 is asked."""
    if most >= 1.0:
        return None
    bad = [shift for shift in mix.shifts() if mix.frames < frames_needed(most) or score(shift, most) > -Z]
    return max(bad, key=lambda shift: abs(shift.share), default=None)


def shown_beyond(mix: Mix, most: float) -> MixShift | None:
    """Return the verdict that is shown to shift by more than `most`; None while none is."""
    if most >= 1.0 or not mix.frames:
        return None
    bad = [shift for shift in mix.shifts() if score(shift, most) >= Z]
    return max(bad, key=lambda shift: abs(shift.share), default=None)


def score(shift: MixShift, most: float) -> float:
    """Return Tango's T for the size of a shift, whichever its sign, against `most`; 0 for no frames."""
    n, m = shift.frames, min(max(most, _LEAST_SHIFT), 1.0 - _LEAST_SHIFT)
    if not n:
        return 0.0
    b, c = max(shift.gained, shift.lost), min(shift.gained, shift.lost)
    a, half, rest = 2.0 * n, -b - c + (2.0 * n - b + c) * m, -c * m * (1.0 - m)
    q = (math.sqrt(max(half * half - 4.0 * a * rest, 0.0)) - half) / (2.0 * a)
    return (b - c - n * m) / math.sqrt(n * (2.0 * q + m * (1.0 - m)))


def agreement_shown_below(agreed: int, compared: int, least: float) -> bool:
    """Return whether `agreed` of `compared` frames show, by the same 1.96 (score test), an agreement below `least`."""
    if not compared or agreed / compared >= least:
        return False
    return least >= 1.0 or (agreed / compared - least) / math.sqrt(least * (1.0 - least) / compared) <= -Z
