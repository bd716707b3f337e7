"""Stations over HTTP: a page of them, one of them, its windows, and what happened to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any, Protocol

import msgspec
from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict

from cloud.api.auth import Guards, Scope
from cloud.ports.stations import StationStatus
from cloud.store.fleet_rows import (
    MOST_ROWS,
    DriftPhase,
    FleetCounts,
    FleetFilter,
    FleetPage,
    FleetRow,
    LinkState,
    SortBy,
)
from cloud.store.station_history import StationHistory, StoredWindow
from contract.codec import decode_summary
from contract.errors import BadMessage, NotFound, SketchMismatch
from contract.ids import MAX_CAMERA_CHARS
from contract.messages import Summary
from contract.sketches.label_counts import latency_quantile_us
from contract.sketches.moments import STATISTICS
from contract.sketches.wire import from_wire

_MOST_HOURS = 24.0 * 731
_MOST_WINDOWS = 1_000
_MOST_START = 2**31 - 1
_Name = Annotated[str, Path(max_length=200, description="the station", examples=["line3"])]
_Text = Annotated[str | None, Query(max_length=120)]


class FleetReads(Protocol):
    """What is read of the fleet; see `cloud.dashboard.fleet_source`."""

    now: Callable[[], float]

    def page(self, chosen: FleetFilter, sort: SortBy, *, descending: bool, start: int, limit: int) -> FleetPage:
        """Return some stations."""

    def one(self, station: str) -> FleetRow | None:
        """Return a station."""

    def counts(self) -> FleetCounts:
        """Count the fleet."""

    def versions(self) -> dict[str, str]:
        """Return what people call each bundle."""

    def needy(self) -> frozenset[str]:
        """Return the stations that need somebody."""

    def drift_in_words(self, stations: Sequence[str]) -> Mapping[str, str]:
        """Return a sentence for each station that sent windows."""


class StationShown(BaseModel):
    """A station in a list. `heard_at`: when its newest summary or report came, Unix seconds, 0 for never; counts are of frames,
    `missing` of summaries. `link` "by HTTP": the broker does not reach it, and it has asked over HTTP within a quarter of an hour;
    "by HTTP, never by MQTT": so has it, and the broker never reached it in more than a day since it was added.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "station": "line3", "site": "hall 1", "board": "jetson-orin-nano", "link": "online", "drift": "drifting",
                "seen": "lens: sharpness -8.2 sd for 4 windows", "simulated": False, "model": "v4",
                "bundle": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "update_state": "COMMITTED",
                "outcome": "", "reason": "", "heard_at": 1795200000.0, "captured": 12800, "passed": 11900,
                "rejected": 700, "review": 200, "missing": 0,
            }
        }
    )  # fmt: skip

    station: str
    site: str
    board: str
    link: LinkState
    drift: DriftPhase
    seen: str
    simulated: bool
    model: str
    bundle: str
    update_state: str
    outcome: str
    reason: str
    heard_at: float
    captured: int
    passed: int
    rejected: int
    review: int
    missing: int


class StationsShown(BaseModel):
    """A page of stations: `total` are meant in all, and `start` is the number of the first one here."""

    at: float
    total: int
    start: int
    stations: list[StationShown]


