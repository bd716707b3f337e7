"""The inspector's part: what waits for a label, its pixels, and the label."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, HTTPException, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from cloud.api.auth import Guards, Person, Scope
from cloud.api.images import read_looked, without_words
from cloud.ports.registry import ImageFiles
from cloud.review.labellers import agreement
from cloud.review.why_asked import why_asked
from cloud.store.samples import Samples
from contract.errors import BadImage, NotFound, TransientError

# No control characters: a database refuses some (PostgreSQL: zero), and a log or a table shows none of them.
_PLAIN = r"^[^\x00-\x1f\x7f]*$"
_PIXELS: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}, "description": "The frame as PNG"}}
_Name = Annotated[str, Path(pattern=_PLAIN)]


class LabelBody(BaseModel):
    """A person's label for one part. `resolve`: it settles what others disagree on; an engineer does."""

    model_config = ConfigDict(extra="forbid")

    label: str = Field(min_length=1, max_length=120, pattern=_PLAIN)
    labeller: str = Field(min_length=1, max_length=120, pattern=_PLAIN)
    resolve: bool = False


def review_routes(
    *,
    guards: Guards,
    samples: Samples,
    images: ImageFiles,
    known_labels: Callable[[], list[str]],
    now: Callable[[], float],
) -> APIRouter:
    """Return the routes under /v1/review."""
    inspector = Depends(guards.needs(Scope.REVIEW))
    routes = APIRouter(prefix="/v1/review", tags=["review"])
    asked = APIRouter(dependencies=[inspector])
    # A page shows the pixels as an image, which the browser asks for with the page's cookie.
    shown = APIRouter(dependencies=[Depends(guards.needs(Scope.REVIEW, from_pages=True))])

    @asked.get("/queue")
    def queue(
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
        labeller: Annotated[str, Query(max_length=120, pattern=_PLAIN)] = "",
    ) -> dict[str, Any]:
        # Whoever says who they are is not shown what they labelled, and is shown some of what one other person did.
        waiting, labelled = samples.counts(labeller)
        # The model's own answer stays out of the queue: a person who sees it tends to agree with it.
        columns = ("sample", "station", "camera", "part", "captured_at", "reason")
        items = [
            {**{name: getattr(s, name) for name in columns}, "why": why_asked(s.reason, s.novelty, s.again)}
            for s in samples.waiting(limit, labeller)
        ]
        return {"waiting": waiting, "labelled": labelled, "labels": known_labels(), "items": items}

    @asked.get("/agreement")
    def agreed() -> dict[str, Any]:
        return asdict(agreement(samples.labels.all()))

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
    def looked(sample: _Name, labeller: Annotated[str, Query(max_length=120, pattern=_PLAIN)] = "") -> dict[str, Any]:
        try:
            found = samples.get(sample)
            if found.truth is None:
                # Who sees where the model looked tends to look there, and at nothing else.
                raise HTTPException(409, "it has no label yet: label it first, then see where the model looked")
            said = {act.labeller for act in samples.labels.of(sample)}
            if labeller not in said and samples.labels.wants_second_look(sample):
                raise HTTPException(409, "a second person is asked about it: whoever labelled it adds ?labeller=NAME")
            if found.image_sha256 is None:
                raise HTTPException(404, f"the pixels of '{sample}' have not come")
            told = read_looked(images.path(found.image_sha256).read_bytes())
        except NotFound as error:
            raise HTTPException(404, error.one_line()) from error
        except (TransientError, OSError) as error:
            raise HTTPException(503, str(error)) from error
        except BadImage as error:
            raise HTTPException(422, error.one_line()) from error
        if told is None:
            raise HTTPException(404, f"the model that judged '{sample}' does not say where it looks")
        return {"truth": found.truth, "verdict": found.verdict, **msgspec.to_builtins(told)}

    @asked.post("/{sample}")
    def label(sample: _Name, body: LabelBody, person: Person = inspector) -> dict[str, Any]:
        if body.resolve and not person.may(Scope.TUNE):
            raise HTTPException(403, "to settle what people disagree on one must be engineer or admin")
        labels = known_labels()
        if labels and body.label not in labels:
            raise HTTPException(
                422, f"'{body.label}' is no label of the running model; use one of: {', '.join(labels)}"
            )
        try:
            samples.label(sample, body.label, body.labeller, now(), resolve=body.resolve)
        except NotFound as error:
            raise HTTPException(404, error.one_line()) from error
        return {"sample": sample, "label": body.label}

    routes.include_router(asked)
    routes.include_router(shown)
    return routes
