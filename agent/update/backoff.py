"""How long to wait before trying again."""

from __future__ import annotations

BASE_S = 1.0
CAP_S = 300.0


def full_jitter_s(attempt: int, roll: float, *, base_s: float = BASE_S, cap_s: float = CAP_S) -> float:
    """Return the wait before attempt `attempt` (1 after the first failure), seconds.

    `roll` in 0..1 is drawn uniformly by the caller: a fleet that lost the same server comes back spread out.
    Source: Brooker 2015, "Exponential Backoff And Jitter", full jitter; a tenth of the ceiling is its floor, so no roll spins.
    """
    ceiling = min(cap_s, base_s * 2.0 ** min(attempt - 1, 32))
    return ceiling * (0.1 + 0.9 * roll)
