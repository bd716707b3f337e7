"""What an operator sees and does: stations, accounting, alarms, retrains, versions, rollouts, the audit log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Depends, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field

from cloud.api.auth import Guards, Person, Scope
from cloud.ports.series import series_name
from cloud.registry.resign_status import ResignStatus
from cloud.store.alarms import Alarms
from cloud.store.audit import AuditLog
from cloud.store.rollouts import Rollouts
from cloud.store.samples import Samples
from cloud.store.stations import Stations
from cloud.store.summaries import Summaries
from contract.errors import NotFound, PlumblineError
from contract.ids import MAX_CAMERA_CHARS


class RolloutBody(BaseModel):
    """Roll a released version out."""

    model_config = ConfigDict(extra="forbid")

    version: str = Field(min_length=1, max_length=80)


class ReasonBody(BaseModel):
    """Why a person does something."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(min_length=1, max_length=500)


class ReEnrolBody(ReasonBody):
    """Why a camera is learnt anew; `camera` may be left out where the station has one."""

    camera: str | None = Field(default=None, max_length=MAX_CAMERA_CHARS)


class RolloutControl(Protocol):
    """Starts and stops rollouts."""

    def start(self, version: str, changed: tuple[str, ...], actor: str) -> int:
        """Start a rollout of a released version and return its id."""

    def abort(self, rollout: int, actor: str, reason: str) -> None:
        """Stop a rollout and bring its stations back."""

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
    rollouts: Rollouts,
    audit: AuditLog,
    control: RolloutControl,
    drift: DriftControl,
    broker_connected: Callable[[], bool],
    now: Callable[[], float],
    repository: Callable[[], ResignStatus] | None = None,
) -> APIRouter:
    """Return the routes under /v1 about the fleet. `repository` says how late the image repository is to be signed again."""
    engineer, halter, releaser = (Depends(guards.needs(s)) for s in (Scope.TUNE, Scope.HALT, Scope.RELEASE))
    routes = APIRouter(prefix="/v1", dependencies=[Depends(guards.needs(Scope.READ))])

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
        _answer(stations.check_known, station)
        found = drift.drift_of(station)
        shown = found[0] if camera is None else _of_camera(found, camera)
        brief = [{name: each[name] for name in ("camera", "phase", "sentence")} for each in found]
        return {**shown, "cameras": brief}

    @routes.post("/drift/{station}/re-enrol", status_code=202)
    def re_enrol(station: str, body: ReEnrolBody, person: Person = engineer) -> dict[str, str]:
        _answer(stations.check_known, station)
        found = drift.drift_of(station)
        if body.camera is None and len(found) > 1:
            raise HTTPException(422, f"say which camera: {_names(found)}")
        camera = found[0]["camera"] if body.camera is None else _of_camera(found, body.camera)["camera"]
        drift.re_enrol(series_name(station, camera), person.name, body.reason)
        return {"station": station, "camera": camera, "reason": body.reason}

    @routes.get("/rollouts")
    def all_rollouts() -> list[dict[str, Any]]:
        return [{**asdict(r), "stations": [asdict(m) for m in rollouts.members(r.id)]} for r in rollouts.all()]

    @routes.post("/rollouts", status_code=201)
    def start(body: RolloutBody, person: Person = releaser) -> dict[str, Any]:
        return {"rollout": _answer(control.start, body.version, (), person.name)}

    @routes.post("/rollouts/{rollout}/abort", status_code=202)
    def abort(rollout: int, body: ReasonBody, person: Person = halter) -> dict[str, Any]:
        _answer(control.abort, rollout, person.name, body.reason)
        return {"rollout": rollout}

    @routes.post("/stations/{station}/stop", status_code=202)
    def stop_station(station: str, body: ReasonBody, person: Person = halter) -> dict[str, str]:
        _answer(stations.check_known, station)
        _answer(control.stop_station, station, person.name, body.reason)
        return {"station": station}

    @routes.get("/audit")
    def entries(
        after: Annotated[int, Query(ge=0, le=2**62)] = 0, limit: Annotated[int, Query(ge=1, le=5000)] = 1000
    ) -> dict[str, Any]:
        return {"entries": [asdict(e) for e in audit.entries(limit, after)], "first_broken": audit.first_broken()}

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


def _answer(call: Callable[..., Any], *arguments: Any) -> Any:
    """Return call(*arguments); an error of ours becomes an answer that says what to do."""
    try:
        return call(*arguments)
    except NotFound as error:
        raise HTTPException(404, error.one_line()) from error
    except PlumblineError as error:
        raise HTTPException(503 if error.retry else 409, error.one_line()) from error
