"""What pages read of the fleet, and what they read together."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from cloud.dashboard.fleet_map import places, state_of
from cloud.dashboard.fleet_source import phases_of
from cloud.dashboard.shared_read import SharedRead
from cloud.store.fleet_rows import DriftPhase, FleetCell, LinkState
from cloud.store.verdict_mix import verdict_mix
from contract.errors import TransientError
from tests.fakes.big_fleet import fill, fleet_source
from tests.fakes.cloud_tables import T0, open_tables, received, summary


def test_a_station_is_as_its_worst_camera() -> None:
    phases = phases_of(["a", "a/left", "b/x", "b/y", "c"], ["a/left"], ["b/y"])
    assert [phases.of(name) for name in ("a", "b", "c", "never")] == [
        DriftPhase.ALARMED,
        DriftPhase.ENROLLING,
        DriftPhase.QUIET,
        DriftPhase.ENROLLING,
    ]


def test_many_pages_read_once_and_an_error_is_not_kept() -> None:
    calls, clock, broken = [0], [0.0], [False]

    def read() -> int:
        if broken[0]:
            raise TransientError("away", hint="wait")
        calls[0] += 1
        return calls[0]

    shared = SharedRead(read, 2.0, lambda: clock[0])
    threads = [threading.Thread(target=shared) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shared() == 1 and calls == [1]
    clock[0], broken[0] = 2.0, True
    with pytest.raises(TransientError):
        shared()
    broken[0] = False
    assert shared() == 2
    clock[0] = -100.0  # set back
    assert shared() == 3


def test_cells_go_by_site_and_each_has_a_place_of_its_own() -> None:
    def cell(name: str, site: str) -> FleetCell:
        return FleetCell(name, site, LinkState.ONLINE, DriftPhase.QUIET, "COMMITTED")

    few = [cell(f"a{n}", "hall a") for n in range(30)] + [cell(f"b{n}", "") for n in range(3)]
    where, named = places(few)
    assert len(set(where)) == 33 and named == {0: "hall a", 2: "no site"}
    many = [cell(f"s{n:04}", f"site {n // 3}") for n in range(1000)]
    where, named = places(many)
    assert len(set(where)) == 1000 and named == {} and places([]) == ([], {})
    assert state_of(FleetCell("s", "", LinkState.OFFLINE, DriftPhase.ALARMED, "")) == "drifting"
    assert state_of(FleetCell("s", "", LinkState.ONLINE, DriftPhase.QUIET, "DOWNLOAD")) == "updating"
    assert state_of(FleetCell("s", "", LinkState.ONLINE, DriftPhase.QUIET, "ROLLED_BACK")).startswith("went back")


def test_who_drifts_needs_somebody(tmp_path: Path) -> None:
    tables = open_tables(tmp_path / "cloud.db")
    names = fill(tables, 5, T0)
    source = fleet_source(tables, names, names[2:3])
    assert source.needy() == {names[2]} and source.counts().drifting == 1
    assert source.drift_in_words(names[:1]) == {names[0]: "within the enrolled range"}
    tables.database.close()


def test_verdicts_of_late_add_up_and_go_back_as_far_as_is_afforded(tmp_path: Path) -> None:
    tables = open_tables(tmp_path / "cloud.db")
    assert verdict_mix(tables.database, T0).buckets == ()
    for number in range(1, 49):
        tables.summaries.commit(received(summary("s1", number), at=T0), [])
    mix = verdict_mix(tables.database, T0 + 3600.0)
    sums = [sum(getattr(each, name) for each in mix.buckets) for name in ("passed", "rejected", "review", "lost")]
    assert sums == [48 * 7, 48 * 2, 48, 48]
    assert verdict_mix(tables.database, T0 + 14 * 3600.0).buckets == ()
    tables.database.close()
