"""What the fleet promises and what is left of each promise, as pages, metrics and rollouts see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

_IN_WORDS = {
    "availability": "availability",
    "in_time": "decisions in time",
    "freshness": "fresh data",
    "recovery": "recovery from drift",
}


@dataclass(frozen=True, slots=True)
class Budget:
    """A promise over its period. `share` of events were good, None where there were none; `spent` is the share of the error
    budget that is used up, 1 or more: all of it. `burn` says how many times too fast it was spent in the last hour and in the
    last six. `words` say it for a person. `holds`: releases wait for it.
    """

    promise: str
    target: float
    share: float | None
    events: int
    spent: float
    burn: tuple[float, float]
    words: str
    holds: bool = False

    @property
    def title(self) -> str:
        """What people call the promise; `promise` is its key in cloud.toml."""
        return _IN_WORDS.get(self.promise, self.promise.replace("_", " "))


class Promises(Protocol):
    """The promises of cloud.toml, counted."""

    def budgets(self) -> list[Budget]:
        """Return what is left of each; cheap enough for a page that asks every second."""

    def why_held(self) -> str:
        """Return why releases wait just now, "" when no budget is spent."""
