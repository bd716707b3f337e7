"""Which outbox rows to send when: the newest first, then the backlog, again when unacknowledged too long (DESIGN 5).

What one connection has looked at is kept as spans of row ids: everything above `_top` is new, `_spans` are older rows that were
passed over for newer ones. Rows that were sent wait in `_sent` until the cloud acknowledges them or they are due again.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

from agent.decide import covers, drain
from agent.decide.budget import Budget
from agent.ports.link import Room
from agent.ports.outbox import OutboxQueue, OutboxRow, Renamed
from contract.messages import Ack

_LIVE_ROWS = 4
# Rows that the cloud never acknowledges, though it does others, are held in memory: so many, and no more old ones go.
_MOST_HELD = 5_000
# So often one goes alone before the next may.
_PATIENT_TIMES = 3


@dataclass(slots=True)
class _Sent:
    """A row that was sent. `passed_over`: the cloud acknowledged others since, so this one holds up nobody."""

    live: bool
    times: int
    due_s: float
    acks_before: int
    passed_over: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """What an acknowledgement changed: rows deleted, rows that got another name, and whether a fresh boot began."""

    deleted: int = 0
    renamed: int = 0
    new_boot: bool = False


class Delivery:
    """What one connection sent and is not yet acknowledged for. A row leaves the outbox only by `acknowledged` (P1)."""

    def __init__(self, outbox: OutboxQueue, *, resend_after_s: float, roll: Callable[[], float] = lambda: 0.0) -> None:
        self._outbox = outbox
        self._resend_after_s = resend_after_s
        self._roll = roll
        self._credit = drain.FIRST_CREDIT
        self._bucket: Budget | None = None
        self._acks = 0
        self._asked_s: float | None = None
        self._clear()

    @property
    def outstanding(self) -> int:
        """Rows sent and not acknowledged yet."""
        return len(self._sent)

    def reconnected(self) -> None:
        """Start over: what the last connection sent may not have arrived, and the cloud drops what it has already."""
        self._clear()
        self._asked_s = None

    def waiting(self) -> int:
        """Return the number of rows in the outbox."""
        return self._outbox.depth()

    def troubles(self) -> list[str]:
        """Return what is to be said of rows that could not be sent as they were."""
        return self._outbox.troubles()

    def next_rows(self, room: Room, now_s: float) -> list[OutboxRow]:
        """Return the rows to publish now, at most `room.free`, each marked as sent on the disk first.

        Args:
            room: what the link takes now.
            now_s: monotonic seconds.
        """
        if room.free <= 0:
            return []
        silent = self._asked_s is not None and now_s - self._asked_s >= self._resend_after_s
        live = self._live(room.free)
        again, old = self._old(room, len(live), silent, now_s)
        chosen = [*live, *again, *old]
        if not chosen:
            return []
        rows = self._outbox.take_rows(chosen, room.largest_bytes)
        for lost in set(chosen) - {row.id for row in rows}:
            self._sent.pop(lost, None)
        newest = set(live)
        for row in rows:
            self._note(row, row.id in newest, now_s)
        if rows and self._asked_s is None:
            self._asked_s = now_s
        return rows

    def acknowledged(self, ack: Ack, now: float) -> Answered:
        """Delete what the cloud says it committed, and give another name to what it has under ours from somebody else."""
        self._credit = ack.credit
        self._acks += 1
        self._asked_s = None
        for_ranges = covers.count(ack.ranges)
        if ack.contents and not _is_told_apart(ack):
            return Answered()  # which content is whose cannot be said: nothing is deleted on a guess
        deleted = self._outbox.acknowledge(ack.boot, ack.ranges, now, ack.contents[:for_ranges]) if ack.ranges else []
        for row_id in deleted:
            self._sent.pop(row_id, None)
        boot_before = self._outbox.boot if ack.conflicts or ack.renew_boot else ""
        renamed = Renamed()
        if ack.conflicts:
            renamed = self._outbox.rename(ack.boot, ack.conflicts, ack.contents[for_ranges:])
            self._forget_names(renamed)
        if ack.renew_boot:
            self._outbox.renew(ack.boot)
        return Answered(len(deleted), len(renamed.ids), bool(boot_before) and self._outbox.boot != boot_before)

    def _clear(self) -> None:
        self._top = 0
        self._spans: list[tuple[int, int]] = []
        self._sent: dict[int, _Sent] = {}
        self._due: list[tuple[float, int]] = []

    def _live(self, free: int) -> list[int]:
        holding = [sent for sent in self._sent.values() if not sent.passed_over]
        # One at least, whatever the backlog holds of the credit: new windows never wait behind it, nor behind one of their own
        # that nobody answers, for then no other could ever be acknowledged that tells it apart from a cloud that is away.
        fresh = sum(sent.live and sent.times <= _PATIENT_TIMES for sent in holding)
        allowed = max(drain.allowance(self._credit) - len(holding), 1 - fresh)
        most = min(free, _LIVE_ROWS, allowed)
        if most <= 0:
            return []
        found = self._outbox.ids(most + 1, above=self._top, newest=True)
        if not found:
            return []
        chosen = found[-most:]
        if len(found) > most:  # newer ones go before them
            self._spans.append((self._top, chosen[0]))
        self._top = chosen[-1]
        return chosen

    def _old(self, room: Room, live: int, silent: bool, now_s: float) -> tuple[list[int], list[int]]:
        """Return (rows to send again, rows of the backlog), oldest first."""
        self._bucket = drain.paced(self._bucket, self._credit, silent, now_s)
        most = min(drain.backlog_room(room.free, room.most), room.free - live, int(self._bucket.tokens + 1e-9))
        again = self._again(most, now_s) if most > 0 else []
        holding = [sent for sent in self._sent.values() if not sent.passed_over]
        allowed = min(
            drain.backlog_allowance(self._credit) - sum(not sent.live for sent in holding),
            drain.allowance(self._credit) - len(holding) - live,
        )
        most = min(most - len(again), allowed, _MOST_HELD - len(self._sent))
        old = self._backlog(most) if most > 0 and not silent else []
        _, self._bucket = self._bucket.spend(now_s, min(self._bucket.tokens, float(len(again) + len(old))))
        return again, old

    def _again(self, most: int, now_s: float) -> list[int]:
        # PUBACK is not delivery, and neither is silence: each row by itself, later and later.
        found: list[int] = []
        while self._due and self._due[0][0] <= now_s and len(found) < most:
            due_s, row_id = heapq.heappop(self._due)
            sent = self._sent.get(row_id)
            if sent is None or sent.due_s != due_s or row_id in found:
                continue
            sent.passed_over = self._acks > sent.acks_before
            found.append(row_id)
        return found

    def _backlog(self, most: int) -> list[int]:
        found: list[int] = []
        while self._spans and len(found) < most:
            above, below = self._spans[0]
            more = self._outbox.ids(most - len(found), above=above, below=below)
            found += more
            if len(found) < most:
                self._spans.pop(0)
            else:
                self._spans[0] = (more[-1], below)
        return found

    def _note(self, row: OutboxRow, live: bool, now_s: float) -> None:
        before = self._sent.get(row.id)
        times = before.times + 1 if before else 1
        due_s = now_s + drain.resend_wait_s(self._resend_after_s, times, self._roll())
        self._sent[row.id] = _Sent(
            before.live if before else live,
            times,
            due_s,
            self._acks,
            before.passed_over if before else False,
        )
        heapq.heappush(self._due, (due_s, row.id))

    def _forget_names(self, renamed: Renamed) -> None:
        """Send rows with new names at once, as if they never were sent."""
        for row_id in renamed.dropped:
            self._sent.pop(row_id, None)
        for row_id in renamed.ids:
            sent = self._sent.get(row_id)
            if sent is not None:
                sent.times, sent.due_s = 0, 0.0
                heapq.heappush(self._due, (0.0, row_id))


def _is_told_apart(ack: Ack) -> bool:
    """Return whether the ack has one content a sequence."""
    named = (*ack.ranges, *ack.conflicts)
    return all(first <= last for first, last in named) and covers.count(named) == len(ack.contents)
