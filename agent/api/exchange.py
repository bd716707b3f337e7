"""A request and its response, as the API's addresses see them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec


@dataclass(frozen=True, slots=True)
class Request:
    """A whole request; `path` as it was sent, `query` without its question mark."""

    method: str
    path: str
    query: str
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer: its status code and its body."""

    code: int
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


def json_response(code: int, value: object, **headers: str) -> Response:
    """Return `value` as JSON."""
    return Response(code, msgspec.json.encode(value) + b"\n", headers=headers)


def error_response(code: int, error: str, hint: str = "", **headers: str) -> Response:
    """Return an error as JSON: what is wrong, and what to do."""
    return json_response(code, {"error": error} | ({"hint": hint} if hint else {}), **headers)


Answer = Callable[[Request], Response]
