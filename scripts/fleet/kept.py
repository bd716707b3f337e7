"""A summary that a station keeps until the cloud has it: its number and its times; the payload is made of them when it is sent."""

from __future__ import annotations

from dataclasses import dataclass

_RESEND_AFTER_S, _RESEND_AFTER_MOST_S = 10.0, 120.0


@dataclass(slots=True)
class Kept:
    """Sent `times` times, first at `sent_s`, and due again at `due_s`; monotonic seconds, but for `ended_at`."""

    seq: int
    produced_s: float
    ended_at: float
    sent_s: float = 0.0
    due_s: float = 0.0
    times: int = 0

    def sent(self, now_s: float, jitter: float) -> None:
        """Note that it goes now: the wait for the next time doubles, and is up to half as long again by `jitter` in 0..1."""
        if self.times == 0:
            self.sent_s = now_s
        wait_s = min(_RESEND_AFTER_S * 2.0**self.times, _RESEND_AFTER_MOST_S)
        self.due_s = now_s + wait_s * (1.0 + jitter / 2.0)
        self.times += 1
