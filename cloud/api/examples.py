"""Answers shown in the OpenAPI."""

from __future__ import annotations

from typing import Any


def example(value: Any, code: int = 200) -> dict[int | str, dict[str, Any]]:
    """Return FastAPI's `responses` that show one answer; what is wrong is in `cloud.api.answers.RESPONSES`."""
    return {code: {"content": {"application/json": {"example": value}}}}
