"""From where on a frame is refused: so unlike anything enrolled that no model's word on it counts.

Idea: a model answers whatever it is shown, and is often sure of what it never saw. So a frame whose distance from the enrolment
(`familiar.py`) lies beyond what the station's own frames reach is REVIEW, whether its model would pass or reject it; a model that
looks on beside it may still reject it. Where that is, the station learns from the frames that follow its enrolment: they took no
part in it, so their distance is that of any later one.

Formula: the limit is the `SPARE`-th highest distance of `frames_needed(rate)` = ceil(SPARE / rate) - 1 frames, and a frame is
refused when it lies above. It is the order statistic of split conformal prediction: if those frames and a later one are
exchangeable, the later one is refused with probability <= SPARE / (frames + 1) <= rate, whatever the distribution and whatever
the reference. That is the mean over enrolments; of one enrolment the share refused is Beta(SPARE, frames + 1 - SPARE), so with
95 % confidence it is below 2.4 times the rate. Both are exact for finite samples.

Void when frames are not exchangeable: light, lens, material or camera changed since, the frames learnt from were of one shift
only, or a stranger in `SPARE` or more of them lifted the limit, which then refuses too little, never too much. One stranger among
them changes nothing: that is what the spare one is for. While a drift alarm is open the refusal is suspended and nothing is
learnt: nearly every frame would be beyond the limit, and nothing passes by itself anyway (`agent.guarantee`). What lies beyond
it is then REVIEW as drifted or unsure, REJECT where the model rejects it, and never PASS: the cloud is asked only about the rest.

Parameters: `rate`, the most of the good frames that may be refused, e.g. 0.001; SPARE = 2. Memory: two numbers. A limit is never
under LEAST_LIMIT, a hundredth of a standard deviation: where every frame is one of those enrolled (a folder in a loop, a still
scene), distances are rounding errors, which another processor or a restart makes anew.
Cost: a comparison a frame.

>>> limit = RefusalLimit(rate=0.2)
>>> for distance in (1.0, 1.4, 0.9, 5.0, 1.1, 1.2, 0.8, 1.0, 1.3):
...     limit.learn(distance)
>>> limit.value, limit.refuses(1.4), limit.refuses(1.5)
(1.4, False, True)

Source: Wilks 1941 (order statistics as tolerance limits); Vovk, Gammerman and Shafer 2005, and Lei et al. 2018 (split conformal
prediction); Bates et al. 2023 (outliers by conformal p-values).
"""

from __future__ import annotations

import math

import msgspec

from agent.decide.causes import Cause
from agent.decide.familiar import MOST_DISTANCE
from contract.bounds import Count, Share
from contract.messages import Accounting

SPARE = 2
LEAST_RATE, MOST_RATE = 1e-5, 0.1
LEAST_LIMIT = 0.01
_FLOOD_FRAMES, _FLOOD_SHARE = 8, 0.5
_HOUR_S, _HOURS, _LEAST_TOLD = 3600.0, 24, 50


class Learnt(msgspec.Struct, frozen=True):
    """What a station keeps of a limit through restarts. `points`: what its distances were taken from (`Familiar.encode`),
    enrolled together with the `reference` of this digest.

    `highest` are the highest of the `seen` frames so far, at most SPARE; `limit` is in force, or None: nothing is refused yet.
    """

    reference: str
    points: bytes
    rate: Share
    seen: Count = 0
    highest: tuple[float, ...] = ()
    limit: float | None = None

    def is_sound(self) -> bool:
        """Return whether these can be distances of that many frames."""
        numbers = self.highest if self.limit is None else (*self.highest, self.limit)
        if len(self.highest) != min(self.seen, SPARE) or list(self.highest) != sorted(self.highest, reverse=True):
            return False
        if not LEAST_RATE <= self.rate <= MOST_RATE:
            return False
        # All seen and no limit would refuse nothing, for ever, without a word.
        forgot = self.limit is None and self.seen >= frames_needed(self.rate)
        return not forgot and all(0.0 <= number <= MOST_DISTANCE for number in numbers)


