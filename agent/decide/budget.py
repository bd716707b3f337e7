"""A token bucket: how often the cloud may be asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

SHORTEST_WAIT_S = 1e-9
"""What is waited at the least when it must be waited: a smaller quotient may underflow to 0, which says "now"."""


@dataclass(frozen=True, slots=True)
class Budget:
    """`tokens` left as of `at_s` (monotonic seconds); refilled at `per_s` up to `capacity`."""

    capacity: float
    per_s: float
    tokens: float
    at_s: float

    @classmethod
    def full(cls, capacity: float, per_s: float, now_s: float) -> Budget:
        """Return a full bucket."""
        return cls(capacity, per_s, capacity, now_s)

    def wait_s(self, now_s: float, cost: float = 1.0) -> float:
        """Return how long until `cost` could be paid, 0 for now, infinity for never."""
        missing = cost - min(self.capacity, self.tokens + max(0.0, now_s - self.at_s) * self.per_s)
        if missing <= 0:
            return 0.0
        if self.per_s <= 0 or cost > self.capacity:
            return inf
        return max(SHORTEST_WAIT_S, missing / self.per_s)

    def spend(self, now_s: float, cost: float = 1.0) -> tuple[bool, Budget]:
        """Return whether `cost` could be paid at `now_s`, and the bucket afterwards (only refilled when it could not).

        A clock that steps back refills nothing.
        """
        elapsed = max(0.0, now_s - self.at_s)
        tokens = min(self.capacity, self.tokens + elapsed * self.per_s)
        paid = tokens >= cost
        return paid, replace(self, tokens=tokens - cost if paid else tokens, at_s=max(now_s, self.at_s))
