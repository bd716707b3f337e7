"""Frames that wait for the cloud's opinion while the line goes on (DESIGN 3).

A question is asked when the local answer is unsure, and there are time and budget. The frame is then set aside; its verdict is
given when the answer comes, or by the local answer shortly before the deadline. Nothing here waits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent.decide.budget import Budget
from agent.decide.causes import Cause
from agent.decide.escalation import may_ask, settle
from agent.decide.thresholds import review
from agent.judging import Judged
from agent.ports.clock import Clock
from agent.ports.fallback import Fallback

# The local verdict is given so long before the deadline, that it still arrives in time.
_MARGIN_S = 0.005


@dataclass(slots=True)
class _Parked:
    judged: Judged
    ticket: int
    until_s: float


class Asking:
    """The frame loop's thread calls everything."""

    def __init__(
        self,
        fallback: Fallback | None,
        budget: Budget,
        clock: Clock,
        *,
        deadline_ms: float,
        least_s: float,
        allowed: Callable[[], bool] = lambda: True,
    ) -> None:
        """`least_s`: with less of the deadline left the cloud is not asked; nor while it is not `allowed`."""
        self._allowed = allowed
        self._fallback = fallback
        self._budget = budget
        self._clock = clock
        self._deadline_s = deadline_ms / 1e3
        self._least_s = least_s
        self._parked: list[_Parked] = []

    def ask(self, judged: Judged) -> bool:
        """Return whether the cloud was asked: the frame is set aside until `settled` gives it back."""
        if self._fallback is None or not judged.local.escalate or not self._allowed():
            return False
        until_s = judged.frame.captured_monotonic + self._deadline_s - _MARGIN_S
        now_s = self._clock.monotonic()
        judged.asked, self._budget = may_ask(
            judged.local, self._budget, now_s=now_s, time_left_s=until_s - now_s, least_s=self._least_s
        )
        if not judged.asked:
            return False
        ticket = self._fallback.submit(judged.frame, until_s - now_s)
        if ticket is None:
            return False
        self._parked.append(_Parked(judged, ticket, until_s))
        return True

    def settled(self) -> list[Judged]:
        """Return the frames whose verdict is due: answered, or out of time."""
        if not self._parked or self._fallback is None:
            return []
        answers = dict(self._fallback.answers())
        now_s = self._clock.monotonic()
        due: list[Judged] = []
        for parked in self._parked[:]:
            judged = parked.judged
            if parked.ticket in answers:
                opinion, model = answers[parked.ticket], judged.by
                judged.answered = opinion is not None
                if model is not None:
                    judged.decision = settle(judged.local, opinion, model.thresholds)
            elif now_s >= parked.until_s:
                self._fallback.give_up(parked.ticket)
            else:
                continue
            if now_s > judged.frame.captured_monotonic + self._deadline_s:
                judged.decision = review(Cause.LATE)
            self._parked.remove(parked)
            due.append(judged)
        return due

    def next_due_s(self) -> float | None:
        """Return the monotonic second by which `settled` must be called again; None when nothing is set aside."""
        return min((parked.until_s for parked in self._parked), default=None)

    def abandon(self) -> list[Judged]:
        """Return everything set aside, with its local answer: the line ends."""
        due = [parked.judged for parked in self._parked]
        self._parked.clear()
        return due
