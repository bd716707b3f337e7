"""What routes answer when something is wrong: one shape, `{"detail": "what it is and what to do"}`, one code for each kind.

A route lets a `PlumblineError` rise: `install_answers` makes it an answer. `RESPONSES` says in the OpenAPI what may come of any.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from cloud.api.retry_after import RETRY_AFTER_S
from contract.errors import (
    BadImage,
    BadMessage,
    InvalidConfig,
    NotFound,
    PlumblineError,
    TransientError,
)

UNUSABLE = "the database cannot be used just now"
"""All that a stranger is told of it: a driver's own words name hosts, ports, files and people."""


class Problem(BaseModel):
    """What is wrong with a request, and what to do."""

    detail: str


def _documented(what: str, example: str) -> dict[str, Any]:
    return {
        "model": Problem,
        "description": what,
        "content": {"application/json": {"example": {"detail": example}}},
    }


RESPONSES: dict[int | str, dict[str, Any]] = {
    400: _documented("The body is no JSON", "There was an error parsing the body"),
    401: _documented("Nobody is known by this token", "this needs a token (Authorization: Bearer ...)"),
    403: _documented("Somebody is, and may not", "eva is viewer; to start rollouts one must be: releaser, admin"),
    404: _documented("There is no such thing", "no rollout 9"),
    409: _documented("It cannot be done as things are", "rollout 3 is still under way"),
    413: _documented("The body is too large", "a request may have at most 1 MiB"),
    422: _documented("A value cannot be used", "body.version: Field required"),
    429: _documented("Too many requests; Retry-After says when to come again", "too many requests; come again in 3 s"),
    503: _documented("Not now; Retry-After says when to come again", "the database is locked"),
}


def json_body(what: str) -> dict[str, Any]:
    """Return what the OpenAPI says of a body that the route reads itself, because `contract.codec` decodes it."""
    content = {"application/json": {"schema": {"type": "object"}}}
    return {"requestBody": {"description": what, "required": True, "content": content}}


def as_answer(error: PlumblineError) -> HTTPException:
    """Return an error of ours as an answer over HTTP."""
    headers = None
    if isinstance(error, NotFound):
        code = 404
    elif isinstance(error, (InvalidConfig, BadImage, BadMessage)):
        code = 422
    elif error.retry:
        code, headers = 503, {"Retry-After": str(RETRY_AFTER_S)}
    else:
        code = 409
    return HTTPException(code, error.one_line(), headers=headers)


@contextmanager
def told_plainly() -> Iterator[None]:
    """Around a look into the database by which somebody is to be known: where it cannot be used, whoever asks is told just that.

    The server's log has the rest (`cloud.database_outages`), and /healthz tells it to who is known.
    """
    try:
        yield
    except TransientError as error:
        raise HTTPException(503, UNUSABLE, headers={"Retry-After": str(RETRY_AFTER_S)}) from error


def install_answers(app: FastAPI) -> None:
    """Make errors of ours, and values that cannot be used, into answers of the one shape."""

    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, PlumblineError)
        return await http_exception_handler(request, as_answer(error))

    async def unusable(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return await http_exception_handler(request, HTTPException(422, in_words(error.errors())))

    async def gone(request: Request, error: Exception) -> Response:
        # Told to nobody, save /metrics: who left is no fault of the server's. 499 is what nginx calls it.
        return Response(status_code=499)

    app.add_exception_handler(PlumblineError, ours)
    app.add_exception_handler(ClientDisconnect, gone)
    app.add_exception_handler(RequestValidationError, unusable)


def in_words(errors: Sequence[Any]) -> str:
    """Return pydantic's errors as one line, without the values: they may be long, hostile, or no JSON (NaN)."""
    said = [f"{'.'.join(str(part)[:80] for part in each['loc'])}: {each['msg']}" for each in errors[:5]]
    more = f"; and {len(errors) - 5} more" if len(errors) > 5 else ""
    return PlumblineError("; ".join(said)[:1000] + more).one_line()
