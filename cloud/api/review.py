"""The inspector's part: what waits for a label, its pixels, and the label."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field

from cloud.api.auth import Role, role_guard
from cloud.ports.registry import ImageFiles
from cloud.review.why_asked import why_asked
from cloud.store.samples import Samples
from contract.errors import NotFound, TransientError


class LabelBody(BaseModel):
    """A person's label for one part."""

    model_config = ConfigDict(extra="forbid")

    label: str = Field(min_length=1, max_length=120)
    labeller: str = Field(min_length=1, max_length=120)


def review_routes(
    *,
    tokens: Mapping[Role, str],
    samples: Samples,
    images: ImageFiles,
    known_labels: Callable[[], list[str]],
    now: Callable[[], float],
) -> APIRouter:
    """Return the routes under /v1/review."""
    routes = APIRouter(prefix="/v1/review", dependencies=[Depends(role_guard(tokens, Role.INSPECTOR))])

    @routes.get("/queue")
    def queue(limit: Annotated[int, Query(ge=1, le=500)] = 50) -> dict[str, Any]:
        waiting, labelled = samples.counts()
        # The model's own answer stays out of the queue: a person who sees it tends to agree with it.
        shown = ("sample", "station", "camera", "part", "captured_at", "reason")
        items = [
            {**{name: getattr(s, name) for name in shown}, "why": why_asked(s.reason, s.novelty)}
            for s in samples.waiting(limit)
        ]
        return {"waiting": waiting, "labelled": labelled, "labels": known_labels(), "items": items}

    @routes.get("/{sample}/image")
    def image(sample: str) -> FileResponse:
        try:
            found = samples.get(sample)
            if found.image_sha256 is None:
                raise HTTPException(404, f"the pixels of '{sample}' have not come yet")
            return FileResponse(images.path(found.image_sha256), media_type="image/png")
        except NotFound as error:
            raise HTTPException(404, error.one_line()) from error
        except TransientError as error:
            raise HTTPException(503, error.one_line()) from error

    @routes.post("/{sample}")
    def label(sample: str, body: LabelBody) -> dict[str, Any]:
        labels = known_labels()
        if labels and body.label not in labels:
            raise HTTPException(
                422, f"'{body.label}' is no label of the running model; use one of: {', '.join(labels)}"
            )
        try:
            samples.label(sample, body.label, body.labeller, now())
        except NotFound as error:
            raise HTTPException(404, error.one_line()) from error
        return {"sample": sample, "label": body.label}

    return routes
