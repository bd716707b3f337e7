"""What an operator sees and does: stations, accounting, alarms, retrains, versions, rollouts, the audit log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Depends, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field

from cloud.api.auth import Role, role_guard
from cloud.ports.registry import Releases
from cloud.store.alarms import Alarms
from cloud.store.audit import AuditLog
from cloud.store.rollouts import Rollouts
from cloud.store.samples import Samples
from cloud.store.stations import Stations
from cloud.store.summaries import Summaries
from contract.errors import NotFound, PlumblineError


class RolloutBody(BaseModel):
    """Roll a released version out."""

    model_config = ConfigDict(extra="forbid")

    version: str = Field(min_length=1, max_length=80)


class ReasonBody(BaseModel):
    """Why a person does something."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(min_length=1, max_length=500)


class RolloutControl(Protocol):
    """Starts and stops rollouts."""

    def start(self, version: str, changed: tuple[str, ...], actor: str) -> int:
        """Start a rollout of a released version and return its id."""

    def abort(self, rollout: int, actor: str, reason: str) -> None:
        """Stop a rollout and bring its stations back."""


class DriftControl(Protocol):
    """What the drift detectors say, and the order to learn a station anew."""

    def drift_status(self, station: str) -> dict[str, Any]:
        """Return the station's drift state as JSON-ready values."""

    def re_enrol(self, station: str, actor: str, reason: str) -> None:
        """Take what the station sees from now on as its normal."""


def fleet_routes(
    *,
    tokens: Mapping[Role, str],
    stations: Stations,
    summaries: Summaries,
    samples: Samples,
    alarms: Alarms,
    rollouts: Rollouts,
    releases: Releases,
    audit: AuditLog,
    control: RolloutControl,
    drift: DriftControl,
    broker_connected: Callable[[], bool],
    now: Callable[[], float],
) -> APIRouter:
    """Return the operator's routes under /v1."""
    routes = APIRouter(prefix="/v1", dependencies=[Depends(role_guard(tokens, Role.OPERATOR))])

    @routes.get("/fleet")
    def fleet() -> dict[str, Any]:
        totals = {t.station: asdict(t) for t in summaries.totals()}
        rows = [
            {**asdict(s), "totals": totals.get(s.station), "drift": drift.drift_status(s.station)}
            for s in stations.status()
        ]
        waiting, labelled = samples.counts()
        return {
            "at": now(),
            "broker_connected": broker_connected(),
            "stations": rows,
            "strangers": stations.strangers(),
            "review": {"waiting": waiting, "labelled": labelled},
            "dead_letters": summaries.dead_letter_count(),
        }

    @routes.get("/alarms")
    def all_alarms() -> list[dict[str, Any]]:
        return [asdict(alarm) for alarm in alarms.all()]

    @routes.get("/retrains")
    def all_retrains() -> list[dict[str, Any]]:
        return [asdict(retrain) for retrain in alarms.retrains()]

    @routes.get("/drift/{station}")
    def one_drift(station: str) -> dict[str, Any]:
        _answer(stations.check_known, station)
        return drift.drift_status(station)

    @routes.post("/drift/{station}/re-enrol", status_code=202)
    def re_enrol(station: str, body: ReasonBody) -> dict[str, str]:
        _answer(stations.check_known, station)
        drift.re_enrol(station, Role.OPERATOR.value, body.reason)
        return {"station": station, "reason": body.reason}

    @routes.get("/versions")
    def versions() -> list[dict[str, Any]]:
        shown = ("version", "digest", "size_bytes", "created_at", "release_counter")
        return [{name: getattr(release, name) for name in shown} for release in releases.all()]

    @routes.get("/rollouts")
    def all_rollouts() -> list[dict[str, Any]]:
        return [{**asdict(r), "stations": [asdict(m) for m in rollouts.members(r.id)]} for r in rollouts.all()]

    @routes.post("/rollouts", status_code=201)
    def start(body: RolloutBody) -> dict[str, Any]:
        return {"rollout": _answer(control.start, body.version, (), Role.OPERATOR.value)}

    @routes.post("/rollouts/{rollout}/abort", status_code=202)
    def abort(rollout: int, body: ReasonBody) -> dict[str, Any]:
        _answer(control.abort, rollout, Role.OPERATOR.value, body.reason)
        return {"rollout": rollout}

    @routes.get("/audit")
    def entries(
        after: Annotated[int, Query(ge=0, le=2**62)] = 0, limit: Annotated[int, Query(ge=1, le=5000)] = 1000
    ) -> dict[str, Any]:
        return {"entries": [asdict(e) for e in audit.entries(limit, after)], "first_broken": audit.first_broken()}

    return routes


def _answer(call: Callable[..., Any], *arguments: Any) -> Any:
    """Return call(*arguments); an error of ours becomes an answer that says what to do."""
    try:
        return call(*arguments)
    except NotFound as error:
        raise HTTPException(404, error.one_line()) from error
    except PlumblineError as error:
        raise HTTPException(503 if error.retry else 409, error.one_line()) from error
