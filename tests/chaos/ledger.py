"""What stations produced against what the cloud holds: every failure test ends with it.

Produced is the station's own record, made as each summary was handed to its outbox; committed is read from the cloud's table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlalchemy import select

from cloud.store.database import Database
from cloud.store.summary_tables import summaries
from contract.codec import decode_summary

Name = tuple[str, str, int]
"""(station, boot, sequence)."""


@dataclass(slots=True)
class Produced:
    """What stations made, written down as they made it."""

    frames: dict[Name, int] = field(default_factory=dict)

    def add(self, station: str, boot: str, seq: int, captured: int) -> None:
        """Write down one summary; a name given twice would already be the station's fault."""
        name = (station, boot, seq)
        assert name not in self.frames, f"{name} was produced twice"
        self.frames[name] = captured

    def __len__(self) -> int:
        return len(self.frames)


@dataclass(frozen=True, slots=True)
class Committed:
    """One row of the cloud: itself and the sequences it stands for."""

    name: Name
    captured: int
    covers: tuple[tuple[int, int], ...] = ()
    is_gap: bool = False


@dataclass(frozen=True, slots=True)
class Balance:
    """What became of everything produced. `covered`: came within another; of these, `gaps` without their sketches."""

    produced: int
    whole: int
    covered: int
    gaps: int
    lost: tuple[Name, ...]
    double: tuple[Name, ...]
    unknown: tuple[Name, ...]
    frames_produced: int
    frames_committed: int

    def assert_exact(self) -> None:
        """Fail unless everything came once, and frame for frame."""
        assert not self.lost, f"{len(self.lost)} lost, the first {self.lost[:5]}"
        assert not self.double, f"{len(self.double)} double, the first {self.double[:5]}"
        assert not self.unknown, f"{len(self.unknown)} that nobody made, the first {self.unknown[:5]}"
        frames = f"{self.frames_committed} frames of {self.frames_produced}"
        assert self.frames_committed == self.frames_produced, frames
        assert self.whole + self.covered == self.produced


def settle(produced: Produced, committed: Iterable[Committed]) -> Balance:
    """Return the balance of `produced` and what the cloud committed."""
    times: Counter[Name] = Counter()
    covered: set[Name] = set()
    gaps: set[Name] = set()
    frames = 0
    for row in committed:
        station, boot, seq = row.name
        frames += row.captured
        times[row.name] += 1
        stands_for = {(station, boot, each) for first, last in row.covers for each in range(first, last + 1)}
        stands_for.discard((station, boot, seq))
        times.update(stands_for)
        covered |= stands_for
        if row.is_gap:
            gaps |= stands_for | {row.name}
    return Balance(
        produced=len(produced),
        whole=len(times.keys() - covered),
        covered=len(covered),
        gaps=len(gaps),
        lost=tuple(sorted(produced.frames.keys() - times.keys())),
        double=tuple(sorted(name for name, count in times.items() if count > 1)),
        unknown=tuple(sorted(times.keys() - produced.frames.keys())),
        frames_produced=sum(produced.frames.values()),
        frames_committed=frames,
    )


def read_committed(database: Database) -> list[Committed]:
    """Return every row of the cloud's summaries, as its own columns and the bytes that were sent say."""
    c = summaries.c
    query = select(c.station, c.boot, c.seq, c.captured, c.payload)
    found: list[Committed] = []
    with database.read() as connection:
        for station, boot, seq, captured, payload in connection.execute(query):
            sent = decode_summary(bytes(payload))
            assert (sent.header.station, sent.header.boot, sent.header.seq) == (station, boot, seq)
            found.append(Committed((station, boot, seq), int(captured), sent.covers, sent.gap is not None))
    return found
