"""From where on a frame counts as novel: above what nearly all frames before it were.

Idea: pixels cannot wait for the end of their window, so the most novel frames are taken as they come: those above a running
high quantile. It moves by a share of itself after every frame, up when one lies above it and down a little when not, and rests
where 2 % lie above. Drift carries it along: after a lamp change, when every frame is unlike the enrolled ones, the oddest of
the new ones are novel.

Formula: q <- max(q * exp(rate * (1[x > q] - share)), least). After a jump of x to e times its size it is there in 1 / rate
frames.

Parameters: share = 0.02, as many frames of a window of 256 as may be kept (`agent.decide.sampling`); rate = 0.05; least = 1.5:
what lies nearer to the enrolled centre is no stranger, however quiet the station. In windows of 256 real frames with four
places, 38 % of what it keeps is steel where 2 % of the tiles' frames are (the best four in hindsight: 43 %), 88 % is another
steel where one class was enrolled (90 %), 9 and 14 % are Break and Fray where 5 % are (9 and 14 %); a rate of .2 finds a
tenth less.

>>> threshold = NoveltyThreshold()
>>> [threshold.passed_by(novelty) for novelty in (1.0, 1.1, 3.0, 1.0)]
[False, False, True, False]

Source: Robbins and Monro 1951 (stochastic approximation of a quantile), on a logarithmic scale.
"""

from __future__ import annotations

import math

SHARE = 0.02
RATE = 0.05
LEAST = 1.5
_START = 2.0


class NoveltyThreshold:
    """The running quantile of one camera's novelty. One thread's."""

    def __init__(self) -> None:
        self.value = _START
        self._up, self._down = math.exp(RATE * (1.0 - SHARE)), math.exp(-RATE * SHARE)

    def passed_by(self, novelty: float) -> bool:
        """Return whether a frame is novel, and move on."""
        above = novelty > self.value
        self.value = max(self.value * (self._up if above else self._down), LEAST)
        return above
