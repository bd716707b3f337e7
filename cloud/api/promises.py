"""What is promised and what is left of it, and what the fleet costs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from enum import Enum
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict

from cloud.api.auth import Guards, Scope
from cloud.ports.alarms import Retrain
from cloud.ports.promises import Promises
from cloud.slo.retrain_cost import retrain_cost
from cloud.store.costs import DAY_S, CostDay, Costs

_BUDGET: dict[str, Any] = {
    "promise": "availability",
    "target": 0.999,
    "share": 0.99962,
    "events": 1203200,
    "spent": 0.38,
    "burn": [0.0, 0.4],
    "words": "99.96 % of 1,203,200 frames captured were decided in 28 days; promised: 99.90 %; 62 % of the error budget is left",
}


class BudgetAnswer(BaseModel):
    """One promise: `share` of `events` were good, `spent` of its error budget is used up, `burn` times too fast in the last hour
    and the last six."""

    model_config = ConfigDict(json_schema_extra={"examples": [_BUDGET]})

    promise: str
    target: float
    share: float | None
    events: int
    spent: float
    burn: tuple[float, float]
    words: str


class PromisesAnswer(BaseModel):
    """Every promise, and why releases wait ("": they do not)."""

    budgets: list[BudgetAnswer]
    why_held: str


class By(str, Enum):
    """What costs are added up by."""

    STATION = "station"
    DAY = "day"


class CostRow(BaseModel):
    """What one station, or one day (UTC), cost: bytes of summaries, images and questions, images, and questions to the cloud."""

    name: str
    summary_bytes: float = 0.0
    image_bytes: float = 0.0
    images: float = 0.0
    fallback_bytes: float = 0.0
    cloud_answered: float = 0.0
    cloud_refused: float = 0.0
    cloud_dropped: float = 0.0


class RetrainRow(BaseModel):
    """What one retrain took, and the points of accuracy on drifted images that it won back."""

    retrain: int
    station: str
    camera: str
    state: str
    started_at: float
    gpu_minutes: float
    cpu_minutes: float
    labels: int
    points: float | None
    minutes_per_point: float | None


class CostsAnswer(BaseModel):
    """Costs of the last `days`."""

    days: int
    by: By
    rows: list[CostRow]
    total: CostRow
    retrains: list[RetrainRow]
    minutes_per_point: float | None


def promise_routes(
    *,
    guards: Guards,
    promises: Promises,
    costs: Costs,
    retrains: Callable[[], Sequence[Retrain]],
    now: Callable[[], float],
) -> APIRouter:
    """Return the routes under /v1 about promises and costs."""
    routes = APIRouter(prefix="/v1", dependencies=[Depends(guards.needs(Scope.READ))])

    @routes.get("/promises")
    def all_promises() -> PromisesAnswer:
        budgets = [BudgetAnswer(**{name: getattr(b, name) for name in _BUDGET}) for b in promises.budgets()]
        return PromisesAnswer(budgets=budgets, why_held=promises.why_held())

    @routes.get("/costs")
    def all_costs(by: By = By.STATION, days: Annotated[int, Query(ge=1, le=400)] = 28) -> CostsAnswer:
        today = int(now() // DAY_S)
        found = costs.days(today - days + 1, today)
        trained = [_retrain_row(each) for each in retrains() if each.started_at >= (today - days + 1) * DAY_S]
        won = [each for each in trained if each.minutes_per_point is not None]
        points = sum(each.points or 0.0 for each in won)
        minutes = sum(each.gpu_minutes + each.cpu_minutes for each in trained)
        return CostsAnswer(
            days=days,
            by=by,
            rows=_rows(found, (lambda each: each.station) if by is By.STATION else _date),
            total=next(iter(_rows(found, lambda _: "all")), CostRow(name="all")),
            retrains=trained,
            # Of all retrains: those that won nothing were paid for too.
            minutes_per_point=minutes / points if points else None,
        )

    return routes


def _rows(found: Sequence[CostDay], name_of: Callable[[CostDay], str]) -> list[CostRow]:
    sums: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for each in found:
        sums[name_of(each)][each.kind.value] += each.amount
    return [CostRow(name=name, **amounts) for name, amounts in sorted(sums.items())]


def _date(each: CostDay) -> str:
    return datetime.fromtimestamp(each.day * DAY_S, timezone.utc).date().isoformat()


def _retrain_row(retrain: Retrain) -> RetrainRow:
    cost = retrain_cost(retrain.figures)
    return RetrainRow(
        retrain=retrain.id,
        station=retrain.station,
        camera=retrain.camera,
        state=retrain.state,
        started_at=retrain.started_at,
        gpu_minutes=cost.gpu_minutes,
        cpu_minutes=cost.cpu_minutes,
        labels=cost.labels,
        # What was not released won nothing back.
        points=cost.points if retrain.state == "released" else None,
        minutes_per_point=cost.minutes_per_point if retrain.state == "released" else None,
    )
