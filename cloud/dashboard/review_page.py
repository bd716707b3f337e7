"""The inspector's page: one part at a time, a key for each label, and what the model said only after the label."""

from __future__ import annotations

from fastapi import Depends, FastAPI, HTTPException, Response
from nicegui import ui
from starlette.requests import Request

from cloud.api.answer_shown import overlay_png
from cloud.api.auth import Guards, Person, Scope
from cloud.api.images import without_words
from cloud.dashboard.review_acts import ReviewParts, own_answer
from cloud.dashboard.review_screen import ReviewScreen
from cloud.dashboard.shell import Shell
from contract.errors import PlumblineError

__all__ = ["ReviewParts", "install_review"]


def install_review(app: FastAPI, shell: Shell, guards: Guards, parts: ReviewParts) -> None:
    """Add the page "/review" and what its images are loaded from. Call it before `ui.run_with`."""

    inspector = Depends(guards.needs(Scope.REVIEW, from_pages=True))

    @app.get("/review/image/{sample}", include_in_schema=False, dependencies=[inspector])
    def image(sample: str) -> Response:
        try:
            found = parts.samples.get(sample)
            pixels = parts.images.path(found.image_sha256 or "").read_bytes()
        except (PlumblineError, OSError) as error:
            raise HTTPException(404, "its pixels are not here") from error
        return Response(without_words(pixels), media_type="image/png")

    @app.get("/review/overlay/{sample}", include_in_schema=False)
    def overlay(sample: str, person: Person = inspector) -> Response:
        try:
            found = own_answer(parts.samples, sample, person.name)
            picture = overlay_png(parts.images, found)
        except (PlumblineError, OSError) as error:
            raise HTTPException(409, "it is not shown yet") from error
        if picture is None:
            raise HTTPException(404, "the model does not say where it looks")
        return Response(picture, media_type="image/png")

    @ui.page("/review")
    def page(request: Request) -> None:
        if (entered := shell.enter(request, "Review", "/review", Scope.REVIEW)) is None:
            return
        visit, column = entered
        person = visit.person
        if person is not None:
            with column:
                ReviewScreen(visit, parts.desk(person.name), parts)
