"""The inspector's part: what waits for a label, its pixels, and the label."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, HTTPException, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from cloud.api.answer_shown import check_may_see_answer, looked_at
from cloud.api.auth import Guards, Person, Scope
from cloud.api.images import without_words
from cloud.ports.registry import ImageFiles
from cloud.review.agreement import standing_acts
from cloud.review.label_choice import LabelChoice
from cloud.review.labellers import agreement
from cloud.review.why_asked import why_asked
from cloud.store.review_claims import LEASE_S, ReviewClaims
from cloud.store.samples import Samples
from contract.errors import BadImage, NotFound, RefusedError, TransientError

# No control characters: a database refuses some (PostgreSQL: zero), and a log or a table shows none of them.
_PLAIN = r"^[^\x00-\x1f\x7f]*$"
_PIXELS: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}, "description": "The frame as PNG"}}
_Name = Annotated[str, Path(pattern=_PLAIN)]
_Whose = Annotated[str, Query(max_length=120, pattern=_PLAIN)]
SHARED_TOKENS = frozenset({"inspector", "operator"})
"""People of the token files that `init` writes: whoever holds one says who they are. Everybody else labels in their own name."""


class LabellerBody(BaseModel):
    """Who does it; may be left out by whoever has a token of their own."""

    model_config = ConfigDict(extra="forbid")

    labeller: str = Field(default="", max_length=120, pattern=_PLAIN)


class LabelBody(LabellerBody):
    """A person's label for one part ("a;b" where the model's labels do not exclude each other). `resolve`: it settles what others
    disagree on, for a `reason`; an engineer does."""

    label: str = Field(min_length=1, max_length=120, pattern=_PLAIN)
    resolve: bool = False
    reason: str = Field(default="", max_length=500, pattern=_PLAIN)


def labeller_of(person: Person, given: str) -> str:
    """Return in whose name a request labels.

    Raises:
        HTTPException: 422, a shared token and no name, or a token of one's own and another's name.
    """
    if person.name not in SHARED_TOKENS:
        if given not in ("", person.name):
            raise HTTPException(422, f"this token is {person.name}'s: leave labeller out, or give that name")
        return person.name
    if not given:
        raise HTTPException(422, "the token of a file is many people's: say who you are in labeller")
    if given.casefold() == "plumbline":
        raise HTTPException(422, "'plumbline' is what the audit log calls what policy did: say who you are in labeller")
    return given


def review_routes(
    *,
    guards: Guards,
    samples: Samples,
    claims: ReviewClaims,
    images: ImageFiles,
    choice: Callable[[], LabelChoice],
    now: Callable[[], float],
) -> APIRouter:
    """Return the routes under /v1/review."""
    inspector = Depends(guards.needs(Scope.REVIEW))
    engineer = Depends(guards.needs(Scope.TUNE))
    routes = APIRouter(prefix="/v1/review", tags=["review"])
    asked = APIRouter(dependencies=[inspector])
    # A page shows the pixels as an image, which the browser asks for with the page's cookie.
    shown = APIRouter(dependencies=[Depends(guards.needs(Scope.REVIEW, from_pages=True))])

    @asked.get("/queue")
    def queue(
        limit: Annotated[int, Query(ge=1, le=500)] = 50, labeller: _Whose = "", person: Person = inspector
    ) -> dict[str, Any]:
        # Whoever says who they are is not shown what they labelled, and is shown some of what one other person did.
        whose = labeller if person.name in SHARED_TOKENS else labeller_of(person, labeller)
        waiting, labelled = samples.counts(whose)
        # The model's own answer stays out of the queue: a person who sees it tends to agree with it.
        columns = ("sample", "station", "camera", "part", "captured_at", "reason")
        items = [
            {**{name: getattr(s, name) for name in columns}, "why": why_asked(s.reason, s.novelty, s.again)}
            for s in samples.waiting(limit, whose)
        ]
        known = choice()
        return {
            "waiting": waiting,
            "labelled": labelled,
            "labels": list(known.names),
            "several": known.several,
            "items": items,
        }

    @asked.get("/agreement")
    def agreed() -> dict[str, Any]:
        return asdict(agreement(samples.labels.all()))

    @asked.get("/disputes", dependencies=[engineer])
    def disputes(limit: Annotated[int, Query(ge=1, le=500)] = 50) -> list[dict[str, Any]]:
        found = samples.disputes(limit)
        return [
            {
                **{name: getattr(s, name) for name in ("sample", "station", "camera", "part", "captured_at")},
                "said": [asdict(act) for act in standing_acts(samples.labels.of(s.sample))],
            }
            for s in found
        ]

    @shown.get("/{sample}/image", response_class=Response, responses=_PIXELS)
    def image(sample: _Name) -> Response:
        try:
            found = samples.get(sample)
            if found.image_sha256 is None:
                raise HTTPException(404, f"the pixels of '{sample}' have not come yet")
            shown = without_words(images.path(found.image_sha256).read_bytes())
            return Response(shown, media_type="image/png")
        except NotFound as error:
            raise HTTPException(404, error.one_line()) from error
        except (TransientError, OSError) as error:
            raise HTTPException(503, str(error)) from error

    @asked.get("/{sample}/looked")
    def looked(sample: _Name, labeller: _Whose = "", person: Person = inspector) -> dict[str, Any]:
        whose = labeller if person.name in SHARED_TOKENS else labeller_of(person, labeller)
        try:
            found = check_may_see_answer(samples, sample, whose)
            told = looked_at(images, found)
        except NotFound as error:
            raise HTTPException(404, error.one_line()) from error
        except (TransientError, OSError) as error:
            raise HTTPException(503, str(error)) from error
        except BadImage as error:
            raise HTTPException(422, error.one_line()) from error
        except RefusedError as error:
            raise HTTPException(409, error.one_line()) from error
        if told is None:
            raise HTTPException(404, f"the model that judged '{sample}' does not say where it looks")
        return {"truth": found.truth, "verdict": found.verdict, **msgspec.to_builtins(told)}

    @asked.post("/{sample}/claim")
    def claim(sample: _Name, body: LabellerBody, person: Person = inspector) -> dict[str, Any]:
        whose, at = labeller_of(person, body.labeller), now()
        try:
            samples.get(sample)
        except NotFound as error:
            raise HTTPException(404, error.one_line()) from error
        if not claims.take(sample, whose, at):
            raise HTTPException(409, f"{claims.holders([sample], at).get(sample, 'somebody')} has it before them")
        return {"sample": sample, "until": at + LEASE_S}

    @asked.post("/{sample}/release", status_code=204)
    def release(sample: _Name, body: LabellerBody, person: Person = inspector) -> None:
        claims.release(sample, labeller_of(person, body.labeller))

    @asked.post("/{sample}/undo")
    def undo(sample: _Name, body: LabellerBody, person: Person = inspector) -> dict[str, Any]:
        try:
            label, _ = samples.labels.take_back(sample, labeller_of(person, body.labeller), now())
        except NotFound as error:
            raise HTTPException(404, error.one_line()) from error
        except RefusedError as error:
            raise HTTPException(409, error.one_line()) from error
        return {"sample": sample, "taken_back": label}

    @asked.post("/{sample}")
    def label(sample: _Name, body: LabelBody, person: Person = inspector) -> dict[str, Any]:
        if body.resolve and not person.may(Scope.TUNE):
            raise HTTPException(403, "to settle what people disagree on one must be engineer or admin")
        whose = labeller_of(person, body.labeller)
        try:
            said = choice().check(body.label)
            samples.label(sample, said, whose, now(), resolve=body.resolve, reason=body.reason)
        except NotFound as error:
            raise HTTPException(404, error.one_line()) from error
        except RefusedError as error:
            raise HTTPException(422, f"{error.message}; {error.hint}") from error
        return {"sample": sample, "label": said}

    routes.include_router(asked)
    routes.include_router(shown)
    return routes
