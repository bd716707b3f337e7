"""A token bucket: how often the cloud may be asked."""

from __future__ import annotations

from dataclasses import dataclass, replace


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

    def spend(self, now_s: float, cost: float = 1.0) -> tuple[bool, Budget]:
        """Return whether `cost` could be paid at `now_s`, and the bucket afterwards (only refilled when it could not).

        A clock that steps back refills nothing.
        """
        elapsed = max(0.0, now_s - self.at_s)
        tokens = min(self.capacity, self.tokens + elapsed * self.per_s)
        paid = tokens >= cost
        return paid, replace(self, tokens=tokens - cost if paid else tokens, at_s=max(now_s, self.at_s))
