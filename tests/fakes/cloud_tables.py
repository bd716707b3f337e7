"""The cloud's tables in a real database, and messages to fill them with."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from cloud.ports.batch import Batch, Outcome
from cloud.store.access import Access
from cloud.store.alarms import Alarms
from cloud.store.answer_states import AnswerStates
from cloud.store.audit import AuditLog
from cloud.store.batches import Batches
from cloud.store.commands import Commands
from cloud.store.database import Database
from cloud.store.rollouts import Rollouts
from cloud.store.samples import Samples
from cloud.store.stations import Stations
from cloud.store.summaries import ReceivedSummary, Summaries
from cloud.store.tables import stations
from contract.codec import encode_summary
from contract.messages import Accounting, Header, SampleNote, StationState, Summary
from tests.made_tables import write_tables

T0 = 1_795_200_000.0


@dataclass(frozen=True, slots=True)
class Tables:
    """Every table of one database."""

    database: Database
    stations: Stations
    batches: Batches
    summaries: Summaries
    samples: Samples
    alarms: Alarms
    answers: AnswerStates
    rollouts: Rollouts
    commands: Commands
    audit: AuditLog
    access: Access

    def add_online(self, *names: str, now: float = T0) -> None:
        """Add stations that were just born."""
        # All at once: ten thousand commits would take a minute.
        rows = [
            {
                "station": name,
                "token_sha256": hashlib.sha256(f"token of {name}".encode()).hexdigest(),
                "site": "",
                "added_at": now,
            }
            for name in names
        ]
        with self.database.write() as connection:
            self.database.upsert_rows(connection, stations, ["station"], rows)
        self.stations.commit([StationState(name, "b1", True, now) for name in names], [], now)


def open_tables(at: Path | str) -> Tables:
    """Open (or make) the database at `at`: a file of SQLite, or a URL."""
    if isinstance(at, Path) and at.parent.is_dir() and not at.exists():
        write_tables(at)
    database = Database(at if isinstance(at, str) else f"sqlite:///{at}")
    return Tables(
        database,
        Stations(database),
        Batches(database),
        Summaries(database),
        Samples(database),
        Alarms(database),
        AnswerStates(database),
        Rollouts(database),
        Commands(database),
        AuditLog(database),
        Access(database),
    )


def summary(
    station: str = "s1",
    seq: int = 1,
    *,
    boot: str = "b1",
    passed: int = 7,
    rejected: int = 2,
    samples: tuple[SampleNote, ...] = (),
    camera: str = "",
) -> Summary:
    """Return a summary without sketches: passed + rejected + 1 REVIEW + 1 dropped frames."""
    accounting = Accounting(
        captured=passed + rejected + 2,
        passed=passed,
        rejected=rejected,
        review={"unsure": 1},
        dropped={"queue full": 1},
    )
    header = Header(station, boot, seq, T0 + seq, T0 + seq + 1, float(seq), True, "d" * 64, camera=camera)
    return Summary(header, accounting, samples=samples)


def received(*summaries: Summary, at: float = T0) -> list[ReceivedSummary]:
    """Return summaries as ingest hands them to the table."""
    return [ReceivedSummary(each, encode_summary(each), at) for each in summaries]


def note(
    sample: str, *, at: float = T0, part: str = "", reason: str = "audit", confidence: float = 0.5, novelty: float = 0.0
) -> SampleNote:
    """Return the note of a kept frame, answered "good"."""
    return SampleNote(sample, at, part or f"part of {sample}", "good", confidence, "PASS", reason, 0.5, novelty)


def commit_batch(tables: Tables, batch: Batch, now: float) -> Outcome:
    """Store what a run of arrivals says, as the wiring does."""
    return tables.batches.commit(batch, now)
