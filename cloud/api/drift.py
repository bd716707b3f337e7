"""What drifts, since when and why, and what is done about it: alarms, evidence over time, retrains, and learning a camera anew."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Depends, HTTPException, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from cloud.api.auth import Guards, Person, Scope
from cloud.drift.trace import TracePoint, with_points
from cloud.improve_loop import DriftOverview
from cloud.ports.series import series_name
from cloud.store.alarms import Alarms
from cloud.store.drift_traces import DriftTraces
from cloud.store.stations import Stations
from contract.errors import InvalidConfig
from contract.ids import MAX_CAMERA_CHARS


class WhyBody(BaseModel):
    """Why a person does something."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(min_length=1, max_length=500, pattern=r"^[^\x00]*$")


class ReEnrolBody(WhyBody):
    """Why a camera is learnt anew; `camera` may be left out where the station has one."""

    camera: str | None = Field(default=None, max_length=MAX_CAMERA_CHARS)


class DriftControl(Protocol):
    """What the drift detectors say, and what people may order."""

    def drift_of(self, station: str) -> list[dict[str, Any]]:
        """Return the drift state of each camera of the station (at least one) as JSON-ready values, alarmed ones first."""

    def drift_status(self, series: str) -> dict[str, Any]:
        """Return the drift state of a series as JSON-ready values."""

    def re_enrol(self, series: str, actor: str, reason: str) -> None:
        """Take what the series' camera sees from now on as its normal."""

    def overview(self) -> DriftOverview:
        """Return which series are watched, alarmed and enrolling, and who shares an alarm."""

    def newest_points(self, series: str) -> list[TracePoint]:
        """Return the points of a series' chart that are not stored yet."""

    def threshold_log10(self) -> float:
        """Return the evidence from which one series alone is an alarm, as a power of ten."""

    def start_retrain(self, alarm: int, actor: str, reason: str) -> int:
        """Start a retrain for an open alarm from the labels that are there, and return its id."""


def drift_routes(
    *, guards: Guards, stations: Stations, alarms: Alarms, traces: DriftTraces, drift: DriftControl
) -> APIRouter:
    """Return the routes under /v1 about drift."""
    engineer = Depends(guards.needs(Scope.TUNE))
    routes = APIRouter(prefix="/v1", dependencies=[Depends(guards.needs(Scope.READ))], tags=["drift"])

    @routes.get("/alarms")
    def all_alarms() -> list[dict[str, Any]]:
        return [{**asdict(alarm), "series": alarm.series} for alarm in alarms.all()]

    @routes.get("/retrains")
    def all_retrains() -> list[dict[str, Any]]:
        return [asdict(retrain) for retrain in alarms.retrains()]

    @routes.get("/retrains/decisions")
    def retrain_decisions() -> list[dict[str, Any]]:
        return [asdict(decided) for decided in alarms.decisions()]

    @routes.post("/alarms/{alarm}/retrain", status_code=202)
    def retrain(
        alarm: Annotated[int, Path(ge=1, le=2**31 - 1)], body: WhyBody, person: Person = engineer
    ) -> dict[str, int]:
        return {"retrain": drift.start_retrain(alarm, person.name, body.reason)}

    @routes.get("/drift")
    def overview(limit: Annotated[int, Query(ge=1, le=500)] = 100) -> dict[str, Any]:
        found = drift.overview()
        return {
            "watched": len(found.watched),
            "alarmed": found.alarmed[:limit],
            "alarmed_in_all": len(found.alarmed),
            "enrolling": found.enrolling[:limit],
            "enrolling_in_all": len(found.enrolling),
            "shared": {cohort: members[:limit] for cohort, members in found.shared.items()},
        }

    @routes.get("/drift/{station}")
    def one_drift(station: str, camera: str | None = None) -> dict[str, Any]:
        _check_known(stations, station)
        found = drift.drift_of(station)
        shown = found[0] if camera is None else _of_camera(found, camera)
        brief = [{name: each[name] for name in ("camera", "phase", "sentence")} for each in found]
        return {**shown, "cameras": brief}

    @routes.get("/drift/{station}/trace")
    def trace(station: str, camera: str = "") -> dict[str, Any]:
        _check_known(stations, station)
        points = trace_of(traces, drift.newest_points, series_name(station, camera))
        return {
            "threshold_log10": drift.threshold_log10(),
            "points": [
                {
                    "at": p.at,
                    "held": p.held,
                    "inputs": p.inputs,
                    "outputs": None if math.isnan(p.outputs) else p.outputs,
                }
                for p in points
            ],
        }

    @routes.post("/drift/{station}/re-enrol", status_code=202)
    def re_enrol(station: str, body: ReEnrolBody, person: Person = engineer) -> dict[str, str]:
        _check_known(stations, station)
        found = drift.drift_of(station)
        if body.camera is None and len(found) > 1:
            raise HTTPException(422, f"say which camera: {_names(found)}")
        camera = found[0]["camera"] if body.camera is None else _of_camera(found, body.camera)["camera"]
        drift.re_enrol(series_name(station, camera), person.name, body.reason)
        return {"station": station, "camera": camera, "reason": body.reason}

    return routes


def trace_of(traces: DriftTraces, newest: Callable[[str], Sequence[TracePoint]], series: str) -> tuple[TracePoint, ...]:
    """Return a series' evidence over time, also what is not stored yet."""
    # The newest are asked for first: what is stored in between is then there twice, and not missing.
    fresh = list(newest(series))
    return with_points(traces.of(series), fresh)


def _of_camera(found: list[dict[str, Any]], camera: str) -> dict[str, Any]:
    for each in found:
        if each["camera"] == camera:
            return each
    raise HTTPException(404, f"no camera '{camera[:40]}' has sent windows; there are: {_names(found)}")


def _names(found: list[dict[str, Any]]) -> str:
    return ", ".join(sorted(each["camera"] or "'' (the first)" for each in found))


def _check_known(stations: Stations, station: str) -> None:
    try:
        stations.check_known(station)
    except InvalidConfig as error:
        raise HTTPException(404, error.one_line()) from error
