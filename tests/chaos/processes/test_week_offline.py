"""Seven days without a cloud, in accelerated time, in an outbox too small for them; then everything is shipped at once."""

from __future__ import annotations

import time

import pytest

from tests.chaos.process_plant import Plant

_WEEK_S = 7 * 86_400.0


@pytest.mark.long
def test_three_stations_ship_a_week_that_did_not_fit_and_every_frame_is_counted_once(plant: Plant) -> None:
    _week(plant, stations=3, every_s=1_800.0)


@pytest.mark.long
def test_fifty_stations_ship_a_week_that_did_not_fit_and_every_frame_is_counted_once(plant: Plant) -> None:
    _week(plant, stations=50, every_s=300.0)


def _week(plant: Plant, *, stations: int, every_s: float) -> None:
    began = time.time() - _WEEK_S
    made = [plant.station(f"s{number}", outbox_mib=1) for number in range(stations)]
    for some in (made[at : at + 4] for at in range(0, len(made), 4)):
        for station in some:
            station.start(offline_days=7, every_s=every_s)
        for station in some:
            assert station.wait(600.0) == 0, station.said()[-2000:]
    plant.worker().start()
    plant.drain(*made, within_s=600.0)
    plant.check(names_too=False)
    kept = plant.committed()
    assert len(kept) < stations * _WEEK_S / every_s, "nothing had to be merged"
    assert {summary.header.station for summary in kept} == {f"s{number}" for number in range(stations)}
    # Filed when it was, not when it came: and merged, it is coarser by an hour at most, but where only counts are left.
    assert min(summary.header.started_at for summary in kept) < began + 2 * 3_600.0
    assert all(s.header.ended_at - s.header.started_at <= 3_700.0 for s in kept if s.window is not None)
