"""A batch of messages, stored whole in one transaction and exactly once (P1).

What decides whether a summary is new are two small tables: `boots` says up to where a boot's sequences are accounted for and what
is missing below, `seen` has a digest of each stored payload. A sequence that is open is stored; one whose digest is the stored
one's is a duplicate; another digest is a conflict: two devices count under one boot, or one was restored. What `seen` no longer
knows at or below the watermark is a duplicate; above it, it was covered by another summary, and is a conflict too.

Workers lock a station's `station_totals` row before they look, in order of station: each sees what the one before committed, and
none waits for another in a circle.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import Connection, select, tuple_

from cloud.ports.batch import Batch, Named, Outcome, named
from cloud.slo.tally import Promise, Tally, frames, hour_of, late_frames
from cloud.store.bulk import ask_in_one_go
from cloud.store.commands import write_answer
from cloud.store.database import Database
from cloud.store.digests import digest_of, first_digest
from cloud.store.partitions import Partitions
from cloud.store.promises import add_tallies
from cloud.store.sequences import Sequences, sequences_from
from cloud.store.stations import Heard, note_summaries, write_states
from cloud.store.summary_rows import SUMMARY_COLUMNS, dead_row, filed_at, gap_row, sample_rows, summary_values
from cloud.store.summary_tables import boots, dead_letters, gaps, seen, station_totals, summaries
from cloud.store.tables import samples, stations
from contract.gaps import gap_key_of_digest, is_gap_signed
from contract.messages import StationState, Summary

_SUMMED = ("captured", "decided", "passed", "rejected", "dropped", "undecided")
# Beside them: rows stored, sequences missing, conflicts refused, gaps told of, bytes of payloads.
_COUNTED = ("summaries", *_SUMMED, "missing", "conflicts", "gaps", "bytes")
# SQLite takes 32,766 parameters at most, older ones 999.
_KEYS_A_QUERY = 300

_BOOTS = "SELECT station, boot, highest, missing, highest_at, birth_at, birth_next FROM boots WHERE station "
_LOCK = "SELECT station FROM station_totals WHERE station = ANY(%(names)s) ORDER BY station FOR UPDATE"

BootKey = tuple[str, str]


@dataclass(slots=True)
class _Boot:
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
class _Changes:
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
            of = self.totals[station] = dict.fromkeys(_COUNTED, 0)
        return of


class Batches:
    """Stores batches. Any number of processes may, on one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._partitions = Partitions(database)
        self._shard = os.getpid()

    def commit(self, batch: Batch, now: float) -> Outcome:
        """Store a batch at `now` by the cloud's clock, and return what it changed; a `cloud.ports.batch.Commit`.

        Raises:
            TransientError: the database did not take it now. Storing it again is always right.
        """
        born = [state for state in batch.states if state.online and state.next_seq > 0]
        names = {summary.header.station for summary, _ in batch.summaries}
        names |= {state.station for state in batch.states} | {report.station for report in batch.reports}
        self._partitions.make((filed_at(summary.header.started_at, now) for summary, _ in batch.summaries), now)
        keys = {(s.header.station, s.header.boot) for s, _ in batch.summaries} | {(b.station, b.boot) for b in born}
        changes, known = _Changes(), dict[BootKey, _Boot]()
        with self._database.write() as connection:
            if names:
                known = self._locked(connection, sorted(names), keys)
                _note_births(born, known, changes)
                # An ack may be lost: it is said with each until the station has heard.
                changes.renew += [
                    (s.header.station, s.header.boot) for s, _ in batch.summaries if _of(s, known).restored
                ]
                self._sort(connection, batch, known, changes, now)
                for name in names:
                    changes.count(name)  # nothing: whoever speaks has totals
                self._store(connection, changes, now)
            heard = _heard(changes, known, now)
            if batch.states or batch.reports:
                write_states(self._database, connection, batch.states, batch.reports, now, heard)
                heard = {}
            for result in sorted(batch.results, key=lambda each: each.id):
                write_answer(connection, result)
            # One round trip for all of it: beside the payloads, a batch is a dozen small statements.
            with self._database.in_one_go(connection):
                self._keep_digests(connection, changes)
                self._keep_boots(connection, known)
                self._keep_totals(connection, changes)
                add_tallies(self._database, connection, changes.tallies(), self._shard)
                dead = [dead_row(letter, now) for letter in batch.dead]
                self._database.insert_rows(connection, dead_letters, dead)
                note_summaries(self._database, connection, heard)
        return Outcome(len(changes.new), tuple(changes.conflicts), tuple(dict.fromkeys(changes.renew)))

    def _locked(self, connection: Connection, names: list[str], keys: Iterable[BootKey]) -> dict[BootKey, _Boot]:
        """Lock the stations and return their boots as they are then."""
        known = {key: _Boot(Sequences()) for key in keys}
        found: Iterable[Sequence[Any]]
        if self._database.is_postgresql:
            asked = ((_LOCK, {"names": names}), (_BOOTS + "= ANY(%(names)s)", {"names": names}))
            there, found = ask_in_one_go(connection, *asked)
            if len(there) < len(names):
                absent = set(names) - {name for (name,) in there}
                rows = [{"station": name, **dict.fromkeys(_COUNTED, 0)} for name in sorted(absent)]
                self._database.insert_rows(connection, station_totals, rows, ignore_known=True)
                _, found = ask_in_one_go(connection, *asked)
        else:  # one writer at a time anyway
            stations = sorted({station for station, _ in known})
            among = "IN (SELECT value FROM json_each(?))"
            found = connection.exec_driver_sql(_BOOTS + among, (json.dumps(stations),)).all()
        for station, boot, highest, missing, highest_at, birth_at, birth_next in found:
            if (station, boot) in known:
                known[station, boot] = _Boot(sequences_from(highest, missing), highest_at, (birth_at, birth_next))
        return known

    def _sort(
        self, connection: Connection, batch: Batch, known: dict[BootKey, _Boot], changes: _Changes, now: float
    ) -> None:
        """Tell the new summaries from duplicates and conflicts."""
        digests = self._digests(connection, batch, known)
        for summary, payload in batch.summaries:
            h = summary.header
            key, boot = (h.station, h.boot, h.seq), known[h.station, h.boot]
            digest, stored = digest_of(payload), digests.get(key)
            if stored not in (None, digest) and stored == first_digest(payload):
                digest = stored
            if stored is None and boot.sequences.is_open(h.seq):
                digests[key] = digest
                changes.new.append((summary, payload, digest))
                changes.count_new(summary, len(payload), now)
                _take(boot, summary, changes)
            elif stored == digest and boot.sequences.is_open(h.seq):
                _take(boot, summary, changes)  # stored, and counted as missing since ranges were taken together
            elif stored != digest and (
                stored is not None or h.seq > boot.sequences.watermark or boot.gives_again(h.seq)
            ):
                changes.conflicts.append(named(summary, payload))
                changes.count(h.station, conflicts=1)

    @staticmethod
    def _digests(
        connection: Connection, batch: Batch, known: dict[BootKey, _Boot]
    ) -> dict[tuple[str, str, int], bytes]:
        """Return the digests of those summaries of the batch that may be stored already."""
        keys = {(s.header.station, s.header.boot, s.header.seq) for s, _ in batch.summaries}
        old = [key for key in keys if key[2] <= known[key[0], key[1]].sequences.highest]
        found: dict[tuple[str, str, int], bytes] = {}
        c = seen.c
        for some in _portions(sorted(old)):
            for row in connection.execute(select(seen).where(tuple_(c.station, c.boot, c.seq).in_(some))):
                found[row.station, row.boot, row.seq] = bytes(row.digest)
        return found

    def _store(self, connection: Connection, changes: _Changes, now: float) -> None:
        d, new = self._database, changes.new
        d.add_values(connection, summaries, SUMMARY_COLUMNS, [summary_values(s, payload, now) for s, payload, _ in new])
        notes = sorted(
            (row for summary, _, _ in new for row in sample_rows(summary)), key=lambda row: str(row["sample"])
        )
        d.insert_rows(connection, samples, notes, ignore_known=True)
        gapped = [summary for summary, _, _ in new if summary.gap is not None]
        if gapped:
            query = select(stations).where(stations.c.station.in_({each.header.station for each in gapped}))
            tokens = {row.station: row.token_sha256 for row in connection.execute(query)}
            told = []
            for each in gapped:
                token = tokens.get(each.header.station)
                told.append(gap_row(each, token is not None and is_gap_signed(each, gap_key_of_digest(token)), now))
                changes.count(each.header.station, gaps=1)
            d.insert_rows(connection, gaps, told)

    def _keep_digests(self, connection: Connection, changes: _Changes) -> None:
        rows = [((h := s.header).station, h.boot, h.seq, digest) for s, _, digest in changes.new]
        self._database.insert_values(connection, seen, ("station", "boot", "seq", "digest"), rows)

    def _keep_boots(self, connection: Connection, known: dict[BootKey, _Boot]) -> None:
        rows = [
            {
                "station": station,
                "boot": boot,
                "watermark": each.sequences.watermark,
                "highest": each.sequences.highest,
                "missing": each.sequences.to_json(),
                "highest_at": each.highest_at,
                "birth_at": each.birth[0],
                "birth_next": each.birth[1],
            }
            for (station, boot), each in sorted(known.items())
            if each.changed
        ]
        self._database.upsert_rows(connection, boots, ("station", "boot"), rows)

    def _keep_totals(self, connection: Connection, changes: _Changes) -> None:
        rows = [{"station": station, **more} for station, more in sorted(changes.totals.items())]
        self._database.upsert_rows(connection, station_totals, ("station",), rows, add=True)


def _of(summary: Summary, known: dict[BootKey, _Boot]) -> _Boot:
    return known[summary.header.station, summary.header.boot]


def _take(boot: _Boot, summary: Summary, changes: _Changes) -> None:
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


def _note_births(born: Iterable[StationState], known: dict[BootKey, _Boot], changes: _Changes) -> None:
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


def _heard(changes: _Changes, known: dict[BootKey, _Boot], now: float) -> dict[str, Heard]:
    """Return when each station's newest summary came, and how it fared by that with the boot's highest sequence: a backlog tells
    of how it was."""
    heard: dict[str, Heard] = {}
    for summary, _, _ in changes.new:
        station = summary.header.station
        if summary.health is not None and summary.header.seq >= _of(summary, known).sequences.highest:
            heard[station] = Heard(now, msgspec.json.encode(summary.health).decode())
        elif station not in heard:
            heard[station] = Heard(now)
    return heard


def _portions(
    keys: list[tuple[str, ...]] | list[BootKey] | list[tuple[str, str, int]],
) -> Iterable[list[tuple[object, ...]]]:
    for start in range(0, len(keys), _KEYS_A_QUERY):
        yield list(keys[start : start + _KEYS_A_QUERY])
