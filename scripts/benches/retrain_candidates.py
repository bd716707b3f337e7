"""The 50 good and 50 bad candidates that the gate is tried on: what each is, decided by its number alone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cloud.gate.corruptions import Corruption

COUNT = 50
HONEST_STEPS = 120
# A model that knows its labels already learns a mark slowly.
_SHORTCUT_STEPS = 300


class Fault(str, Enum):
    """What is wrong with a candidate."""

    NONE = "good"
    MISLABELLED = "mislabelled"
    UNDER_TRAINED = "under-trained"
    OVER_QUANTIZED = "over-quantized"
    SHORTCUT = "shortcut"


class Rounding(str, Enum):
    """How a careless toolchain makes int8 worse."""

    FOUR_BITS = "weights of 4 bits"
    THREE_BITS = "weights of 3 bits"
    FOUR_BITS_PER_TENSOR = "weights of 4 bits, one step a tensor"
    CLIPPED = "activations clipped"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One candidate. It is trained from the incumbent with `labels` reviewed images of a line under `drift`.

    Mislabelled: `share` of the labels are wrong, in the reviewed images, or in the base's training images where `of_base`; with
    `systematic` all of one label. `in_holdout`: the share of what the gate judges on that has the same trouble (wrong labels,
    or the mark). Under-trained: `steps`. Over-quantized: `rounding`; where it clips, ranges are `share` of what they should be.
    """

    name: str
    fault: Fault
    drift: Corruption
    severity: int
    labels: int
    seed: int
    steps: int = HONEST_STEPS
    share: float = 0.0
    of_base: bool = False
    systematic: bool = False
    in_holdout: float = 0.0
    rounding: Rounding | None = None
    fresh: bool = False

    @property
    def good(self) -> bool:
        """Whether nothing was done to it."""
        return self.fault is Fault.NONE

    @property
    def kind(self) -> str:
        """What the tables call it: shortcuts apart by whether the holdout carries the mark too."""
        if self.fault is Fault.SHORTCUT:
            return "shortcut, in the holdout too" if self.in_holdout else "shortcut, clean holdout"
        if self.fault is Fault.MISLABELLED:
            return "mislabelled base" if self.of_base else "mislabelled review"
        return str(self.fault.value)


# What lines meet, mild to plain; the steel model loses 20 to 60 points under them. Contrast at severity 4 was tried: honest
# retrains then lose more than 2 points on clean images, so they are not good ones.
DRIFTS = (
    (Corruption.DEFOCUS, 1),
    (Corruption.NOISE, 3),
    (Corruption.DARKER, 4),
    (Corruption.BRIGHTER, 4),
    (Corruption.DEFOCUS, 2),
    (Corruption.CONTRAST, 3),
)
_LABELS = (120, 60, 240, 120, 180)


def good_candidates(count: int = COUNT) -> list[Candidate]:
    """Return honest retrains: other drifts, numbers of labels and seeds."""
    return [_honest(f"good-{n:02d}", Fault.NONE, n) for n in range(count)]


def bad_candidates(count: int = COUNT) -> list[Candidate]:
    """Return spoilt ones, the four faults by turns, each from mild to plain."""
    return [_spoilt(n) for n in range(count)]


def _honest(name: str, fault: Fault, number: int, **more: object) -> Candidate:
    drift, severity = DRIFTS[number % len(DRIFTS)]
    labels = _LABELS[number % len(_LABELS)]
    return Candidate(name, fault, drift, severity, labels, seed=100 + number, **more)  # type: ignore[arg-type]


def _spoilt(number: int) -> Candidate:
    name, turn = f"bad-{number:02d}", number // 4
    return (_mislabelled, _under_trained, _over_quantized, _shortcut)[number % 4](name, number, turn)


def _mislabelled(name: str, number: int, turn: int) -> Candidate:
    share = (0.4, 0.25, 0.15, 0.3)[turn % 4]
    of_base, systematic = turn % 2 == 1, turn % 3 == 2
    # A review's drifted slice is drawn from the same review, so it is as wrong; a base's holdout may have been checked.
    in_holdout = 1.0 if not of_base or turn % 4 == 3 else 0.0
    return _honest(
        name,
        Fault.MISLABELLED,
        number,
        share=0.9 if systematic else share,
        of_base=of_base,
        systematic=systematic,
        in_holdout=in_holdout,
    )


def _under_trained(name: str, number: int, turn: int) -> Candidate:
    if turn % 3 == 2:  # from nothing, not from the incumbent
        return _honest(name, Fault.UNDER_TRAINED, number, steps=(30, 60, 90, 45)[turn // 3 % 4], fresh=True)
    return _honest(name, Fault.UNDER_TRAINED, number, steps=(2, 8, 4, 12, 6, 7, 10, 5)[turn * 2 // 3 % 8])


def _over_quantized(name: str, number: int, turn: int) -> Candidate:
    rounding = list(Rounding)[turn % 4]
    return _honest(name, Fault.OVER_QUANTIZED, number, rounding=rounding, share=(0.15, 0.25, 0.2)[turn // 4 % 3])


def _shortcut(name: str, number: int, turn: int) -> Candidate:
    return _honest(
        name, Fault.SHORTCUT, number, steps=_SHORTCUT_STEPS, share=1.0, in_holdout=(0.0, 1.0, 0.5, 1.0)[turn % 4]
    )
