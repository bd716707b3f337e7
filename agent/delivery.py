"""Which outbox rows to send when: oldest first, again when unacknowledged too long, never more than the cloud gave credit for."""

from __future__ import annotations

from collections.abc import Sequence

from agent.ports.outbox import OutboxQueue, OutboxRow

_FIRST_CREDIT = 20
_MOST_OUTSTANDING = 500


class Delivery:
    """What one connection sent and is not yet acknowledged for. A row leaves the outbox only by `acknowledged` (P1)."""

    def __init__(self, outbox: OutboxQueue, *, resend_after_s: float) -> None:
        self._outbox = outbox
        self._resend_after_s = resend_after_s
        self._last_id = 0
        self._credit = _FIRST_CREDIT
        self._outstanding: dict[tuple[str, int], float] = {}

    @property
    def outstanding(self) -> int:
        """Rows sent and not acknowledged yet."""
        return len(self._outstanding)

    def reconnected(self) -> None:
        """Start over: what the last connection sent may not have arrived, and the cloud drops what it has already."""
        self._last_id = 0
        self._outstanding.clear()

    def next_rows(self, room: int, now_s: float) -> list[OutboxRow]:
        """Return at most `room` rows to publish now, each marked as sent on the disk first.

        Args:
            room: how many messages the link takes now.
            now_s: monotonic seconds.
        """
        if self._outstanding:
            oldest_s = next(iter(self._outstanding.values()))  # they are sent, and so held, in order of time
            if now_s - oldest_s >= self._resend_after_s:
                # PUBACK is not delivery, and neither is silence: the oldest unacknowledged row and what follows go again.
                self.reconnected()
        # Without credit, one row at a time still asks whether there is some.
        allowed = max(1, min(self._credit, _MOST_OUTSTANDING)) - len(self._outstanding)
        limit = min(room, allowed)
        if limit <= 0:
            return []
        rows = self._outbox.take(limit, self._last_id)
        for row in rows:
            self._outstanding[row.boot, row.seq] = now_s
            self._last_id = row.id
        return rows

    def acknowledged(self, boot: str, ranges: Sequence[tuple[int, int]], credit: int, now: float) -> int:
        """Delete what the cloud says it committed; return how many rows that was."""
        self._credit = credit
        deleted = self._outbox.acknowledge(boot, ranges, now)
        for key in [k for k in self._outstanding if k[0] == boot and any(a <= k[1] <= b for a, b in ranges)]:
            del self._outstanding[key]
        return deleted
