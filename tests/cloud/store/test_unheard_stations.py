"""Stations that were added and never heard: new ones are enrolling, those of long ago are not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cloud.dashboard.fleet_source import NEW_S, phases_of
from cloud.dashboard.overview_figures import enrolling_in_words
from cloud.store.fleet_pages import FleetPages
from cloud.store.fleet_rows import DriftPhase, FleetFilter, LinkState, Phases, SortBy
from contract.messages import StationState
from tests.fakes.cloud_tables import T0, Tables, open_tables

NOW = T0 + 10 * NEW_S
EVERY = ("forgotten", "learning", "new", "quiet")


@pytest.fixture
def pages(database_url: str) -> Iterator[FleetPages]:
    """`forgotten` was added ten days ago, `new` an hour ago, and neither was heard; the other two have been for ten days."""
    tables: Tables = open_tables(database_url)
    for name in EVERY:
        tables.stations.add(name, "t", "", NOW - 3600.0 if name == "new" else T0)
    tables.stations.commit([StationState(name, "b", True, T0) for name in ("learning", "quiet")], [], T0)
    yield FleetPages(tables.database)
    tables.database.close()


def _phases(now: float = NOW) -> Phases:
    return phases_of(["quiet", "learning"], [], ["learning"], now)


def test_only_new_ones_count_as_enrolling(pages: FleetPages) -> None:
    counts = pages.counts(_phases())
    assert (counts.total, counts.never, counts.unheard, counts.enrolling) == (4, 2, 1, 2)
    assert enrolling_in_words(counts) == "2 enrolling (1 new, not heard yet)"
    later = pages.counts(_phases(NOW + NEW_S))
    assert (later.unheard, later.enrolling) == (2, 1) and enrolling_in_words(later) == "1 enrolling"


def test_the_lists_hold_whom_the_numbers_count(pages: FleetPages) -> None:
    phases = _phases()

    def named(phase: DriftPhase) -> list[str]:
        rows = pages.page(FleetFilter(drift=phase), phases).rows
        assert all(row.drift is phase for row in rows)
        cells = {cell.station: cell.drift for cell in pages.cells(FleetFilter(drift=phase), phases)}
        assert cells == {row.station: phase for row in rows}
        return [row.station for row in rows]

    assert named(DriftPhase.ENROLLING) == ["learning", "new"] and named(DriftPhase.UNHEARD) == ["forgotten"]
    assert named(DriftPhase.QUIET) == ["quiet"] and named(DriftPhase.ALARMED) == []
    by_drift = pages.page(FleetFilter(), phases, sort=SortBy.DRIFT).rows
    assert [row.station for row in by_drift] == ["learning", "new", "forgotten", "quiet"]
    (one,) = [pages.one("forgotten", phases)]
    assert one is not None and (one.drift, one.link) == (DriftPhase.UNHEARD, LinkState.NEVER)


def test_one_whose_state_is_known_is_what_it_is_though_nothing_says_when_it_was_heard(pages: FleetPages) -> None:
    """After a restore, say: the detectors have it, its status has not."""
    counts = pages.counts(phases_of(["forgotten"], ["forgotten"], [], NOW))
    assert (counts.drifting, counts.unheard, counts.enrolling) == (1, 0, 3)
