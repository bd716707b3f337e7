"""What an operator orders as settings for stations, and how they stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from cloud.api.auth import Guards, Person, Scope
from contract.config_states import MAX_PROBATION_S, MAX_SETTINGS_BYTES, MIN_PROBATION_S


class ConfigurationBody(BaseModel):
    """Settings for stations: TOML text to lie over agent.toml; "" takes every remote setting back."""

    model_config = ConfigDict(extra="forbid")

    stations: list[str] = Field(min_length=1, max_length=10_000)
    settings: str = Field(max_length=MAX_SETTINGS_BYTES)
    reason: str = Field(default="", max_length=500)
    probation_s: float = Field(default=60.0, ge=MIN_PROBATION_S, le=MAX_PROBATION_S)


class ConfigurationControl(Protocol):
    """Orders settings and says how they stand."""

    def order(
        self, stations: Sequence[str], settings: str, probation_s: float, reason: str, actor: str
    ) -> list[dict[str, Any]]:
        """Order settings for each of `stations`."""

    def show(self, station: str) -> dict[str, Any]:
        """Return what was ordered for a station and what it reports."""


def configuration_routes(*, guards: Guards, control: ConfigurationControl) -> APIRouter:
    """Return the routes under /v1/configurations."""
    engineer = Depends(guards.needs(Scope.TUNE))
    routes = APIRouter(prefix="/v1/configurations", tags=["settings"], dependencies=[Depends(guards.needs(Scope.READ))])

    @routes.post("", status_code=201)
    def order(body: ConfigurationBody, person: Person = engineer) -> list[dict[str, Any]]:
        return control.order(body.stations, body.settings, body.probation_s, body.reason, person.name)

    @routes.get("/{station}")
    def show(station: str) -> dict[str, Any]:
        return control.show(station)

    return routes
