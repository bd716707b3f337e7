"""Bits flipped on a station's disk while its summaries wait: no garbage is sent, nothing crashes, what is gone is told of."""

from __future__ import annotations

import signal
import sqlite3
from pathlib import Path

import pytest

from contract.messages import Summary
from tests.chaos.process_plant import Plant, Process, wait_until
from tests.chaos.produced import DATABASE, markers_in, outbox_depth, read_produced

_WAITING = 12


@pytest.mark.slow
def test_a_summary_whose_bits_flipped_is_told_as_a_gap_and_never_sent(plant: Plant) -> None:
    station, home = _with_a_backlog(plant)
    before = read_produced(home)
    flipped = _flip_payloads(home / DATABASE, (2, 3, 7))
    plant.worker().start()
    plant.drain(station)
    kept = plant.committed()
    assert plant.dead_letters() == 0
    assert sorted(_name(each) for each in kept) == sorted(read_produced(home))
    assert {_name(each) for each in kept if each.gap is not None} == flipped
    lost = {marker for name in flipped for marker in before[name].markers}
    made = {marker for each in before.values() for marker in each.markers}
    assert set(markers_in(kept)) == made - lost


@pytest.mark.long
@pytest.mark.parametrize("where", [0, 18, 28, 100], ids=["magic", "format", "size", "root page"])
def test_a_station_whose_database_header_is_damaged_starts_afresh_and_says_so(plant: Plant, where: int) -> None:
    station, home = _with_a_backlog(plant)
    before = set(read_produced(home))
    _flip(home / DATABASE, where, 4)
    (home / "produced.jsonl").unlink()
    plant.worker().start()
    station.start(count=1_000_000, stay=True)
    wait_until(lambda: plant.has_committed(8))
    plant.drain(station)
    kept = plant.committed()
    assert plant.dead_letters() == 0
    after = read_produced(home)
    names = [_name(each) for each in kept]
    assert len(names) == len(set(names))
    assert set(after) <= set(names) <= set(after) | before
    if not before & set(names):
        assert any("damaged" in each.note or "corrupt" in each.note for each in kept), "nobody was told"


def _with_a_backlog(plant: Plant) -> tuple[Process, Path]:
    station = plant.station("s1", rate=50.0, count=_WAITING)
    station.start(stay=True)
    home = plant.folder / "s1"
    wait_until(lambda: outbox_depth(home) >= _WAITING)
    assert station.end(signal.SIGTERM) == 0
    return station, home


def _flip_payloads(database: Path, rows: tuple[int, ...]) -> set[tuple[str, int]]:
    """Flip bits in the middle of some payloads where they lie in the file; return whose they are."""
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    found = connection.execute("SELECT boot, seq, payload FROM outbox ORDER BY id").fetchall()
    connection.close()
    content = database.read_bytes()
    for row in rows:
        # The marker is like no other, and near the start, on the row's first page.
        at = content.index(bytes(found[row][2])[: 1 << 7])
        _flip(database, at + 60, 3)
    return {(str(found[row][0]), int(found[row][1])) for row in rows}


def _flip(path: Path, at: int, count: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        found = file.read(count)
        file.seek(at)
        file.write(bytes(byte ^ 0x5A for byte in found))


def _name(summary: Summary) -> tuple[str, int]:
    return summary.header.boot, summary.header.seq
