"""Released versions over HTTP: where each stands, why, what it came from; retiring them and naming them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response

from cloud.api.auth import Guards, Person, Scope
from cloud.api.version_bodies import (
    AliasBody,
    AliasName,
    AliasTold,
    RetireBody,
    StageTold,
    UnretireBody,
    VersionListed,
    VersionName,
    VersionTold,
)
from cloud.api.version_desk import VersionDesk
from cloud.api.version_facts import VersionBook, VersionDetail, VersionFacts

# A report is one page of text and SVG: whatever a damaged or foreign one holds, nothing of it runs, loads, or leads anywhere.
REPORT_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'self'",
    "X-Frame-Options": "SAMEORIGIN",
    "Content-Disposition": "inline",
}
_HTML: dict[int | str, dict[str, Any]] = {
    200: {"description": "One HTML page", "content": {"text/html": {"schema": {"type": "string"}}}}
}


def version_routes(guards: Guards, book: VersionBook, desk: VersionDesk) -> APIRouter:
    """Return the routes under /v1 about versions and aliases."""
    reader, releaser = Depends(guards.needs(Scope.READ)), Depends(guards.needs(Scope.RELEASE))
    looker = Depends(guards.needs(Scope.READ, from_pages=True))
    routes = APIRouter(prefix="/v1", tags=["versions"])

    @routes.get("/versions", summary="Every version, newest first")
    def versions(_person: Person = reader) -> list[VersionListed]:
        return [VersionListed(**listed(each)) for each in book.all()]

    @routes.get("/versions/{version}", summary="One version, with its gate, its card and its lineage")
    def version(version: VersionName, _person: Person = reader) -> VersionTold:
        return VersionTold(**told(book, book.get(version)))

    @routes.get(
        "/versions/{version}/report", summary="The gate's report for people", response_class=Response, responses=_HTML
    )
    def report(version: VersionName, _person: Person = looker) -> Response:
        return Response(book.report_page(version), media_type="text/html; charset=utf-8", headers=REPORT_HEADERS)

    @routes.post("/versions/{version}/retire", summary="Let nobody be ordered to run a version")
    def retire(version: VersionName, body: RetireBody, person: Person = releaser) -> StageTold:
        return _stands(desk, desk.retire(version, person.name, body.reason, safe=body.safe))

    @routes.post("/versions/{version}/unretire", summary="Let a retired version be ordered again")
    def unretire(version: VersionName, body: UnretireBody, person: Person = releaser) -> StageTold:
        return _stands(desk, desk.unretire(version, person.name, body.reason))

    @routes.get("/aliases", summary="What each alias means")
    def aliases(_person: Person = reader) -> list[AliasTold]:
        return [AliasTold(**asdict(each)) for each in desk.versions.aliases()]

    @routes.put("/aliases/{alias}", summary="Let an alias mean a version")
    def set_alias(alias: AliasName, body: AliasBody, person: Person = releaser) -> AliasTold:
        desk.set_alias(alias, body.version, person.name, body.reason, shown=body.was)
        return AliasTold(**next(asdict(each) for each in desk.versions.aliases() if each.alias == alias))

    @routes.delete("/aliases/{alias}", status_code=204, summary="Let an alias mean nothing")
    def drop_alias(
        alias: AliasName, reason: Annotated[str, Query(max_length=500)] = "", person: Person = releaser
    ) -> Response:
        desk.drop_alias(alias, person.name, reason)
        return Response(status_code=204)

    return routes


def _stands(desk: VersionDesk, version: str) -> StageTold:
    return StageTold(version=version, stage=desk.versions.stages()[version].stage)


def listed(facts: VersionFacts) -> dict[str, Any]:
    released, stands = facts.released, facts.stands
    return {
        **{n: getattr(released, n) for n in ("version", "digest", "size_bytes", "created_at", "release_counter")},
        "stage": stands.stage,
        "stage_by": stands.actor,
        "stage_why": stands.reason,
        "stage_at": stands.at,
        "aliases": list(facts.aliases),
        "gate": asdict(facts.gate) if facts.gate else None,
        "stations": len(facts.stations),
        "disk_bytes": facts.disk_bytes,
        "simulated": released.simulated,
    }


def told(book: VersionBook, detail: VersionDetail) -> dict[str, Any]:
    released, graph = detail.facts.released, book.lineage(detail.facts.version)
    checks = detail.gate.checks if detail.gate else ()
    hashes = {
        "bundle": released.digest,
        "full_precision": released.full_precision,
        "gate_report": released.gate_report,
        "dataset": released.lineage.dataset,
        "recipe": released.lineage.recipe,
    }
    return {
        **listed(detail.facts),
        "released_by": detail.released_by,
        "stations_named": list(detail.facts.stations),
        "checks": [{"name": c.name, "passed": c.passed, "sentence": c.sentence, "figures": c.figures} for c in checks],
        "card": detail.card,
        "lineage": [{"id": n.id, "kind": n.kind.value, "text": n.text, "detail": n.detail} for n in graph.nodes],
        "edges": list(graph.edges),
        "hashes": {name: value for name, value in hashes.items() if value},
        "files": {each.name: each.sha256 for each in detail.manifest.files} if detail.manifest else {},
        "rollouts": list(detail.rollouts),
        "needed": list(detail.needed),
        "gaps": [*detail.gaps, *graph.gaps],
    }
