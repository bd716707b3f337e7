"""A circuit breaker: after a few failures in a row, leave the other side alone for a while."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Circuit:
    """Closed until `trip_after` failures in a row; then open for `rest_s`, after which one trial is let through."""

    trip_after: int
    rest_s: float
    failures: int = 0
    opened_s: float | None = None

    def allows(self, now_s: float) -> bool:
        """Return whether a call may be made."""
        return self.opened_s is None or now_s - self.opened_s >= self.rest_s

    def succeeded(self) -> Circuit:
        """Return the circuit after a call that worked."""
        return replace(self, failures=0, opened_s=None)

    def failed(self, now_s: float) -> Circuit:
        """Return the circuit after a call that did not; a failed trial opens it anew."""
        failures = self.failures + 1
        return replace(self, failures=failures, opened_s=now_s if failures >= self.trip_after else None)
