"""How a station empties its outbox after an outage: live windows first, the backlog by what the cloud gives credit for (DESIGN 5).

The newest windows go as soon as the link has room. The backlog, and what is sent again, share a token bucket whose rate is the
cloud's `credit` in rows a second, and never more than half of the room and of the credit: so at least half of what is sent while
both wait is live. Without credit, or when the cloud has not answered, one row now and then asks whether it is there.
"""

from __future__ import annotations

from agent.decide.budget import Budget

FIRST_CREDIT = 20
"""Assumed until the cloud says."""
MOST_OUTSTANDING = 500
_PROBE_PER_S = 0.2
_BURST = 20
_LONGEST_RESEND_S = 300.0


def allowance(credit: int) -> int:
    """Return how many rows may be unacknowledged at once, at least the one that asks."""
    return max(1, min(credit, MOST_OUTSTANDING))


def backlog_allowance(credit: int) -> int:
    """Return how many of them may be old ones."""
    return (allowance(credit) + 1) // 2


def backlog_room(free: int, most: int) -> int:
    """Return how much of the `free` room of a link that takes `most` at once is for old rows."""
    return free if most <= 1 else max(0, free - most // 2)


def paced(bucket: Budget | None, credit: int, silent: bool, now_s: float) -> Budget:
    """Return the bucket as `credit` has it now; None makes a first, full one. `silent`: the cloud has not answered in time."""
    per_s = _PROBE_PER_S if silent or credit <= 0 else float(credit)
    capacity = 1.0 if silent or credit <= 0 else float(min(credit, _BURST))
    if bucket is None:
        return Budget.full(capacity, per_s, now_s)
    _, filled = bucket.spend(now_s, 0.0)
    return Budget(capacity, per_s, min(capacity, filled.tokens), filled.at_s)


def resend_wait_s(base_s: float, times_sent: int, roll: float) -> float:
    """Return after how long without an acknowledgement a row goes again: doubled each time, and jittered so that rows that were
    sent together do not come again together. `roll` is uniform in [0, 1).
    """
    return float(min(_LONGEST_RESEND_S, base_s * 2.0 ** min(times_sent - 1, 16))) * (1.0 + roll / 2.0)
