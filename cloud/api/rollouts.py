"""Rollouts over HTTP: look at them, start them, and whatever people do to them on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, HTTPException, Path, Query

from cloud.api.auth import Guards, Person, Scope
from cloud.api.examples import example
from cloud.api.idempotency import FirstAnswers, IdempotencyKey
from cloud.api.rollout_acts import RolloutActs
from cloud.api.rollout_answers import EXAMPLE, EXAMPLE_STATION, INLINE_STATIONS, rollout_json, station_json
from cloud.api.rollout_bodies import (
    AbBody,
    ConcludeBody,
    NoteBody,
    PlanBody,
    ReasonedBody,
    RollbackBody,
    SeenBody,
    StartBody,
)
from cloud.ports.rollouts import ApprovalBook, Rollout
from cloud.rollout.evidence import read_evidence
from cloud.rollout.rollout_states import MemberState
from cloud.store.rollout_reading import RolloutReading, Wanted

_Id = Annotated[int, Path(ge=1, le=2**31 - 1, description="a rollout's number")]
_PLAIN = r"^[^\x00-\x1f\x7f]*$"
_STARTED = {"rollout": 3}


def rollout_routes(
    *, guards: Guards, reading: RolloutReading, approvals: ApprovalBook, acts: RolloutActs, first_answers: FirstAnswers
) -> APIRouter:
    """Return the routes under /v1/rollouts."""
    routes = APIRouter(
        prefix="/v1/rollouts",
        dependencies=[Depends(guards.needs(Scope.READ))],
        tags=["rollouts"],
    )
    _add_looking(routes, reading, approvals)
    _add_starting(routes, Depends(guards.needs(Scope.RELEASE)), acts, first_answers)
    _add_steering(routes, guards, acts, first_answers)
    return routes


def _add_looking(routes: APIRouter, reading: RolloutReading, approvals: ApprovalBook) -> None:
    def shown(found: Sequence[Rollout], *, stations: bool) -> list[dict[str, Any]]:
        counted = reading.counts([each.id for each in found])
        rows = [rollout_json(each, counted[each.id], approvals.of(each.id)) for each in found]
        for row in rows:
            few = stations and row["station_count"] <= INLINE_STATIONS
            members = reading.stations(row["id"], Wanted(), 0, INLINE_STATIONS)[0] if few else None
            row["stations"] = None if members is None else [station_json(each) for each in members]
        return rows

    @routes.get("", summary="List rollouts", responses=example([EXAMPLE]))
    def all_rollouts(
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        before: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
        stations: Annotated[bool, Query(description="list the stations of those that have few")] = True,
    ) -> list[dict[str, Any]]:
        """The newest first; for the next page, ask with the last id of this one as `before`. The stations of a rollout of more than
        200 are behind `stations_at`, and `stations` is null."""
        return shown(reading.newest(limit, before), stations=stations)

    @routes.get("/{rollout}", summary="Show one rollout", responses=example(EXAMPLE))
    def one(rollout: _Id) -> dict[str, Any]:
        return shown([reading.one(rollout)], stations=True)[0]

    @routes.get(
        "/{rollout}/stations",
        summary="List a rollout's stations",
        responses=example({"total": 1, "stations": [EXAMPLE_STATION]}),
    )
    def stations_of(
        rollout: _Id,
        state: Annotated[list[MemberState] | None, Query(description="only these states")] = None,
        wave: Annotated[int | None, Query(ge=0, le=2**31 - 1)] = None,
        text: Annotated[str, Query(max_length=63, pattern=_PLAIN, description="what the name must hold")] = "",
        start: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> dict[str, Any]:
        """By wave and name, from number `start` on; `said` is what a station last said of its order, such as why it tries again."""
        wanted = Wanted(tuple(state or ()), wave, text)
        rows, total = reading.stations(reading.one(rollout).id, wanted, start, limit)
        return {"total": total, "stations": [station_json(each) for each in rows]}

    @routes.get(
        "/{rollout}/timeline",
        summary="What happened to a rollout",
        responses=example([{"at": 1795200000.0, "actor": "anna", "act": "pause", "detail": "rollout 3 (v2): lunch"}]),
    )
    def timeline(rollout: _Id) -> list[dict[str, Any]]:
        """The latest 200 acts on the rollout as a whole, newest first; those on single stations are in the audit log."""
        return [asdict(each) for each in reading.timeline(reading.one(rollout).id)]

    @routes.get(
        "/{rollout}/ab",
        summary="The report of an A/B rollout",
        responses=example({"arms": [], "differences": [], "confidence": 0.95}),
    )
    def ab(rollout: _Id) -> Any:
        found = reading.one(rollout)
        if found.kind != "ab":
            raise HTTPException(409, f"rollout {rollout} holds no two versions side by side; it is a {found.kind}")
        report = read_evidence(found.evidence).ab
        if report is None:
            raise HTTPException(409, f"rollout {rollout} has no report yet; both arms must have run for a while")
        return msgspec.to_builtins(report)


def _add_starting(routes: APIRouter, releaser: Any, acts: RolloutActs, first_answers: FirstAnswers) -> None:
    starts = example(_STARTED, 201)

    @routes.post("", status_code=201, summary="Start a rollout", responses=starts)
    def start(body: StartBody, key: IdempotencyKey = "", person: Person = releaser) -> dict[str, Any]:
        """Canary first, then in waves. Refused, with the number of the other, while one is under way."""
        return first_answers.once(
            person.name,
            key,
            ("start", body.model_dump_json()),
            lambda: {"rollout": acts.start(body.version, person.name, body.reason, _asked(body.plan))},
        )

    @routes.post("/rollback", status_code=201, summary="Bring the fleet back to an earlier version", responses=starts)
    def roll_back(body: RollbackBody, key: IdempotencyKey = "", person: Person = releaser) -> dict[str, Any]:
        """Every station at once: what it leaves is known to be worse."""
        return first_answers.once(
            person.name,
            key,
            ("rollback", body.model_dump_json()),
            lambda: {"rollout": acts.roll_back(body.version, person.name, body.reason)},
        )

    @routes.post("/ab", status_code=201, summary="Hold two versions side by side", responses=starts)
    def start_ab(body: AbBody, key: IdempotencyKey = "", person: Person = releaser) -> dict[str, Any]:
        return first_answers.once(
            person.name,
            key,
            ("ab", body.model_dump_json()),
            lambda: {"rollout": acts.start_ab(body.version, person.name, body.reason, body.share, body.until)},
        )


def _add_steering(routes: APIRouter, guards: Guards, acts: RolloutActs, first_answers: FirstAnswers) -> None:
    releaser, halter = Depends(guards.needs(Scope.RELEASE)), Depends(guards.needs(Scope.HALT))
    steps = example(_STARTED, 202)

    def once(act: Callable[..., None], key: str, rollout: int, person: Person, body: Any, *more: Any) -> dict[str, Any]:
        def do() -> dict[str, Any]:
            act(rollout, person.name, *more, body.seen_state)
            return {"rollout": rollout}

        return first_answers.once(person.name, key, (act.__name__, rollout, body.model_dump_json()), do)

    @routes.post("/{rollout}/approve", status_code=202, summary="Approve a rollout", responses=steps)
    def approve(rollout: _Id, body: NoteBody, key: IdempotencyKey = "", person: Person = releaser) -> dict[str, Any]:
        """Not by who started it: it takes two people."""
        return once(acts.approve, key, rollout, person, body, body.note)

    @routes.post("/{rollout}/reject", status_code=202, summary="Say no to a rollout", responses=steps)
    def reject(rollout: _Id, body: ReasonedBody, key: IdempotencyKey = "", person: Person = releaser) -> dict[str, Any]:
        """It does not begin while somebody says no; abort it to be rid of it."""
        return once(acts.reject, key, rollout, person, body, body.reason)

    @routes.post("/{rollout}/pause", status_code=202, summary="Pause a rollout", responses=steps)
    def pause(rollout: _Id, body: ReasonedBody, key: IdempotencyKey = "", person: Person = halter) -> dict[str, Any]:
        """No station is ordered until it is resumed; too many failures still abort it."""
        return once(acts.pause, key, rollout, person, body, body.reason)

    @routes.post("/{rollout}/resume", status_code=202, summary="Resume a paused rollout", responses=steps)
    def resume(rollout: _Id, body: SeenBody, key: IdempotencyKey = "", person: Person = releaser) -> dict[str, Any]:
        return once(acts.resume, key, rollout, person, body)

    @routes.post("/{rollout}/abort", status_code=202, summary="Abort a rollout", responses=steps)
    def abort(rollout: _Id, body: ReasonedBody, key: IdempotencyKey = "", person: Person = halter) -> dict[str, Any]:
        """Dispatch stops, then every station that was ordered is ordered back."""
        return once(acts.abort, key, rollout, person, body, body.reason)

    @routes.post("/{rollout}/conclude", status_code=202, summary="End an A/B rollout", responses=steps)
    def conclude(
        rollout: _Id, body: ConcludeBody, key: IdempotencyKey = "", person: Person = releaser
    ) -> dict[str, Any]:
        return once(acts.conclude_ab, key, rollout, person, body, body.keep, body.reason)


def _asked(plan: PlanBody) -> dict[str, Any]:
    return plan.model_dump(exclude_none=True)
