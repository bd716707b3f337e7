"""Traces of single frames, as the line makes them: a span from capture to verdict, which the cloud's spans hang from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from agent.ports.recorder import Result
from agent.ports.source import Frame


class FrameSpan(Protocol):
    """A frame that is traced. Never raises."""

    @property
    def traceparent(self) -> str:
        """Return what carries the trace on (W3C Trace Context, level 1)."""

    def end(self, result: Result) -> None:
        """Say what became of the frame; the span ends."""


BeginSpan = Callable[[Frame, str], FrameSpan | None]
"""Given a frame and its camera, returns its span, None where this frame is not drawn."""