class RefusalLimit:
    """One camera's limit, learnt frame by frame. One thread's; `rate` 0 neither learns nor refuses."""

    def __init__(self, rate: float, kept: Learnt | None = None) -> None:
        """`kept`: what was learnt before. With another rate its limit stays in force until the new one is learnt."""
        self._rate = rate
        self._needed = frames_needed(rate) if rate > 0 else 0
        self._seen = 0
        self._highest: tuple[float, ...] = ()
        self.value: float | None = None
        if kept is not None and rate > 0:
            self.value = kept.limit
            if kept.rate == rate:
                self._seen, self._highest = kept.seen, kept.highest

    @property
    def is_learnt(self) -> bool:
        """Return whether there is nothing more to learn."""
        return self._seen >= self._needed

    @property
    def seen(self) -> int:
        """Frames learnt from so far."""
        return self._seen

    def learn(self, distance: float) -> None:
        """Learn from one frame that followed the enrolment; a limit that is learnt stays as it is."""
        if self.is_learnt:
            return
        self._seen += 1
        if len(self._highest) < SPARE or distance > self._highest[-1]:
            self._highest = tuple(sorted((*self._highest, distance), reverse=True)[:SPARE])
        if self.is_learnt:
            self.value = max(self._highest[-1], LEAST_LIMIT)

    def refuses(self, distance: float) -> bool:
        """Return whether a frame is too unlike the enrolled ones for any model; never before a limit is learnt."""
        return self.value is not None and distance > self.value

    def learnt(self, reference: str, points: bytes) -> Learnt:
        """Return what to keep, with the `points` that its distances were taken from."""
        return Learnt(reference, points, self._rate, self._seen, self._highest, self.value)


def flood_note(counts: Accounting) -> str:
    """Return what the summary of a window says when it refused most of its frames, "" where it did not.

    A few refused frames are strange parts. When most are, it is the picture that has changed, and the station does not refuse
    everything in silence: a person looks at the camera, or has what it sees now enrolled.
    """
    refused = counts.review.get(Cause.UNFAMILIAR.value, 0)
    if refused < _FLOOD_FRAMES or refused < _FLOOD_SHARE * counts.decided:
        return ""
    return f"{refused} of {counts.decided} frames are unfamiliar: look at the camera, or enrol what it sees now"


class RefusedOfLate:
    """Which share of its frames each camera refused of late, by the hour for a day. One thread's; a restart forgets it."""

    def __init__(self) -> None:
        self._hours: dict[str, dict[int, tuple[int, int]]] = {}

    def count(self, camera: str, counts: Accounting, now_s: float) -> None:
        """Add a closed window of `camera`. `now_s`: monotonic."""
        hour = int(now_s // _HOUR_S)
        hours = self._hours.setdefault(camera, {})
        decided, refused = hours.get(hour, (0, 0))
        hours[hour] = decided + counts.decided, refused + counts.review.get(Cause.UNFAMILIAR.value, 0)
        for old in [each for each in hours if each <= hour - _HOURS]:
            del hours[old]

    def share(self) -> float | None:
        """Return the share of the camera that refuses most; None while no camera decided enough frames to tell."""
        totals = [tuple(map(sum, zip(*hours.values(), strict=True))) for hours in self._hours.values()]
        return max((refused / decided for decided, refused in totals if decided >= _LEAST_TOLD), default=None)


def frames_needed(rate: float) -> int:
    """Return how many frames a limit of this rate is learnt from: the fewest of which the SPARE-th highest keeps the rate.

    >>> frames_needed(0.001), frames_needed(0.0001)
    (1999, 19999)
    """
    return math.ceil(round(SPARE / rate, 6)) - 1


def most_refused(rate: float, confidence: float = 0.95) -> float:
    """Return the share of good frames that one enrolment's limit refuses at most, with this confidence.

    Source: the share is Beta(2, frames - 1), so P(share > p) = (1 - p)^(n-1) (1 + (n-1) p) with n frames; solved by bisection.

    >>> round(most_refused(0.001), 5)
    0.00237
    """
    others = frames_needed(rate) - 1
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        beyond = (1.0 - middle) ** others * (1.0 + others * middle)
        low, high = (middle, high) if beyond > 1.0 - confidence else (low, middle)
    return high
