"""The audit log over HTTP: who did what, whether the chain holds, and all of it as CSV."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse

from cloud.api.auth import Guards, Scope
from cloud.api.examples import example
from cloud.store.audit import AuditLog
from cloud.store.audit_csv import audit_csv
from contract.errors import TransientError

# No control characters: a database refuses some (PostgreSQL: zero).
_PLAIN = r"^[^\x00-\x1f\x7f]*$"
_Number = Annotated[int, Query(ge=0, le=2**62)]
_Words = Annotated[str, Query(max_length=120, pattern=_PLAIN)]
_Hash = Annotated[str, Query(pattern=r"^([0-9a-f]{64})?$", description="a head that an earlier answer gave")]

_HEAD = "9f2c61be1f0b5fd5f1a3a4e1f6ce2bd4b96a1f0c8a7be7a1ad8a1c1a6c0e7d55"
_ENTRY = {
    "id": 42,
    "at": 1795200000.0,
    "actor": "anna",
    "act": "abort",
    "detail": "rollout 3 (v2): wrong lamp",
    "hash": _HEAD,
}
_CHECK = {
    "intact": True,
    "entries": 42,
    "head_id": 42,
    "head": _HEAD,
    "first_broken": None,
    "witness": "",
    "witness_id": None,
    "cut_off": False,
    "sentence": "chain intact: 42 entries",
}


def audit_routes(*, guards: Guards, audit: AuditLog) -> APIRouter:
    """Return the routes under /v1/audit."""
    looking = Depends(guards.needs(Scope.READ))
    # A long log takes seconds of a processor: asked for by everybody at once, it would keep everybody else from an answer.
    walking = threading.Lock()
    routes = APIRouter(prefix="/v1/audit", dependencies=[looking], tags=["audit"])

    @routes.get("", summary="List acts", responses=example({"entries": [_ENTRY]}))
    def entries(
        after: _Number = 0,
        before: Annotated[int | None, Query(ge=0, le=2**62)] = None,
        limit: Annotated[int, Query(ge=1, le=5000)] = 1000,
        actor: _Words = "",
        act: _Words = "",
        text: _Words = "",
    ) -> dict[str, Any]:
        """The newest `limit` acts with ids above `after` and below `before`, oldest first. For the page before, ask with the first
        id of this one as `before`. `text` is looked for in the detail."""
        found = audit.entries(limit, after, before=before, actor=actor, act=act, text=text)
        return {"entries": [asdict(each) for each in found]}

    @routes.get("/verify", summary="Walk the hash chain", responses=example(_CHECK))
    def verify(head: _Hash = "") -> dict[str, Any]:
        """Each entry's hash covers the one before, so whatever was changed or taken out shows, save at the end: keep `head`, and
        give it later to see whether anything behind was cut off."""
        if not walking.acquire(blocking=False):
            raise TransientError("the chain is walked for somebody else just now", hint="ask again in a moment")
        try:
            found = audit.check(head)
        finally:
            walking.release()
        return {**asdict(found), "intact": found.intact, "cut_off": found.cut_off, "sentence": found.in_words()}

    @routes.get(
        "/export",
        summary="All of it as CSV",
        response_class=StreamingResponse,
        responses={
            200: {"content": {"text/csv": {"example": "id,at,actor,act,detail,hash\r\n42,2026-11-21T...Z,..."}}}
        },
    )
    def export(actor: _Words = "", act: _Words = "", text: _Words = "") -> StreamingResponse:
        """Newest first. What a spreadsheet would run as a formula is quoted with an apostrophe."""
        rows: Iterator[str] = audit_csv(audit, actor=actor, act=act, text=text)
        first = next(rows)  # a database that is away is an answer of its own, not half a file

        def lines() -> Iterator[str]:
            yield first
            yield from rows

        name = {"Content-Disposition": 'attachment; filename="audit.csv"'}
        return StreamingResponse(lines(), media_type="text/csv", headers=name)

    return routes