def station_routes(
    *,
    guards: Guards,
    fleet: FleetReads,
    status: Callable[[str], StationStatus | None],
    history: StationHistory,
    drift_of: Callable[[str], list[dict[str, Any]]],
) -> APIRouter:
    """Return the routes about stations that read."""
    routes = APIRouter(prefix="/v1", dependencies=[Depends(guards.needs(Scope.READ))], tags=["stations"])

    @routes.get("/stations")
    def some(
        *,
        text: _Text = None,
        site: _Text = None,
        board: _Text = None,
        link: LinkState | None = None,
        drift: DriftPhase | None = None,
        model: _Text = None,
        update: _Text = None,
        simulated: bool | None = None,
        needs_somebody: bool = False,
        sort: SortBy = SortBy.NAME,
        descending: bool = False,
        start: Annotated[int, Query(ge=0, le=_MOST_START)] = 0,
        limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 50,
    ) -> StationsShown:
        """Return a page of the stations that are all of what is asked for; `model` is a version's name, or a bundle's digest."""
        versions = fleet.versions()
        digests = {version: digest for digest, version in versions.items()}
        chosen = FleetFilter(
            text=_storable(text) or "",
            site=_storable(site),
            board=_storable(board),
            link=link,
            drift=drift,
            bundle=None if model is None else digests.get(model, _storable(model)),
            update=_storable(update),
            simulated=simulated,
            among=fleet.needy() if needs_somebody else None,
        )
        found = fleet.page(chosen, sort, descending=descending, start=start, limit=limit)
        seen = fleet.drift_in_words([row.station for row in found.rows])
        shown = [_shown(row, versions, seen.get(row.station, "")) for row in found.rows]
        return StationsShown(at=fleet.now(), total=found.total, start=start, stations=shown)

    @routes.get("/fleet/counts")
    def counts() -> FleetCounts:
        """Return how many stations there are, and are what."""
        return fleet.counts()

    @routes.get("/stations/{station}")
    def one(station: _Name) -> dict[str, Any]:
        """Return all that is known of a station: its status, drift, sequences, gaps and certificates."""
        row, said = _known(fleet, station), status(station)
        seen = fleet.drift_in_words([station]).get(station, "")
        return {
            **_shown(row, fleet.versions(), seen).model_dump(),
            "status": msgspec.to_builtins(said) if said is not None else None,
            "cameras": drift_of(station),
            "boots": [asdict(each) for each in history.boots(station)],
            "gaps": [asdict(each) for each in history.gaps(station)],
            "certificates": [
                {**asdict(each), "counts": each.counts(fleet.now())} for each in history.certificates(station)
            ],
        }

    @routes.get("/stations/{station}/windows")
    def windows(
        station: _Name,
        camera: Annotated[str | None, Query(max_length=MAX_CAMERA_CHARS)] = None,
        hours: Annotated[float, Query(gt=0, le=_MOST_HOURS)] = 24.0,
        limit: Annotated[int, Query(ge=1, le=_MOST_WINDOWS)] = 288,
    ) -> dict[str, Any]:
        """Return its newest windows, oldest first: verdicts, latency, labels by number, statistics, and how it fared."""
        _known(fleet, station)
        now = fleet.now()
        found = history.windows(station, now - hours * 3600.0, limit)
        mine = [each for each in found if camera is None or each.camera == camera]
        return {"at": now, "windows": [_window(each) for each in mine]}

    @routes.get("/stations/{station}/timeline")
    def timeline(
        station: _Name,
        start: Annotated[int, Query(ge=0, le=_MOST_START)] = 0,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
    ) -> dict[str, Any]:
        """Return what happened to it, the newest first: alarms, rollouts, retrains, commands, gaps and people's acts."""
        _known(fleet, station)
        entries, total = history.timeline(station, start, limit)
        return {"total": total, "start": start, "entries": [asdict(entry) for entry in entries]}

    return routes


def _known(fleet: FleetReads, station: str) -> FleetRow:
    # PostgreSQL takes no NUL, and no station's name has one.
    row = fleet.one(station) if "\0" not in station else None
    if row is None:
        raise NotFound(f"no station '{station[:80]}'", hint="add it with: plumbline-cloud station add NAME")
    return row


def _shown(row: FleetRow, versions: Mapping[str, str], seen: str) -> StationShown:
    return StationShown(
        station=row.station,
        site=row.site,
        board=row.board,
        link=row.link,
        drift=row.drift,
        seen=seen,
        simulated=row.simulated,
        model=versions.get(row.bundle, ""),
        bundle=row.bundle,
        update_state=row.update_state,
        outcome=row.outcome,
        reason=row.reason,
        heard_at=row.heard_at,
        captured=row.captured,
        passed=row.passed,
        rejected=row.rejected,
        review=row.review,
        missing=row.missing,
    )


def _window(stored: StoredWindow) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "at": stored.at,
        "camera": stored.camera,
        "bundle": stored.bundle,
        "stands_for": stored.windows,
    }
    try:
        summary = decode_summary(stored.payload)
        return {**shown, "readable": True, **_told(summary)}
    except (BadMessage, SketchMismatch):
        # Stored by another version; it is there, and this one cannot tell what it says.
        return {**shown, "readable": False}


def _told(summary: Summary) -> dict[str, Any]:
    header = summary.header
    told: dict[str, Any] = {
        "boot": header.boot,
        "seq": header.seq,
        "started_at": header.started_at,
        "ended_at": header.ended_at,
        "accounting": msgspec.to_builtins(summary.accounting),
        "health": msgspec.to_builtins(summary.health),
    }
    if summary.window is None:
        return told
    window = from_wire(summary.window)
    latency = window.latency_histogram()
    return {
        **told,
        "frames": window.frames,
        "labels": window.label_counts().tolist(),
        "latency_us": {f"p{share}": latency_quantile_us(latency, share / 100.0) for share in (50, 95, 99)},
        "statistics": dict(zip(STATISTICS, window.means().tolist(), strict=True)),
    }


def _storable(text: str | None) -> str | None:
    return None if text is None else text.replace("\0", "").encode("utf-8", "ignore").decode()
