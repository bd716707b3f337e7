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
from typing import Any

from sqlalchemy import Connection, select, tuple_

from cloud.ports.batch import Batch, Outcome, named
from cloud.store.batch_changes import COUNTED, Boot, BootKey, Changes, boot_of, newest_heard, note_births, take
from cloud.store.bulk import ask_in_one_go
from cloud.store.commands import write_answer
from cloud.store.database import Database
from cloud.store.digests import digest_of, first_digest
from cloud.store.partitions import Partitions
from cloud.store.promises import add_tallies
from cloud.store.sequences import Sequences, sequences_from
from cloud.store.stations import note_summaries, write_states
from cloud.store.summary_rows import SUMMARY_COLUMNS, dead_row, filed_at, gap_row, sample_rows, summary_values
from cloud.store.summary_tables import boots, dead_letters, gaps, seen, station_totals, summaries
from cloud.store.tables import samples, stations
from contract.gaps import gap_key_of_digest, is_gap_signed

# SQLite takes 32,766 parameters at most, older ones 999.
_KEYS_A_QUERY = 300

_BOOTS = "SELECT station, boot, highest, missing, highest_at, birth_at, birth_next FROM boots WHERE station "
_LOCK = "SELECT station FROM station_totals WHERE station = ANY(%(names)s) ORDER BY station FOR UPDATE"


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
        changes, known = Changes(), dict[BootKey, Boot]()
        with self._database.write() as connection:
            if names:
                known = self._locked(connection, sorted(names), keys)
                note_births(born, known, changes)
                # An ack may be lost: it is said with each until the station has heard.
                changes.renew += [
                    (s.header.station, s.header.boot) for s, _ in batch.summaries if boot_of(s, known).restored
                ]
                self._sort(connection, batch, known, changes, now)
                for name in names:
                    changes.count(name)  # nothing: whoever speaks has totals
                self._store(connection, changes, now)
            heard = newest_heard(changes, known, now)
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

    def _locked(self, connection: Connection, names: list[str], keys: Iterable[BootKey]) -> dict[BootKey, Boot]:
        """Lock the stations and return their boots as they are then."""
        known = {key: Boot(Sequences()) for key in keys}
        found: Iterable[Sequence[Any]]
        if self._database.is_postgresql:
            asked = ((_LOCK, {"names": names}), (_BOOTS + "= ANY(%(names)s)", {"names": names}))
            there, found = ask_in_one_go(connection, *asked)
            if len(there) < len(names):
                absent = set(names) - {name for (name,) in there}
                rows = [{"station": name, **dict.fromkeys(COUNTED, 0)} for name in sorted(absent)]
                self._database.insert_rows(connection, station_totals, rows, ignore_known=True)
                _, found = ask_in_one_go(connection, *asked)
        else:  # one writer at a time anyway
            stations = sorted({station for station, _ in known})
            among = "IN (SELECT value FROM json_each(?))"
            found = connection.exec_driver_sql(_BOOTS + among, (json.dumps(stations),)).all()
        for station, boot, highest, missing, highest_at, birth_at, birth_next in found:
            if (station, boot) in known:
                known[station, boot] = Boot(sequences_from(highest, missing), highest_at, (birth_at, birth_next))
        return known

    def _sort(
        self, connection: Connection, batch: Batch, known: dict[BootKey, Boot], changes: Changes, now: float
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
                take(boot, summary, changes)
            elif stored == digest and boot.sequences.is_open(h.seq):
                take(boot, summary, changes)  # stored, and counted as missing since ranges were taken together
            elif stored != digest and (
                stored is not None or h.seq > boot.sequences.watermark or boot.gives_again(h.seq)
            ):
                changes.conflicts.append(named(summary, payload))
                changes.count(h.station, conflicts=1)

    @staticmethod
    def _digests(connection: Connection, batch: Batch, known: dict[BootKey, Boot]) -> dict[tuple[str, str, int], bytes]:
        """Return the digests of those summaries of the batch that may be stored already."""
        keys = {(s.header.station, s.header.boot, s.header.seq) for s, _ in batch.summaries}
        old = [key for key in keys if key[2] <= known[key[0], key[1]].sequences.highest]
        found: dict[tuple[str, str, int], bytes] = {}
        c = seen.c
        for some in _portions(sorted(old)):
            for row in connection.execute(select(seen).where(tuple_(c.station, c.boot, c.seq).in_(some))):
                found[row.station, row.boot, row.seq] = bytes(row.digest)
        return found

    def _store(self, connection: Connection, changes: Changes, now: float) -> None:
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

    def _keep_digests(self, connection: Connection, changes: Changes) -> None:
        rows = [((h := s.header).station, h.boot, h.seq, digest) for s, _, digest in changes.new]
        self._database.insert_values(connection, seen, ("station", "boot", "seq", "digest"), rows)

    def _keep_boots(self, connection: Connection, known: dict[BootKey, Boot]) -> None:
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

    def _keep_totals(self, connection: Connection, changes: Changes) -> None:
        rows = [{"station": station, **more} for station, more in sorted(changes.totals.items())]
        self._database.upsert_rows(connection, station_totals, ("station",), rows, add=True)


def _portions(
    keys: list[tuple[str, ...]] | list[BootKey] | list[tuple[str, str, int]],
) -> Iterable[list[tuple[object, ...]]]:
    for start in range(0, len(keys), _KEYS_A_QUERY):
        yield list(keys[start : start + _KEYS_A_QUERY])
