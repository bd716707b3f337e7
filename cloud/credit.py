"""How many summaries a station may send before the next ack, from how busy the cloud is.

    credit = max(1, round(MOST * room * pace))
    room   = 1 - depth / capacity          what is left of the queue of arrivals, 0 to 1
    pace   = min(1, GOOD_S / commit_s)     how near commits are to the time a batch should take

`commit_s` is a moving average over batches (`smooth`), each counted as 5 s at most. It is never 0: a station that may send
nothing would hear no ack, and no ack would ever tell it that it may again. A full queue or a database twenty times slower
than it should be brings it to the least; both recover with the batches that follow.
"""

from __future__ import annotations

MOST = 100
GOOD_S = 0.25
_WEIGHT, _SLOWEST_S = 0.3, 5.0


def credit(depth: int, capacity: int, commit_s: float) -> int:
    """Return the credit, 1 to `MOST`.

    Args:
        depth: arrivals that wait.
        capacity: how many may wait, above 0.
        commit_s: what a batch takes to be stored, a moving average in seconds.
    """
    room = min(1.0, max(0.0, 1.0 - depth / capacity))
    pace = min(1.0, GOOD_S / max(commit_s, GOOD_S))
    return max(1, round(MOST * room * pace))


def smooth(average_s: float, commit_s: float) -> float:
    """Return the moving average after a batch that took `commit_s`; a clock that was set back counts as nothing."""
    return average_s + _WEIGHT * (min(max(commit_s, 0.0), _SLOWEST_S) - average_s)
