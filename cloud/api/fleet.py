"""What an operator sees and does: stations, accounting, alarms, retrains, versions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Protocol

from fastapi import APIRouter, Depends, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from cloud.api.auth import Guards, Person, Scope
from cloud.ports.registry import Releases
from cloud.ports.series import series_name
from cloud.registry.resign_status import ResignStatus
from cloud.store.alarms import Alarms
from cloud.store.samples import Samples
from cloud.store.stations import Stations
from cloud.store.summaries import Summaries
from contract.ids import MAX_CAMERA_CHARS


class ReasonBody(BaseModel):
    """Why a person does something."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(min_length=1, max_length=500)


class ReEnrolBody(ReasonBody):
    """Why a camera is learnt anew; `camera` may be left out where the station has one."""

    camera: str | None = Field(default=None, max_length=MAX_CAMERA_CHARS)


class StationControl(Protocol):
    """Stops stations."""

    def stop_station(self, station: str, actor: str, reason: str) -> None:
        """Order a station to run no bundle."""


class DriftControl(Protocol):
    """What the drift detectors say, and the order to learn a station anew."""

    def drift_of(self, station: str) -> list[dict[str, Any]]:
        """Return the drift state of each camera of the station (at least one) as JSON-ready values, alarmed ones first."""

    def re_enrol(self, series: str, actor: str, reason: str) -> None:
        """Take what the series' camera sees from now on as its normal."""


def fleet_routes(
    *,
    guards: Guards,
    stations: Stations,
    summaries: Summaries,
    samples: Samples,
    alarms: Alarms,
    releases: Releases,
    control: StationControl,
    drift: DriftControl,
    broker_connected: Callable[[], bool],
    now: Callable[[], float],
    repository: Callable[[], ResignStatus] | None = None,
) -> APIRouter:
    """Return the routes under /v1 about the fleet. `repository` says how late the image repository is to be signed again."""
    engineer, halter = Depends(guards.needs(Scope.TUNE)), Depends(guards.needs(Scope.HALT))
    routes = APIRouter(prefix="/v1", tags=["fleet"], dependencies=[Depends(guards.needs(Scope.READ))])

    @routes.get("/fleet")
    def fleet() -> dict[str, Any]:
        totals = {t.station: asdict(t) for t in summaries.totals()}
        rows = [
            {**asdict(s), "totals": totals.get(s.station), "drift": found[0], "cameras": found}
            for s in stations.status()
            if (found := [_brief(each) for each in drift.drift_of(s.station)])
        ]
        waiting, labelled = samples.counts()
        return {
            "at": now(),
            "broker_connected": broker_connected(),
            "stations": rows,
            "strangers": stations.strangers(),
            "review": {"waiting": waiting, "labelled": labelled},
            "dead_letters": summaries.dead_letter_count(),
            "repository": _repository(repository()) if repository else None,
        }

    @routes.get("/alarms")
    def all_alarms() -> list[dict[str, Any]]:
        return [{**asdict(alarm), "series": alarm.series} for alarm in alarms.all()]

    @routes.get("/retrains")
    def all_retrains() -> list[dict[str, Any]]:
        return [asdict(retrain) for retrain in alarms.retrains()]

    @routes.get("/retrains/decisions")
    def retrain_decisions() -> list[dict[str, Any]]:
        return [asdict(decided) for decided in alarms.decisions()]

    @routes.get("/drift/{station}")
    def one_drift(station: str, camera: str | None = None) -> dict[str, Any]:
        stations.check_known(station)
        found = drift.drift_of(station)
        shown = found[0] if camera is None else _of_camera(found, camera)
        brief = [{name: each[name] for name in ("camera", "phase", "sentence")} for each in found]
        return {**shown, "cameras": brief}

    @routes.post("/drift/{station}/re-enrol", status_code=202)
    def re_enrol(station: str, body: ReEnrolBody, person: Person = engineer) -> dict[str, str]:
        stations.check_known(station)
        found = drift.drift_of(station)
        if body.camera is None and len(found) > 1:
            raise HTTPException(422, f"say which camera: {_names(found)}")
        camera = found[0]["camera"] if body.camera is None else _of_camera(found, body.camera)["camera"]
        drift.re_enrol(series_name(station, camera), person.name, body.reason)
        return {"station": station, "camera": camera, "reason": body.reason}

    @routes.get("/versions")
    def versions() -> list[dict[str, Any]]:
        shown = ("version", "digest", "size_bytes", "created_at", "release_counter")
        return [{name: getattr(release, name) for name in shown} for release in releases.all()]

    @routes.post("/stations/{station}/stop", status_code=202)
    def stop_station(station: str, body: ReasonBody, person: Person = halter) -> dict[str, str]:
        stations.check_known(station)
        control.stop_station(station, person.name, body.reason)
        return {"station": station}

    return routes


def _repository(status: ResignStatus) -> dict[str, Any]:
    return {**asdict(status), "late": status.late, "sentence": status.in_words()}


def _brief(drift: dict[str, Any]) -> dict[str, Any]:
    """Return a camera's drift with one sentence on its labels: all of it is behind /v1/drift, and long for many labels."""
    return {**drift, "labels": {"sentence": drift["labels"]["sentence"]}}


def _of_camera(found: list[dict[str, Any]], camera: str) -> dict[str, Any]:
    for each in found:
        if each["camera"] == camera:
            return each
    raise HTTPException(404, f"no camera '{camera[:40]}' has sent windows; there are: {_names(found)}")


def _names(found: list[dict[str, Any]]) -> str:
    return ", ".join(sorted(each["camera"] or "'' (the first)" for each in found))
