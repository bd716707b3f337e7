"""What the registers show of one request: that it is being judged, its verdict, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass

from agent.line_io import modbus_map as m
from agent.line_io.modbus_map import Reason, Status
from agent.ports.line import Answer

_MAX = 0xFFFF


@dataclass(slots=True, eq=False)
class Result:
    """One request's. `since_s` is when it got its answer; `taken`: somebody read or acknowledged it."""

    ask: int
    part: str
    status: Status = Status.BUSY
    reason: Reason = Reason.NONE
    answer: Answer | None = None
    since_s: float = 0.0
    taken: bool = False

    def registers(self) -> list[int]:
        """Return the registers ASK to LABEL_CODE."""
        answer = self.answer
        verdict = m.REJECT if self.status in (Status.LOST, Status.REFUSED) else 0
        if answer is None:
            return [self.ask, self.status, verdict, 0, self.reason, 0, 0, 0]
        if self.status is Status.VERDICT:
            verdict = m.VERDICTS.get(answer.verdict, m.REJECT)
        return [
            self.ask,
            self.status,
            verdict,
            m.CAUSES.get(answer.cause, m.OTHER_CAUSE),
            self.reason,
            _bounded(answer.confidence * 10_000, 10_000),
            _bounded(answer.latency_ms, _MAX),
            m.label_code(answer.label),
        ]


NOTHING = Result(0, "", Status.NONE)
"""What stands where there is no result."""


def _bounded(number: float, most: int) -> int:
    return round(min(max(number, 0.0), most)) if number == number else 0
