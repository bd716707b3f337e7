"""What stations are told of their summaries: one ack a (station, boot), however many batches it stands for.

An ack names contents, not only sequences: two devices that count under one boot hear the same acks. A sequence may be done with
one content and in conflict with another, and even done with two (the second a duplicate so old that nobody knows its content any
more). One ack has room for one content a sequence on each side, so what is beyond goes in further acks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from cloud.ports.batch import Named
from contract.messages import Ack

# Sequence number -> CRC-32s of the payloads, in the order they came, each once.
_Contents = dict[int, list[int]]


@dataclass(slots=True)
class _Told:
    done: _Contents = field(default_factory=dict)
    conflicts: _Contents = field(default_factory=dict)
    renew: bool = False


class AckDesk:
    """Acks that wait to be sent, one a (station, boot) unless a sequence has several contents."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str], _Told] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(
        self,
        done: Iterable[Named],
        conflicts: Iterable[Named] = (),
        renew: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Note what a batch settled. A content in `conflicts`, now or before, is not done, whatever `done` says."""
        for each in conflicts:
            told = self._told_of(each.station, each.boot)
            _add(told.conflicts, each)
            _discard(told.done, each)
        for each in done:
            told = self._told_of(each.station, each.boot)
            if each.crc not in told.conflicts.get(each.seq, ()):
                _add(told.done, each)
        for station, boot in renew:
            self._told_of(station, boot).renew = True

    def take(self, credit: int) -> list[Ack]:
        """Return the acks that wait, each with `credit`, and wait with none."""
        waiting, self._waiting = self._waiting, {}
        return [ack for (station, boot), told in waiting.items() for ack in _acks(station, boot, told, credit)]

    def _told_of(self, station: str, boot: str) -> _Told:
        where = (station, boot)
        told = self._waiting.get(where)
        if told is None:
            told = self._waiting[where] = _Told()
        return told


def _acks(station: str, boot: str, told: _Told, credit: int) -> Iterator[Ack]:
    layers = max((len(crcs) for side in (told.done, told.conflicts) for crcs in side.values()), default=1)
    for layer in range(layers):
        done, conflicts = _layer(told.done, layer), _layer(told.conflicts, layer)
        yield Ack(
            station,
            boot,
            _ranges([seq for seq, _ in done]),
            credit,
            conflicts=_ranges([seq for seq, _ in conflicts]),
            renew_boot=told.renew and layer == 0,
            contents=tuple(crc for _, crc in (*done, *conflicts)),
        )


def _layer(contents: _Contents, layer: int) -> list[tuple[int, int]]:
    return [(seq, crcs[layer]) for seq, crcs in sorted(contents.items()) if len(crcs) > layer]


def _add(contents: _Contents, what: Named) -> None:
    crcs = contents.setdefault(what.seq, [])
    if what.crc not in crcs:
        crcs.append(what.crc)


def _discard(contents: _Contents, what: Named) -> None:
    crcs = contents.get(what.seq, [])
    if what.crc in crcs:
        crcs.remove(what.crc)
        if not crcs:
            del contents[what.seq]


def _ranges(seqs: Sequence[int]) -> tuple[tuple[int, int], ...]:
    ranges: list[tuple[int, int]] = []
    for seq in seqs:
        if ranges and seq == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], seq)
        else:
            ranges.append((seq, seq))
    return tuple(ranges)
