"""A station whose clock is at 1970, at 2106, and jumps between windows: every window arrives once, filed under what it said."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.chaos.process_plant import Plant, wait_until
from tests.chaos.produced import DATABASE, next_name, outbox_depth

_1970 = 1_000.0
_2106 = 2.0**32 + 1_000.0  # past the end of 32 bits without a sign


@pytest.mark.long
def test_windows_made_by_a_clock_at_1970_and_at_2106_arrive_once(plant: Plant) -> None:
    station = plant.station("s1", rate=40.0, count=1_000_000)
    home = plant.folder / "s1"
    home.mkdir()
    wrong = (_1970, None, _2106, None, _1970, _2106)
    _set(home, wrong[0])
    station.start(stay=True)
    wait_until(lambda: outbox_depth(home) >= 5)
    seen = 0
    for at, moment in enumerate(wrong):
        # Half of it without a cloud, so that windows of several times wait together.
        if at == 2:
            plant.worker().start()
        _set(home, moment)
        seen = next_name(home / DATABASE)[1] + 5
        _wait_for_window(home, seen)
    plant.drain(station)
    assert plant.check() >= seen
    kept = plant.committed()
    assert all(summary.header.started_at <= summary.header.ended_at for summary in kept)
    years = {time.gmtime(summary.header.ended_at).tm_year for summary in kept}
    assert {1970, 2106, time.gmtime().tm_year} <= years


def _set(home: Path, moment: float | None) -> None:
    new = home / "clock.new"
    new.write_text("0" if moment is None else repr(moment - time.time()))
    new.rename(home / "clock")


def _wait_for_window(home: Path, seq: int) -> None:
    wait_until(lambda: next_name(home / DATABASE)[1] > seq)
