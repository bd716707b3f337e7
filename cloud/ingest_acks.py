"""What stations are told of their summaries: one ack a (station, boot), however many batches it stands for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from contract.codec import SummaryKey
from contract.messages import Ack


@dataclass(slots=True)
class _Told:
    done: set[int] = field(default_factory=set)
    conflicts: set[int] = field(default_factory=set)
    renew: bool = False


class AckDesk:
    """Acks that wait to be sent, at most one a (station, boot)."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str], _Told] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(
        self,
        done: Iterable[SummaryKey],
        conflicts: Iterable[SummaryKey] = (),
        renew: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Note what a batch settled. A key in `conflicts` is not done, whatever `done` says."""
        told_of = self._told_of
        for key in done:
            told_of(key.station, key.boot).done.add(key.seq)
        for key in conflicts:
            told = told_of(key.station, key.boot)
            told.conflicts.add(key.seq)
            told.done.discard(key.seq)
        for station, boot in renew:
            told_of(station, boot).renew = True

    def take(self, credit: int) -> list[Ack]:
        """Return the acks that wait, each with `credit`, and wait with none."""
        waiting, self._waiting = self._waiting, {}
        return [
            Ack(
                station,
                boot,
                _ranges(sorted(told.done)),
                credit,
                conflicts=_ranges(sorted(told.conflicts)),
                renew_boot=told.renew,
            )
            for (station, boot), told in waiting.items()
        ]

    def _told_of(self, station: str, boot: str) -> _Told:
        where = (station, boot)
        told = self._waiting.get(where)
        if told is None:
            told = self._waiting[where] = _Told()
        return told


def _ranges(seqs: Sequence[int]) -> tuple[tuple[int, int], ...]:
    ranges: list[tuple[int, int]] = []
    for seq in seqs:
        if ranges and seq == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], seq)
        else:
            ranges.append((seq, seq))
    return tuple(ranges)
