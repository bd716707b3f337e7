"""A station's windows in their own order, whatever order they arrive in.

Windows are applied by boot, then by sequence within it; boots are ordered by the start of their latest window, except that
the boot already settled comes first, and one that has no clock last: a station without a clock may be misplaced but is never
lost. The last `reorder_windows` are kept and the state before them is the checkpoint: a window that arrives late is put in its
place and the rest are applied again. One that is older than the checkpoint is counted and left out; a repeated one changes
nothing.
"""

from __future__ import annotations

import msgspec

from cloud.drift.observation import Observation
from cloud.drift.policy import DriftPolicy
from cloud.drift.watch import step
from cloud.drift.watch_state import WatchState

_CLOSED_BOOTS = 16


class Settled(msgspec.Struct, frozen=True):
    """The last window inside the checkpoint, and the boots that ended before it."""

    boot: str = ""
    seq: int = 0
    closed: tuple[str, ...] = ()

    def covers(self, seen: Observation) -> bool:
        """Return whether `seen` comes before the checkpoint."""
        return seen.boot in self.closed or (seen.boot == self.boot and seen.seq <= self.seq)

    def after(self, seen: Observation) -> Settled:
        """Return this with `seen` settled too."""
        closed = self.closed
        if self.boot not in ("", seen.boot):
            closed = (*closed, self.boot)[-_CLOSED_BOOTS:]
        return Settled(seen.boot, seen.seq, closed)


class TimelineState(msgspec.Struct, frozen=True):
    """What is stored of a timeline. `tail` is in order."""

    checkpoint: WatchState = WatchState()
    settled: Settled = Settled()
    tail: tuple[Observation, ...] = ()
    late: int = 0


class Timeline:
    """One station's watch over its windows."""

    def __init__(self, policy: DriftPolicy, stored: TimelineState | None = None) -> None:
        self._policy = policy
        self._stored = stored or TimelineState()
        self._behind = 0
        self.state = self._replay()

    @property
    def stored(self) -> TimelineState:
        """What to store."""
        return self._stored

    def add(self, seen: Observation) -> bool:
        """Put a window in its place; return False when it was there already or comes too late."""
        stored = self._stored
        if any((held.boot, held.seq) == (seen.boot, seen.seq) for held in stored.tail):
            return False
        if stored.settled.covers(seen):
            self._stored = msgspec.structs.replace(stored, late=stored.late + 1)
            return False
        tail = self._ordered((*stored.tail, seen))
        in_order = tail[:-1] == stored.tail
        checkpoint, settled = stored.checkpoint, stored.settled
        if len(tail) > max(self._policy.reorder_windows, 1):
            # With nothing else held, the window that leaves has been stepped over already.
            passed = self.state if in_order and len(tail) == 2 else step(checkpoint, tail[0], self._policy)
            checkpoint, settled, tail = passed, settled.after(tail[0]), tail[1:]
        self._stored = TimelineState(checkpoint, settled, tail, stored.late)
        self.state = step(self.state, seen, self._policy) if in_order else self._replay()
        self._leave_dead_boots(seen)
        return True

    def _leave_dead_boots(self, seen: Observation) -> None:
        """Give up windows that stand behind a boot which goes on without end.

        A station that comes up with an earlier clock sorts before what it did before: its old windows would stay at the end for
        good, and be replayed after each new one.
        """
        stored = self._stored
        others = {held.boot for held in stored.tail if held.boot != stored.settled.boot}
        self._behind = self._behind + 1 if others and seen.boot == stored.settled.boot else 0
        if self._behind < max(self._policy.reorder_windows, 1):
            return
        tail = tuple(held for held in stored.tail if held.boot == stored.settled.boot)
        settled = msgspec.structs.replace(
            stored.settled, closed=(*stored.settled.closed, *sorted(others))[-_CLOSED_BOOTS:]
        )
        self._stored = TimelineState(stored.checkpoint, settled, tail, stored.late + len(stored.tail) - len(tail))
        self._behind = 0
        self.state = self._replay()

    def restart(self) -> None:
        """Forget the baseline and everything seen so far: enrol from the next window on."""
        stored = self._stored
        settled = stored.settled
        for seen in stored.tail:
            settled = settled.after(seen)
        self._stored = TimelineState(WatchState(), settled, (), stored.late)
        self.state = self._stored.checkpoint

    def _ordered(self, windows: tuple[Observation, ...]) -> tuple[Observation, ...]:
        latest: dict[str, tuple[int, float]] = {}
        for seen in windows:
            latest[seen.boot] = max(latest.get(seen.boot, (-1, 0.0)), (seen.seq, seen.started_at))
        dated = {seen.boot for seen in windows if seen.clock_synced}
        settled = self._stored.settled
        # The settled boot goes first: its sequence is what the checkpoint has counted up to.
        return tuple(
            sorted(
                windows,
                key=lambda seen: (
                    seen.boot != settled.boot,
                    seen.boot not in dated,
                    latest[seen.boot][1],
                    seen.boot,
                    seen.seq,
                ),
            )
        )

    def _replay(self) -> WatchState:
        state = self._stored.checkpoint
        for seen in self._stored.tail:
            state = step(state, seen, self._policy)
        return state
