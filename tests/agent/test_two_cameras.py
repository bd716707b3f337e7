"""A station with two cameras as its own process: one database, one outbox, and each camera's windows its own (P1)."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.codec import decode_summary
from contract.messages import Summary
from tests.station_process import Station, wait_for

CAMERAS = ("", "left")
SECOND = '[[cameras]]\nname = "left"\nkind = "simulated"\nfps = 100.0\nheight = 32\nwidth = 32\nseed = 7\n'


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    made = Station(tmp_path, 1, extra=SECOND)  # no broker answers there: everything stays in the outbox
    yield made
    made.close()


def windows(station: Station) -> dict[str, int]:
    """Return how many windows of each camera have rows."""
    return dict(station.query("SELECT camera, COUNT(DISTINCT window) FROM results GROUP BY camera"))


def summaries(station: Station) -> list[Summary]:
    return [decode_summary(row[0]) for row in station.query("SELECT payload FROM outbox ORDER BY id")]


@pytest.mark.slow
def test_each_cameras_windows_are_accounted_for_through_a_kill(station: Station) -> None:
    station.start()
    wait_for(lambda: all(windows(station).get(camera, 0) >= 3 for camera in CAMERAS))
    station.kill_in_a_window()
    shipped, seen = len(summaries(station)), windows(station)
    station.start()
    wait_for(lambda: all(windows(station)[camera] > seen[camera] + 2 for camera in CAMERAS))
    assert station.end(signal.SIGTERM) == 0
    told = summaries(station)
    assert all(summary.accounting.closes() for summary in told)
    recovered = [s.header.camera for s in told[shipped:] if s.note.startswith("recovered after a crash")]
    assert set(recovered) <= set(CAMERAS) and recovered
    for camera in CAMERAS:
        mine = [summary for summary in told if summary.header.camera == camera]
        rows = station.query(f"SELECT window, COUNT(*) FROM results WHERE camera = '{camera}' GROUP BY window")
        assert Counter(summary.accounting.decided for summary in mine if summary.accounting.decided) == Counter(
            count for _, count in rows
        )
        kept = station.query(f"SELECT sample, window FROM samples WHERE camera = '{camera}'")
        noted = {note.sample for summary in mine for note in summary.samples}
        assert {sample for sample, _ in kept} <= noted
    assert [summary.header.seq for summary in told] == list(range(1, len(told) + 1))
    shown = station.status()
    assert set(shown["cameras"]) == set(CAMERAS)
    assert all(camera["enrolled_frames"] == 10 for camera in shown["cameras"].values())
    assert sorted(path.name for path in (station.folder / "state").glob("*.mark")) == [
        "running-left.mark", "running.mark",
    ]  # fmt: skip
