"""What an artefact behind a bundle's first one must answer to golden inputs, whose scores are the first one's.

Its own scores differ by its own rounding and its own temperature, so no tolerance on them says much, and its thresholds are its
own, so verdicts may differ too. What must not differ is the label of an input that the first one is sure of: an artefact that a
machine computes wrongly names some of those otherwise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contract.decode import softmax
from contract.manifest import OutputKind

# The first artefact is sure of an input where its likeliest label is this much likelier than the next.
SURE = 0.5


def first_disagreement(scores: NDArray[np.float32], golden: NDArray[np.float32], output: OutputKind) -> int | None:
    """Return the first golden input that is named otherwise though the first artefact is sure of it; None when there is none.

    Args:
        scores: f32[N,K] of the artefact behind, of the same kind `output` as the first one's.
        golden: f32[N,K] of the first one.
    """
    shares = softmax(golden) if output is OutputKind.LOGITS else golden
    if shares.shape[1] < 2:
        return None
    ordered = np.sort(shares, axis=1)
    sure = ordered[:, -1] - ordered[:, -2] >= SURE
    apart = np.flatnonzero(sure & (scores.argmax(1) != golden.argmax(1)))
    return int(apart[0]) if len(apart) else None
