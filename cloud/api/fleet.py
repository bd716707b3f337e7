"""What an operator sees and does: stations, accounting, alarms, retrains, versions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Protocol

import msgspec
from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from cloud.api.auth import Guards, Person, Scope
from cloud.registry.resign_status import ResignStatus
from cloud.store.samples import Samples
from cloud.store.stations import Stations
from cloud.store.summaries import Summaries


class ReasonBody(BaseModel):
    """Why a person does something."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(min_length=1, max_length=500)


class StationControl(Protocol):
    """Stops stations."""

    def stop_station(self, station: str, actor: str, reason: str) -> None:
        """Order a station to run no bundle."""


class DriftControl(Protocol):
    """What the drift detectors say."""

    def drift_of(self, station: str) -> list[dict[str, Any]]:
        """Return the drift state of each camera of the station (at least one) as JSON-ready values, alarmed ones first."""


def fleet_routes(
    *,
    guards: Guards,
    stations: Stations,
    summaries: Summaries,
    samples: Samples,
    control: StationControl,
    drift: DriftControl,
    broker_connected: Callable[[], bool],
    now: Callable[[], float],
    repository: Callable[[], ResignStatus] | None = None,
) -> APIRouter:
    """Return the routes under /v1 about the fleet. `repository` says how late the image repository is to be signed again."""
    halter = Depends(guards.needs(Scope.HALT))
    routes = APIRouter(prefix="/v1", tags=["fleet"], dependencies=[Depends(guards.needs(Scope.READ))])

    @routes.get("/fleet")
    def fleet() -> dict[str, Any]:
        totals = {t.station: asdict(t) for t in summaries.totals()}
        rows = [
            {
                **asdict(s),
                "health": msgspec.to_builtins(s.health),
                "totals": totals.get(s.station),
                "drift": found[0],
                "cameras": found,
            }
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
