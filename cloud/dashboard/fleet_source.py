"""What the pages ask about the fleet, read once for all who look at the same time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from cloud.dashboard.shared_read import SharedRead
from cloud.drift.fleet_status import StationDrift
from cloud.ports.needs import Need, Severity
from cloud.ports.registry import Releases
from cloud.ports.series import split_series
from cloud.store.fleet_pages import FleetPages
from cloud.store.fleet_rows import FleetCell, FleetCounts, FleetFacets, FleetFilter, FleetPage, FleetRow, Phases, SortBy

NEW_S = 86_400.0
"""A station that was added within this time and not heard by MQTT yet is new: it is being put up. After that nobody is at it."""

PHASES_S, COUNTS_S, FACETS_S, NEEDS_S = 3.0, 2.0, 10.0, 2.0


class FleetSource:
    """Thread-safe; every call reads, so none belongs on the event loop.

    Args:
        phases: which stations drift and which are in range, as the detectors have it (`phases_of`).
        sentences: the drift of each camera of some stations.
        needs: what needs a person, most urgent first.
        now: the cloud's clock, Unix seconds.
    """

    def __init__(
        self,
        *,
        pages: FleetPages,
        releases: Releases,
        phases: Callable[[], Phases],
        sentences: Callable[[Sequence[str]], Mapping[str, Sequence[StationDrift]]],
        needs: Callable[[], Sequence[Need]],
        now: Callable[[], float],
    ) -> None:
        self.now = now
        self._pages, self._releases, self._sentences = pages, releases, sentences
        self.phases = SharedRead(phases, PHASES_S, now)
        self.needs = SharedRead(needs, NEEDS_S, now)
        self._counts = SharedRead(lambda: pages.counts(self.phases()), COUNTS_S, now)
        self._facets = SharedRead(pages.facets, FACETS_S, now)

    def counts(self) -> FleetCounts:
        """Count the fleet."""
        return self._counts()

    def facets(self) -> FleetFacets:
        """Return what there is to filter by."""
        return self._facets()

    def page(self, chosen: FleetFilter, sort: SortBy, *, descending: bool, start: int, limit: int) -> FleetPage:
        """Return some stations."""
        return self._pages.page(chosen, self.phases(), sort=sort, descending=descending, start=start, limit=limit)

    def cells(self, chosen: FleetFilter) -> list[FleetCell]:
        """Return all of them, for the map."""
        return self._pages.cells(chosen, self.phases())

    def one(self, station: str) -> FleetRow | None:
        """Return a station, None where it was never added."""
        return self._pages.one(station, self.phases())

    def drift_in_words(self, stations: Sequence[str]) -> dict[str, str]:
        """Return one sentence for each station that sent windows: its cameras', the drifting ones first."""
        return {name: sentence_of(found) for name, found in self._sentences(stations).items()}

    def versions(self) -> dict[str, str]:
        """Return what people call each bundle."""
        return {release.digest: release.version for release in self._releases.all()}

    def needy(self) -> frozenset[str]:
        """Return the stations that need somebody: what is merely told of is none."""
        members = {name for need in self.needs() if need.severity is not Severity.INFO for name in need.members}
        return frozenset(members | self.phases().alarmed)


def phases_of(
    watched: Sequence[str],
    alarmed: Sequence[str],
    enrolling: Sequence[str],
    now: float = 0.0,
    *,
    revoked: frozenset[str] = frozenset(),
    by_http: frozenset[str] = frozenset(),
    asked: frozenset[str] = frozenset(),
) -> Phases:
    """Return the phases of stations by those of their series at `now`, Unix seconds: a station is as its worst camera; of those
    `revoked` no camera counts."""
    bad = frozenset(split_series(series)[0] for series in alarmed)
    young = frozenset(split_series(series)[0] for series in enrolling)
    quiet = frozenset(split_series(series)[0] for series in watched) - bad - young
    return Phases(bad - revoked, quiet - revoked, now - NEW_S, revoked, by_http - revoked, asked)


def sentence_of(cameras: Sequence[StationDrift]) -> str:
    """Return one sentence for the only camera, else one a camera."""
    named = [(split_series(each.station)[1], each.sentence) for each in cameras]
    if len(named) == 1 and not named[0][0]:
        return named[0][1]
    return " · ".join(f"{camera or 'first camera'}: {sentence}" for camera, sentence in named)
