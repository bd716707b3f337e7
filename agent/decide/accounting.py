"""Counting every captured frame by its fate (DESIGN 3: captured = decided + dropped + undecided)."""

from __future__ import annotations

from collections.abc import Iterable

from agent.decide.causes import Cause
from agent.decide.thresholds import Decision
from contract.messages import Accounting, Verdict


class Tally:
    """The counts of one window while it is open. One thread's; reused so that a frame allocates nothing."""

    __slots__ = ("_asked", "_captured", "_cloud", "_dropped", "_passed", "_rejected", "_review", "_undecided")

    def __init__(self) -> None:
        self._captured = self._passed = self._rejected = self._undecided = self._asked = self._cloud = 0
        self._review: dict[str, int] = {}
        self._dropped: dict[str, int] = {}

    @property
    def captured(self) -> int:
        """Frames captured so far."""
        return self._captured

    def count(self, decision: Decision, *, asked: bool = False, answered: bool = False) -> None:
        """Count one captured and decided frame."""
        self._captured += 1
        self._asked += asked
        self._cloud += answered
        if decision.verdict is Verdict.PASS:
            self._passed += 1
        elif decision.verdict is Verdict.REJECT:
            self._rejected += 1
        else:
            cause = (decision.why or Cause.INTERNAL).value
            self._review[cause] = self._review.get(cause, 0) + 1

    def count_dropped(self, cause: str, count: int = 1) -> None:
        """Count captured frames that were dropped before they were decided."""
        self._captured += count
        self._dropped[cause] = self._dropped.get(cause, 0) + count

    def count_unrecorded(self, *, asked: bool = False, answered: bool = False) -> None:
        """Count one captured frame whose verdict could not be recorded."""
        self._captured += 1
        self._undecided += 1
        self._asked += asked
        self._cloud += answered

    def close(self) -> Accounting:
        """Return the counts."""
        return Accounting(
            captured=self._captured,
            passed=self._passed,
            rejected=self._rejected,
            review=dict(self._review),
            dropped=dict(self._dropped),
            undecided=self._undecided,
            asked_cloud=self._asked,
            cloud_answers=self._cloud,
        )


def add_up(parts: Iterable[Accounting]) -> Accounting:
    """Return the sum; it closes when every part does."""
    captured = passed = rejected = undecided = asked = answers = 0
    review: dict[str, int] = {}
    dropped: dict[str, int] = {}
    for part in parts:
        captured += part.captured
        passed += part.passed
        rejected += part.rejected
        undecided += part.undecided
        asked += part.asked_cloud
        answers += part.cloud_answers
        for total, counts in ((review, part.review), (dropped, part.dropped)):
            for cause, n in counts.items():
                total[cause] = total.get(cause, 0) + n
    return Accounting(captured, passed, rejected, review, dropped, undecided, asked, answers)
