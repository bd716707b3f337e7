"""How routes answer where something is wrong, and what their documentation says of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from fastapi import HTTPException
from pydantic import BaseModel, Field

from contract.errors import NotFound, PlumblineError

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Trouble(BaseModel):
    """Why a request was not answered, in words that say what to do."""

    detail: str = Field(examples=["rollout 3 is still under way (wait for it or abort it)"])


_MEANINGS = {
    401: "Nobody is known by this token.",
    403: "Somebody is, and may not.",
    404: "There is no such thing.",
    409: "It is there, and cannot be done as things stand now; nothing was done.",
    503: "The database is not reached just now; try again.",
}


def troubles(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Return FastAPI's `responses` for the error codes of a route; what is asked with a wrong form is 422 anyway."""
    return {code: {"model": Trouble, "description": _MEANINGS[code]} for code in codes}


def example(value: Any, code: int = 200) -> dict[int | str, dict[str, Any]]:
    """Return FastAPI's `responses` that show one answer."""
    return {code: {"content": {"application/json": {"example": value}}}}


def answer(call: Callable[_P, _T], *arguments: _P.args, **named: _P.kwargs) -> _T:
    """Return call(*arguments); an error of ours becomes an answer that says what to do."""
    try:
        return call(*arguments, **named)
    except NotFound as error:
        raise HTTPException(404, error.one_line()) from error
    except PlumblineError as error:
        raise HTTPException(503 if error.retry else 409, error.one_line()) from error
