"""What a batch comes to, worked out in memory before anything of it is stored: which sequences it accounts for, what it adds to
the totals, which stations were restored."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from cloud.ports.batch import Named
from cloud.slo.tally import Promise, Tally, frames, hour_of, late_frames
from cloud.store.sequences import Sequences
from cloud.store.stations import Heard
from cloud.store.summary_rows import filed_at
from contract.messages import StationState, Summary

_SUMMED = ("captured", "decided", "passed", "rejected", "dropped", "undecided")
# Beside them: rows stored, sequences missing, conflicts refused, gaps told of, bytes of payloads.
COUNTED = ("summaries", *_SUMMED, "missing", "conflicts", "gaps", "bytes")

BootKey = tuple[str, str]


@dataclass(slots=True)
class Boot:
    """A boot's row while a batch is worked in."""

    sequences: Sequences
    highest_at: float = 0.0
    birth: tuple[float, int] = (0.0, 0)
    changed: bool = False

    @property
    def restored(self) -> bool:
        """Whether its station was restored since, and is to begin a fresh boot."""
        return self.birth[1] < 0

    def gives_again(self, seq: int) -> bool:
        """Return whether the restored station gave `seq` to a window of now: no duplicate, though its digest is forgotten."""
        return self.restored and seq >= -self.birth[1]


@dataclass(slots=True)
class Changes:
    """What a batch comes to."""

    new: list[tuple[Summary, bytes, bytes]] = field(default_factory=list)
    conflicts: list[Named] = field(default_factory=list)
    renew: list[BootKey] = field(default_factory=list)
    totals: dict[str, dict[str, int]] = field(default_factory=dict)
    hours: dict[int, list[int]] = field(default_factory=dict)
    """Frames captured, decided and late, by hour: plain numbers, for each summary adds to them."""

    def count(self, station: str, **more: int) -> None:
        """Add to a station's totals."""
        of = self._of(station)
        for name, by in more.items():
            of[name] += by

    def count_new(self, summary: Summary, size_bytes: int, now: float) -> None:
        """Add a stored summary to its station's totals, and to what is promised of the hour its window was in."""
        header, accounting = summary.header, summary.accounting
        decided = accounting.decided
        hour = self.hours.setdefault(hour_of(filed_at(header.started_at, now)), [0, 0, 0])
        hour[0] += accounting.captured
        hour[1] += decided
        hour[2] += late_frames(accounting)
        of = self._of(header.station)
        of["bytes"] += size_bytes
        of["summaries"] += 1
        of["captured"] += accounting.captured
        of["decided"] += decided
        of["passed"] += accounting.passed
        of["rejected"] += accounting.rejected
        of["dropped"] += sum(accounting.dropped.values())
        of["undecided"] += accounting.undecided

    def tallies(self) -> dict[tuple[int, Promise], Tally]:
        """Return what the new frames come to."""
        return {(at, promise): tally for at, told in self.hours.items() for promise, tally in frames(*told).items()}

    def _of(self, station: str) -> dict[str, int]:
        of = self.totals.get(station)
        if of is None:
            of = self.totals[station] = dict.fromkeys(COUNTED, 0)
        return of


def boot_of(summary: Summary, known: dict[BootKey, Boot]) -> Boot:
    return known[summary.header.station, summary.header.boot]


def take(boot: Boot, summary: Summary, changes: Changes) -> None:
    """Account for the sequences that a new summary stands for."""
    header, sequences = summary.header, boot.sequences
    boot.changed = True
    if header.seq == sequences.highest + 1 and not summary.covers:  # nearly all
        sequences.highest, boot.highest_at = header.seq, header.ended_at
        return
    before, highest = sequences.holes, sequences.highest
    for first, last in (*summary.covers, (header.seq, header.seq)):
        # What was merged into it came before it: a range on a damaged disk must not swallow windows to come.
        sequences.settle(first, min(last, header.seq))
    if sequences.highest > highest:
        boot.highest_at = header.ended_at
    changes.count(header.station, missing=sequences.holes - before)


def note_births(born: Iterable[StationState], known: dict[BootKey, Boot], changes: Changes) -> None:
    """Find the stations that were restored: born to give a sequence that was given before.

    A birth that comes late, after summaries that followed it, or once more, says nothing of the kind: the window with the highest
    sequence ended after it then. One that was stored, but whose answer was lost with the worker or the database, says it again.
    """
    for state in born:
        boot = known[state.station, state.boot]
        again, asked = boot.birth == (state.at, state.next_seq), boot.birth == (state.at, -state.next_seq)
        restored = state.next_seq <= boot.sequences.highest and boot.highest_at <= state.at
        if asked or (restored and not again):
            changes.renew.append((state.station, state.boot))
        if state.at >= boot.birth[0] and not again and not asked:
            # Below 0: it was asked for a fresh boot.
            boot.birth = (state.at, -state.next_seq if restored else state.next_seq)
            boot.changed = True


def newest_heard(changes: Changes, known: dict[BootKey, Boot], now: float) -> dict[str, Heard]:
    """Return when each station's newest summary came, and how it fared by that with the boot's highest sequence: a backlog tells
    of how it was."""
    heard: dict[str, Heard] = {}
    for summary, _, _ in changes.new:
        station = summary.header.station
        if summary.health is not None and summary.header.seq >= boot_of(summary, known).sequences.highest:
            heard[station] = Heard(now, msgspec.json.encode(summary.health).decode())
        elif station not in heard:
            heard[station] = Heard(now)
    return heard
